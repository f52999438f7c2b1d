//! Tables and values of the configuration files with their spans, read one key at a time.
//!
//! The reader remembers which keys were requested. A key in the file that was never requested is
//! unknown; the error suggests the nearest requested one. Reading continues after a problem, so
//! that all problems are reported at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Environment;
use super::diagnostic::{Diagnostic, echo, looks_secret, nearest};
use super::postgres::PostgresUrl;
use super::source::Sources;
use super::{duration, keys, show};
use crate::files;
use llmwatch_core::model::{EndpointName, Secret};

const TABLE: &str = "a table";
const LIST: &str = "an array in brackets";

/// Tables that were renamed since an earlier release: the old name and the new one.
const RENAMED: &[(&str, &str)] = &[("control", "connectivity_check")];

/// What is collected while reading the files.
pub(super) struct Sink<'s> {
    pub(super) surroundings: &'s Environment,
    /// The files. Relative paths start from the directory of the file that contains them.
    pub(super) sources: &'s Sources,
    pub(super) diagnostics: RefCell<Vec<Diagnostic>>,
    pub(super) warnings: RefCell<Vec<String>>,
    /// The requested keys, per table.
    pub(super) asked: RefCell<BTreeMap<String, BTreeSet<&'static str>>>,
}

impl<'s> Sink<'s> {
    /// Creates an empty sink for these files.
    pub(super) fn new(sources: &'s Sources, surroundings: &'s Environment) -> Self {
        Self {
            surroundings,
            sources,
            diagnostics: RefCell::default(),
            warnings: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    pub(super) fn error(
        &self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.diagnostics.borrow_mut().push(Diagnostic {
            message: message.into(),
            span,
            help,
        });
    }

    pub(super) fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&message) {
            warnings.push(message);
        }
    }
}

/// A table of the file.
#[derive(Clone)]
pub(super) struct Table<'a> {
    /// Its name for messages, for instance `endpoint` or `endpoint.timeout`.
    pub(super) name: String,
    pub(super) span: Range<usize>,
    written: &'a DeTable<'a>,
    sink: &'a Sink<'a>,
}

/// A table that may be missing: then none of its keys is set.
pub(super) struct Section<'a>(Option<Table<'a>>);

impl<'a> Section<'a> {
    /// Returns the value of `key`, if it is set.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.0.as_ref()?.get(key)
    }

    /// Returns the table itself, if it is there.
    pub(super) fn table(&self) -> Option<&Table<'a>> {
        self.0.as_ref()
    }

    /// Reports every key that was never requested as unknown.
    pub(super) fn finish(&self) {
        if let Some(table) = &self.0 {
            table.finish();
        }
    }
}

/// A value of the file with its key.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    written: &'a DeValue<'a>,
    sink: &'a Sink<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn new(name: &str, table: &'a Spanned<DeTable<'a>>, sink: &'a Sink<'a>) -> Self {
        Self {
            name: name.to_owned(),
            span: table.span(),
            written: table.get_ref(),
            sink,
        }
    }

    pub(super) fn sink(&self) -> &'a Sink<'a> {
        self.sink
    }

    /// Reports an error of the table as a whole, with what to write instead.
    pub(super) fn error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.sink
            .error(Some(self.span.clone()), message, Some(help.into()));
    }

    /// Returns the value of `key`, if it is set.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.sink
            .asked
            .borrow_mut()
            .entry(self.name.clone())
            .or_default()
            .insert(key);
        self.written
            .iter()
            .find(|(k, _)| k.get_ref() == key)
            .map(|(k, v)| self.value(k.get_ref(), v))
    }

    /// Returns the value of `key`; it is an error, with `why`, if it is not set.
    pub(super) fn required(&self, key: &'static str, why: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("missing key `{key}` in `[{}]`", self.name);
            self.error(message, format!("add it: {why}"));
        }
        value
    }

    /// Returns the span of the key itself.
    pub(super) fn key_span(&self, key: &str) -> Range<usize> {
        self.written
            .iter()
            .find(|(k, _)| k.get_ref() == key)
            .map_or(self.span.clone(), |(k, _)| k.span())
    }

    /// Returns every entry, for tables with free-form keys.
    pub(super) fn entries(&self) -> Vec<Value<'a>> {
        self.written
            .iter()
            .map(|(k, v)| self.value(k.get_ref(), v))
            .collect()
    }

    /// Returns the table of this name, if there is one.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        self.get(key)?.table(&self.below(key))
    }

    /// Returns the table of this name; one that is missing has no keys.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        Section(self.table(key))
    }

    /// Returns the items of an array; none if it is missing.
    pub(super) fn items(&self, key: &'static str) -> Vec<Value<'a>> {
        self.get(key).and_then(|v| v.items()).unwrap_or_default()
    }

    /// Returns the tables of an array of tables.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.written.as_array() else {
            let help = format!("write `[[{key}]]` with double brackets: there can be several");
            self.sink.error(
                Some(value.span),
                format!("`{key}` is not an array of tables"),
                Some(help),
            );
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.value(key, item).table(key))
            .collect()
    }

    /// Reads a secret: `KEY`, `KEY_file` or `KEY_credential`.
    pub(super) fn secret(
        &self,
        key: &'static str,
        file: &'static str,
        credential: &'static str,
    ) -> Option<Secret> {
        let given: Vec<_> = [key, file, credential]
            .into_iter()
            .filter_map(|k| self.get(k))
            .collect();
        let (first, more) = given.split_first()?;
        if let Some(second) = more.first() {
            let message = format!("`{}` and `{}` are both set", first.key, second.key);
            self.sink.error(
                Some(self.key_span(&second.key)),
                message,
                Some("keep one of them".to_owned()),
            );
        }
        if first.is_granted() {
            return stand_in(key, first.written.as_str().unwrap_or_default());
        }
        let text = if first.key == "body" {
            first.body()?
        } else {
            first.string_or_number()?
        };
        if first.key == key {
            first.refuse_lines(key, &text)?;
            if text.trim().is_empty() {
                let table = &self.name;
                let written = first.written.as_str().unwrap_or_default();
                self.sink.warn(match written.trim() {
                    "" => format!("`{key}` of `[{table}]` is empty"),
                    variable => {
                        format!("`{key}` of `[{table}]` is empty: `{variable}` is set but empty")
                    }
                });
            }
            if first.is_literal_secret() {
                let message = format!("`{key}` of `[{}]` stands in the file itself", self.name);
                self.sink.warn(format!(
                    "{message}; `{file}`, `{credential}` or `${{NAME}}` keep it out"
                ));
            }
            return Some(Secret::new(text));
        }
        let problem = match self.path_of(first, file, &text) {
            Ok(path) => match files::read_to_string(&path, files::MAX_SECRET) {
                Ok(content) if !content.trim().is_empty() => {
                    self.warn_if_readable(&first.key, &path);
                    let content = content.trim_end_matches(['\r', '\n']);
                    first.refuse_lines(key, content)?;
                    return Some(Secret::new(content));
                }
                Ok(_) => {
                    let message =
                        format!("the file `{}` of `{}` is empty", path.display(), first.key);
                    (message, "put the secret into it")
                }
                Err(error) => {
                    let message = format!(
                        "cannot read the file `{}` of `{}`: {error}",
                        path.display(),
                        first.key
                    );
                    let help = if first.key == file {
                        "check its path and permissions"
                    } else {
                        "add `LoadCredential=` for it to the unit, then `systemctl restart llmwatch`: systemd \
                         sets credentials up when the service starts, not at a reload"
                    };
                    (message, help)
                }
            },
            Err(problem) => problem,
        };
        if self.sink.surroundings.without_secrets
            && let Some(granted) = stand_in(key, &text)
        {
            return Some(granted);
        }
        self.sink.error(
            Some(first.span.clone()),
            problem.0,
            Some(problem.1.to_owned()),
        );
        None
    }

    /// Warns about a secret that every user of this machine can read.
    fn warn_if_readable(&self, key: &str, path: &Path) {
        let mode = std::fs::metadata(path).map_or(0, |m| m.permissions().mode());
        if mode & 0o004 != 0 {
            let shown = path.display();
            self.sink.warn(format!(
                "`{key}`: other users of this machine can read {shown}; run `chmod 600 {shown}`"
            ));
        }
    }

    /// Returns the path of the secret in a `_file` or `_credential` key; otherwise what is wrong
    /// and what to do.
    fn path_of(
        &self,
        value: &Value<'_>,
        file: &str,
        text: &str,
    ) -> Result<PathBuf, (String, &'static str)> {
        if value.key == file {
            return Ok(self.sink.sources.directory(value.span.start).join(text));
        }
        match self.sink.surroundings.vars.get("CREDENTIALS_DIRECTORY") {
            Some(directory) => Ok(Path::new(directory).join(text)),
            None => Err((
                format!(
                    "`{}` needs $CREDENTIALS_DIRECTORY, which is not set",
                    value.key
                ),
                "systemd sets it for a unit with `LoadCredential=`, and \
                 `sudo CREDENTIALS_DIRECTORY=/run/credentials/llmwatch.service llmwatch …` shows those of the running \
                 service; elsewhere use the `_file` form",
            )),
        }
    }

    /// Reports every key that was never requested as unknown.
    pub(super) fn finish(&self) {
        let asked = self
            .sink
            .asked
            .borrow()
            .get(&self.name)
            .cloned()
            .unwrap_or_default();
        for (key, _) in self.written {
            let name: &str = key.get_ref();
            if asked.contains(name) {
                continue;
            }
            if let Some((_, now)) = RENAMED.iter().find(|(old, _)| self.below(name) == *old) {
                self.sink.error(
                    Some(key.span()),
                    format!("`[[{name}]]` is now `[[{now}]]`"),
                    Some("rename the table".to_owned()),
                );
                continue;
            }
            let place = if self.name.is_empty() {
                "at the top level".to_owned()
            } else {
                format!("in `{}`", self.name)
            };
            let help = if let Some(meant) = nearest(name, asked.iter().copied()) {
                format!("did you mean `{meant}`?")
            } else {
                let known: Vec<_> = asked.iter().copied().collect();
                let elsewhere = keys::table_of(name).filter(|table| *table != self.name);
                let elsewhere = elsewhere.map(|table| format!("it is a key of `{table}`; "));
                format!(
                    "{}known keys: {}",
                    elsewhere.unwrap_or_default(),
                    known.join(", ")
                )
            };
            self.sink.error(
                Some(key.span()),
                format!("unknown key {} {place}", echo(name)),
                Some(help),
            );
        }
    }

    fn below(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn value(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value {
            key: key.to_owned(),
            span: value.span(),
            written: value.get_ref(),
            sink: self.sink,
        }
    }
}

/// The placeholder for a URL that is not read.
pub(super) const UNKNOWN_URL: &str = "https://unknown.invalid/unknown";

/// Returns a placeholder for a secret that is not read, in the form that its key requires. Equal
/// sources get equal placeholders, because endpoints that share a key share an account.
fn stand_in(key: &str, source: &str) -> Option<Secret> {
    let text = match key {
        "smtp" => "smtps://unknown.invalid",
        "url" | "fail_url" => UNKNOWN_URL,
        "secret" => "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        // Not secret, but available in the same three forms.
        "body" | "content_type" | "priority" => return None,
        _ => return Some(Secret::new(format!("unknown-{source}"))),
    };
    Some(Secret::new(text))
}

impl<'a> Value<'a> {
    pub(super) fn error<T>(
        &self,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.sink
            .error(Some(self.span.clone()), message, Some(help.into()));
        None
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let found = self.written.type_str();
        let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) {
            "an"
        } else {
            "a"
        };
        let message = format!("`{}` must be {wanted}, not {article} {found}", self.key);
        self.error(message, self.example(wanted))
    }

    /// Shows the value in the expected type.
    fn example(&self, wanted: &str) -> String {
        let given = self.written.as_str().unwrap_or_default();
        match self.key.as_str() {
            "expect" if self.written.is_str() && !looks_secret(given) => {
                format!("write `expect = {{ contains = {given:?} }}`")
            }
            key if wanted == TABLE && self.holds_tables() => {
                format!("write `[{key}]` with single brackets: there can be only one")
            }
            key if wanted == TABLE => format!("write `{key} = {{ … }}` or `[{key}]`"),
            key if wanted == LIST && self.written.is_str() && !looks_secret(given) => {
                format!("write `{key} = [{given:?}]`")
            }
            key if self.written.is_str() => format!("write `{key} = …` with {wanted}"),
            key => format!("write {wanted} after `{key} =`"),
        }
    }

    /// Reports whether it is an array of tables.
    fn holds_tables(&self) -> bool {
        let items = self.written.as_array();
        items.is_some_and(|items| items.iter().any(|item| item.get_ref().is_table()))
    }

    pub(super) fn table(&self, name: &str) -> Option<Table<'a>> {
        match self.written.as_table() {
            Some(table) => Some(Table {
                name: name.to_owned(),
                span: self.span.clone(),
                written: table,
                sink: self.sink,
            }),
            None => self.wrong_type(TABLE),
        }
    }

    /// Reports whether the file itself seems to contain a real key.
    pub(super) fn is_literal_secret(&self) -> bool {
        let raw = self.written.as_str().unwrap_or_default();
        // A database user without a password.
        let is_role = PostgresUrl::parse(raw).is_ok_and(|url| url.password.is_none());
        looks_secret(raw) && !raw.contains("${") && !is_role
    }

    /// Rejects a secret with several lines: it was pasted or stored incorrectly, and no header or
    /// address can hold it. Only the `body` of a message may have several lines.
    fn refuse_lines(&self, key: &str, secret: &str) -> Option<()> {
        if key != "body" && secret.contains(char::is_control) {
            let message = format!(
                "the value of `{}` contains a line break or another control character",
                self.key
            );
            return self.error(
                message,
                "a secret is a single line: leave out everything else",
            );
        }
        Some(())
    }

    /// Reports whether this value uses an unset variable that is accepted because secrets are
    /// skipped.
    pub(super) fn is_granted(&self) -> bool {
        let Sink { surroundings, .. } = self.sink;
        let variables = self
            .written
            .as_str()
            .unwrap_or_default()
            .split("${")
            .skip(1);
        let mut names = variables.filter_map(|rest| Some(rest.split_once('}')?.0));
        surroundings.without_secrets && names.any(|name| !surroundings.vars.contains_key(name))
    }

    /// Returns a string with its variables substituted. In the login part of a URL, a variable
    /// holds the plain name or password. It is percent-encoded, so that `@`, `/`, `?` and `#` in a
    /// password cannot change the host.
    pub(super) fn string(&self) -> Option<String> {
        let Some(text) = self.written.as_str() else {
            return self.wrong_type("a string in quotes");
        };
        let login = login_part(text);
        let mut filled = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            let start = at + found;
            filled += &text[at..start];
            let after = start + "${".len();
            let Some(length) = text[after..].find('}') else {
                return self.error(
                    format!("`${{` without `}}` in `{}`", self.key),
                    "write `${NAME}`",
                );
            };
            let name = &text[after..after + length];
            let Some(value) = self.sink.surroundings.vars.get(name) else {
                return self.error(
                    format!("the environment variable {} is not set", echo(name)),
                    format!("set it, or give `{}` in another way", self.key),
                );
            };
            if login.contains(&start) {
                filled += &percent_encoded(value);
            } else {
                filled += value;
            }
            at = after + length + 1;
        }
        Some(filled + &text[at..])
    }

    /// Returns a string, or an integer as text: people write numeric ids without quotes.
    pub(super) fn string_or_number(&self) -> Option<String> {
        match self.written {
            DeValue::Integer(i) if i.radix() == 10 => Some(i.as_str().to_owned()),
            _ => self.string(),
        }
    }

    /// Parses a string as `T`.
    pub(super) fn parse<T: FromStr>(&self, what: &str, help: &str) -> Option<T> {
        let text = self.string()?;
        text.parse()
            .ok()
            .or_else(|| self.error(format!("invalid {what} {}", echo(&text)), help))
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        if self.written.is_integer() || self.written.is_float() {
            let number = match self.written {
                DeValue::Integer(i) if i.radix() == 10 => i.as_str(),
                _ => "30",
            };
            return self.error(
                format!("`{}` has no unit", self.key),
                format!("write it as a string: `\"{number}s\"`"),
            );
        }
        let text = self.string()?;
        duration(&text)
            .or_else(|why| {
                self.error(format!("invalid duration {}", echo(&text)), why)
                    .ok_or(())
            })
            .ok()
    }

    pub(super) fn duration_of_at_least(&self, least: Duration) -> Option<Duration> {
        let d = self.duration()?;
        if d < least {
            let help = format!("the minimum is `\"{}\"`", show(least));
            return self.error(format!("`{}` is too short", self.key), help);
        }
        Some(d)
    }

    /// Reports whether secrets that cannot be read are accepted.
    pub(super) fn skips_secrets(&self) -> bool {
        self.sink.surroundings.without_secrets
    }

    /// Returns a path, relative to the file that contains it.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let directory = self.sink.sources.directory(self.span.start);
        Some(directory.join(self.string()?))
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.written
            .as_bool()
            .or_else(|| self.wrong_type("`true` or `false`"))
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self
            .written
            .as_integer()
            .and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
        let Some(number) = number else {
            return self.wrong_type("an integer");
        };
        match u64::try_from(number) {
            Ok(n) if range.contains(&n) => Some(n),
            _ => self.error(
                format!("`{}` is out of range", self.key),
                format!(
                    "expected a number from {} to {}",
                    range.start(),
                    range.end()
                ),
            ),
        }
    }

    pub(super) fn number(&self, least: f64, most: f64) -> Option<f64> {
        let text = match self.written {
            DeValue::Integer(i) => i.as_str().to_owned(),
            DeValue::Float(f) => f.as_str().to_owned(),
            _ => return self.wrong_type("a number"),
        };
        match text.replace('_', "").parse::<f64>() {
            Ok(n) if n.is_finite() && n >= least && n <= most => Some(n),
            _ => self.error(
                format!("`{}` is out of range", self.key),
                format!("expected a number from {least} to {most}"),
            ),
        }
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.string()?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let help = match nearest(&text, names.iter().copied()) {
            Some(meant) => {
                format!("did you mean `{meant}`? Write `{} = \"{meant}\"`", self.key)
            }
            None => format!("expected one of: {}", names.join(", ")),
        };
        self.error(
            match self.key.as_str() {
                key @ ("provider" | "api") => format!("unknown {key} {}", echo(&text)),
                key => format!("unknown value {} for `{key}`", echo(&text)),
            },
            help,
        )
    }

    /// Returns a list of endpoint names.
    pub(super) fn names(&self) -> Option<Vec<EndpointName>> {
        self.items()?
            .iter()
            .map(|item| item.string().map(EndpointName::from))
            .collect()
    }

    /// Returns a list of strings.
    pub(super) fn strings(&self) -> Option<Vec<String>> {
        self.items()?.iter().map(Value::string).collect()
    }

    /// Returns the values of a list.
    pub(super) fn items(&self) -> Option<Vec<Value<'a>>> {
        let Some(items) = self.written.as_array() else {
            return self.wrong_type(LIST);
        };
        let item = |item: &'a Spanned<DeValue<'a>>| Value {
            key: self.key.clone(),
            span: item.span(),
            written: item.get_ref(),
            sink: self.sink,
        };
        Some(items.iter().map(item).collect())
    }

    /// Returns a date and time with a UTC offset, as a TOML value or a string.
    pub(super) fn moment(&self) -> Option<llmwatch_core::model::Timestamp> {
        let text = match self.written {
            DeValue::Datetime(d) => d.to_string(),
            _ => self.string()?,
        };
        llmwatch_core::model::Timestamp::parse(&text)
            .ok()
            .or_else(|| {
                self.error(
                    format!("{} is not an RFC 3339 time", echo(&text)),
                    "write `2026-11-23T09:00:00Z`",
                )
            })
    }

    pub(super) fn is_str(&self) -> bool {
        self.written.is_str()
    }
}

impl Value<'_> {
    pub(super) fn is_list(&self) -> bool {
        self.written.is_array()
    }

    /// Returns the text of a request body: a string as it is, a table or an array as JSON. Variables
    /// are substituted in every string.
    pub(super) fn body(&self) -> Option<String> {
        if self.written.is_table() || self.written.is_array() {
            return self.filled_json().map(|json| json.to_string());
        }
        if self.written.is_str() {
            return self.string();
        }
        self.wrong_type("a string in quotes or a table")
    }

    /// Returns the value as JSON, with variables substituted in every string.
    fn filled_json(&self) -> Option<serde_json::Value> {
        let below = |key: &str, value: &'_ Spanned<DeValue<'_>>| {
            Value {
                key: key.to_owned(),
                span: value.span(),
                written: value.get_ref(),
                sink: self.sink,
            }
            .filled_json()
        };
        Some(match self.written {
            DeValue::String(_) => self.string()?.into(),
            DeValue::Array(items) => items
                .iter()
                .map(|item| below(&self.key, item))
                .collect::<Option<Vec<_>>>()?
                .into(),
            DeValue::Table(table) => table
                .iter()
                .map(|(k, v)| Some((k.get_ref().to_string(), below(k.get_ref(), v)?)))
                .collect::<Option<serde_json::Map<_, _>>>()?
                .into(),
            other => to_json(other),
        })
    }

    /// Returns the value as JSON; a string is parsed as JSON.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        if self.written.is_str() {
            let text = self.string()?;
            return serde_json::from_str(&text)
                .map_err(|e| {
                    self.error::<()>(format!("`{}` is not JSON: {e}", self.key), "fix the JSON")
                })
                .ok();
        }
        Some(to_json(self.written))
    }
}

/// Returns the range of the name and password in a URL before substitution; empty if there are
/// none.
fn login_part(text: &str) -> Range<usize> {
    let Some(scheme) = text.find("://") else {
        return 0..0;
    };
    let start = scheme + "://".len();
    let end = text[start..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |n| start + n);
    match text[start..end].rfind('@') {
        Some(at) => start..start + at,
        None => 0..0,
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn to_json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(s) => s.as_ref().into(),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix())
            .unwrap_or_default()
            .into(),
        DeValue::Float(f) => f.as_str().parse::<f64>().unwrap_or_default().into(),
        DeValue::Boolean(b) => (*b).into(),
        DeValue::Datetime(d) => d.to_string().into(),
        DeValue::Array(items) => items.iter().map(|i| to_json(i.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(k, v)| (k.get_ref().to_string(), to_json(v.get_ref())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// Returns a name that must be one of `known`.
pub(super) fn reference(value: &Value<'_>, what: &str, known: &[&str]) -> Option<String> {
    let name = value.string()?;
    if known.contains(&name.as_str()) {
        return Some(name);
    }
    let help = match nearest(&name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => format!("no {what} is configured"),
        None => format!("configured: {}", known.join(", ")),
    };
    value.error(format!("unknown {what} {}", echo(&name)), help)
}
