//! Reads the complete configuration: every table, then the rules that involve several tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use croner::parser::CronParser;
use url::Url;

use super::diagnostic::{Diagnostic, echo};
use super::endpoint::{self, CheckedEndpoint};
use super::raw::{Sink, Table, UNKNOWN_URL, Value, reference};
use super::source::{self, Sources};
use super::{
    Agree, Budget, Channel, ChannelKind, Config, ConfigError, ConnectivityCheck, Drill,
    Environment, Heartbeat, Log, LogFormat, Maintenance, Monitor, Otlp, PostgresUrl,
    ProcessSettings, Proxy, Public, Quorum, ReportEvery, ReportSettings, RouteSettings, Settings,
    StoreSettings, Web, Window, channel, feed, lint, proxy, state_dir, units::minute_of_day,
    webhook,
};
use llmwatch_core::model::{ChannelName, EndpointName, Language, Provider, Secret};

const OTLP_HELP: &str =
    "write it as for other exporters of OTLP over HTTP: `http://127.0.0.1:4318`";
const DAY: Duration = Duration::from_hours(24);
/// The default connectivity checks, run when a probe fails below HTTP: three operators, unrelated
/// to any provider and to each other. Each has a name to resolve, to test the resolver. One has a
/// literal address, for when the resolver fails.
const CONNECTIVITY_CHECKS: [(&str, &str); 3] = [
    ("tcp://1.1.1.1:443", "one.one.one.one"),
    ("tcp://dns.google:443", "dns.google"),
    ("tcp://dns.quad9.net:443", "dns.quad9.net"),
];

/// Reads and checks the file at `path`, and the files that its `include` names.
///
/// # Errors
/// All problems at once.
pub fn load(path: &Path, surroundings: &Environment) -> Result<Settings, ConfigError> {
    let (sources, warnings) = read_sources(path, surroundings)?;
    checked(sources, warnings, surroundings)
}

/// Checks `text` as if it were the file at `path`, without includes.
///
/// # Errors
/// All problems at once.
pub fn load_text(
    path: &Path,
    text: String,
    surroundings: &Environment,
) -> Result<Settings, ConfigError> {
    checked(Sources::of_text(path, text), Vec::new(), surroundings)
}

fn checked(
    sources: Sources,
    warnings: Vec<String>,
    surroundings: &Environment,
) -> Result<Settings, ConfigError> {
    match parse(&sources, surroundings) {
        Ok((mut settings, _)) => {
            settings.warnings.extend(warnings);
            settings.warnings.extend(lint::warnings(&settings));
            Ok(settings)
        }
        Err(all) => Err(ConfigError::new(sources, all)),
    }
}

/// Reads the file at `path` and the files that its `include` names. Returns them with any warnings.
pub(super) fn read_sources(
    path: &Path,
    surroundings: &Environment,
) -> Result<(Sources, Vec<String>), ConfigError> {
    let text = source::read_file(path).map_err(|(message, help)| {
        let help = if path.exists() {
            help
        } else {
            "name the file with `-c FILE`, or let `llmwatch init` write one"
        };
        ConfigError::of_file(path, message, Some(help.to_owned()))
    })?;
    let mut sources = Sources::of_text(path, text);
    match include(&mut sources, surroundings) {
        Ok(warnings) => Ok((sources, warnings)),
        Err(all) => Err(ConfigError::new(sources, all)),
    }
}

/// Reads the files that `include` of the main file names into `sources`. Returns warnings.
fn include(
    sources: &mut Sources,
    surroundings: &Environment,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    let diagnostics = {
        let documents = sources.parse()?;
        let sink = Sink::new(sources, surroundings);
        let root = documents.first().map(|main| Table::new("", main, &sink));
        let patterns = root.and_then(|root| root.get("include")?.items());
        for pattern in patterns.unwrap_or_default() {
            let Some(text) = pattern.string() else {
                continue;
            };
            let directory = sources.directory(pattern.span.start);
            match source::matching_files(&directory, &text) {
                Ok(files) if files.is_empty() => {
                    warnings.push(format!("`include`: {} matches no file", echo(&text)));
                }
                Ok(files) => found.extend(files.into_iter().map(|f| (f, pattern.span.clone()))),
                Err(why) => {
                    let message = format!("`include` {}: {why}", echo(&text));
                    let _: Option<()> = pattern.error(message, "check the pattern");
                }
            }
        }
        sink.diagnostics.take()
    };
    let mut problems = diagnostics;
    let mut read = BTreeSet::new();
    for (path, span) in found {
        if !read.insert(path.clone()) {
            continue;
        }
        match source::read_file(&path) {
            Ok(text) => sources.add(&path, &text),
            Err((message, help)) => problems.push(Diagnostic {
                message,
                span: Some(span),
                help: Some(help.to_owned()),
            }),
        }
    }
    if problems.is_empty() {
        Ok(warnings)
    } else {
        Err(problems)
    }
}

/// The known keys of each table: those that the reader requests.
pub(super) type KnownKeys = BTreeMap<String, BTreeSet<&'static str>>;

/// Parses and checks all files.
pub(super) fn parse(
    sources: &Sources,
    surroundings: &Environment,
) -> Result<(Settings, KnownKeys), Vec<Diagnostic>> {
    let sink = Sink::new(sources, surroundings);
    let (document, problems) = sources.merged()?;
    sink.diagnostics.borrow_mut().extend(problems);
    let root = Table::new("", &document, &sink);
    root.get("include");
    let mut config = read(&root, sources.path());
    let diagnostics = sink.diagnostics.take();
    let asked = sink.asked.take();
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    config.warnings = sink.warnings.take();
    Ok((config, asked))
}

fn read(root: &Table<'_>, path: &Path) -> Settings {
    let sink = root.sink();
    let (monitor, process) = read_monitor(root);
    let store = read_store(root, &process.state_dir);
    let log = read_log(root);
    let budget = read_budget(root);
    let quorum = read_quorum(root);

    let defaults = root.table("defaults");
    let detection: Vec<_> = root.table("detection").into_iter().collect();
    let tables = root.tables("endpoint");
    let mut reads: Vec<CheckedEndpoint<'_>> = tables
        .iter()
        .filter_map(|t| endpoint::read(t, defaults.as_ref(), &detection))
        .collect();
    endpoint::read_alone(&detection, defaults.as_ref().filter(|_| !tables.is_empty()));
    name_endpoints(&mut reads);
    let of_long_answers: Vec<_> = reads.iter().filter_map(endpoint::long_of).collect();
    refuse_names_of_long_probes(&reads, &of_long_answers);
    reads.extend(of_long_answers);
    let connectivity_checks = read_connectivity_checks(root, &reads);
    let feeds = feed::read(root, &reads);

    let emails = root.tables("email");
    let webhooks = root.tables("webhook");
    let mut channels: Vec<(Table<'_>, Channel)> = Vec::new();
    channels.extend(
        emails
            .iter()
            .filter_map(|t| Some((t.clone(), channel::email(t)?))),
    );
    channels.extend(
        webhooks
            .iter()
            .filter_map(|t| Some((t.clone(), webhook::webhook(t)?))),
    );
    name_channels(&mut channels);
    let maintenance = root
        .tables("maintenance")
        .iter()
        .filter_map(read_maintenance)
        .collect();
    let heartbeat = read_heartbeat(root);
    let report = read_report(root, &channels);
    let drill = read_drill(root, &channels);
    let otlp = read_otlp(root);
    let web = read_web(root, &channels);
    let route = read_route(root);
    root.finish();
    check_references(&reads, &channels);
    if reads.iter().all(|r| !r.enabled) {
        sink.warn("no endpoint is configured: nothing is probed");
    }
    if channels.is_empty() {
        sink.warn(
            "no channel is configured, so nobody is notified: add an `[[email]]` or a `[[webhook]]`",
        );
    }
    let mut endpoints: Vec<_> = reads
        .into_iter()
        .filter(|r| r.enabled)
        .map(|r| Arc::new(r.endpoint))
        .collect();
    // `collect` reuses the larger allocation of `reads`: release the rest.
    endpoints.shrink_to_fit();
    let config = Config {
        monitor,
        budget,
        quorum,
        endpoints,
        connectivity_checks,
        status_feeds: feeds,
        channels: channels.into_iter().map(|(_, c)| Arc::new(c)).collect(),
        maintenance,
        report,
        drill,
    };
    Settings {
        config: Arc::new(config),
        path: path.to_owned(),
        process,
        log,
        store,
        heartbeat,
        otlp,
        web,
        route,
        warnings: Vec::new(),
    }
}

fn read_monitor(root: &Table<'_>) -> (Monitor, ProcessSettings) {
    let sink = root.sink();
    let vars = &sink.surroundings.vars;
    let table = root.table("monitor");
    let get = |key| table.as_ref().and_then(|t| t.get(key));
    let location = get("location").and_then(|v| endpoint::checked_name(&v));
    let state_dir = state_dir::read(get("state_dir"), sink);
    let listen = get("listen").map_or_else(
        || "127.0.0.1:8686".parse().ok(),
        |v| match v.string()?.as_str() {
            "off" => None,
            _ => v.parse(
                "address",
                "write `\"127.0.0.1:8686\"`, an IP address and a port, or `\"off\"`",
            ),
        },
    );
    let public_url = get("public_url").and_then(|v| {
        let url: Url = v.parse(
            "URL",
            "write it with its scheme: `https://status.example.com`",
        )?;
        Some(url.as_str().trim_end_matches('/').to_owned())
    });
    let proxy = get("proxy").map_or(Some(Proxy::None), |v| proxy::read(&v, vars));
    let monitor = Monitor {
        location: location.unwrap_or_else(|| sink.surroundings.hostname.clone()),
        public_url,
        timezone: get("timezone")
            .and_then(|v| {
                v.parse::<Tz>(
                    "time zone",
                    "write its name in the tz database: `Europe/Berlin`",
                )
            })
            .unwrap_or(Tz::UTC),
        language: get("language")
            .and_then(|v| v.one_of(&[("en", Language::English), ("es", Language::Spanish)]))
            .unwrap_or_default(),
        proxy: proxy.unwrap_or(Proxy::None),
        probe: get("probe").and_then(|v| v.boolean()).unwrap_or(true),
    };
    let process = ProcessSettings {
        state_dir,
        listen,
        max_concurrent_probes: get("max_concurrent_probes")
            .and_then(|v| v.integer(1..=10_000))
            .unwrap_or(64) as usize,
        ca_file: get("ca_file").and_then(|v| v.path()),
    };
    if let Some(table) = table {
        table.finish();
    }
    (monitor, process)
}

fn read_log(root: &Table<'_>) -> Log {
    let table = root.table("log");
    let get = |key| table.as_ref().and_then(|t| t.get(key));
    let formats = [
        ("auto", LogFormat::Auto),
        ("json", LogFormat::Json),
        ("pretty", LogFormat::Pretty),
        ("journald", LogFormat::Journald),
    ];
    let levels = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let log = Log {
        format: get("format")
            .and_then(|v| v.one_of(&formats))
            .unwrap_or(LogFormat::Auto),
        level: get("level")
            .and_then(|v| v.one_of(&levels))
            .unwrap_or(tracing::Level::INFO),
        all_samples: get("samples")
            .and_then(|v| v.one_of(&[("all", true), ("failures", false)]))
            .unwrap_or(true),
    };
    if let Some(table) = table {
        table.finish();
    }
    log
}

fn read_store(root: &Table<'_>, state_dir: &Path) -> StoreSettings {
    let table = root.table("store");
    let get = |key| table.as_ref().and_then(|t| t.get(key));
    let (path, shared) = match table.as_ref().map(read_store_url) {
        Some(Some(StoreUrl::Sqlite(file))) => (Some(state_dir.join(file)), None),
        Some(Some(StoreUrl::Postgres(url))) => (None, Some(Arc::new(url))),
        _ => (None, None),
    };
    let keep = |key, days| {
        get(key)
            .and_then(|v| v.duration_of_at_least(DAY))
            .unwrap_or(DAY * days)
    };
    let keys = ["url", "url_file", "url_credential"];
    let mut places = keys.into_iter().filter_map(get);
    let store = StoreSettings {
        is_url_unknown: places.any(|place| place.is_granted()) && path.is_none(),
        path: path.unwrap_or_else(|| state_dir.join("llmwatch.db")),
        shared,
        keep_samples: keep("keep_samples", 30),
        keep_rollups: keep("keep_rollups", 400),
        keep_incidents: get("keep_incidents").and_then(|v| {
            if v.is_str() && v.string().as_deref() == Some("forever") {
                None
            } else {
                v.duration_of_at_least(DAY)
            }
        }),
    };
    if let Some(table) = table {
        table.finish();
    }
    store
}

enum StoreUrl {
    Sqlite(String),
    Postgres(PostgresUrl),
}

/// Reads `url` of `[store]` in one of its three forms. `None` if it is missing or invalid, or if
/// its secret is not available.
fn read_store_url(table: &Table<'_>) -> Option<StoreUrl> {
    let place = ["url", "url_file", "url_credential"]
        .into_iter()
        .find_map(|key| table.get(key))?;
    let is_granted = place.is_granted();
    let secret = table.secret("url", "url_file", "url_credential")?;
    let text = secret.expose();
    if PostgresUrl::is_meant(text) {
        return match PostgresUrl::parse(text) {
            Ok(url) => Some(StoreUrl::Postgres(url)),
            Err((message, help)) => place.error(message, help),
        };
    }
    match text.strip_prefix("sqlite:") {
        Some(file) if !file.is_empty() => Some(StoreUrl::Sqlite(file.to_owned())),
        _ if is_granted || text == UNKNOWN_URL => None,
        _ => place.error(
            "`url` is not the URL of a store",
            "write `\"sqlite:llmwatch.db\"`, a file in `state_dir`, or `\"postgres://user@host/database\"`",
        ),
    }
}

fn read_quorum(root: &Table<'_>) -> Quorum {
    let table = root.table("quorum");
    let get = |key| table.as_ref().and_then(|t| t.get(key));
    let usual = Quorum::default();
    let agree = get("agree").and_then(|v| {
        if v.is_str() {
            v.one_of(&[
                ("majority", Agree::Majority),
                ("any", Agree::Any),
                ("all", Agree::All),
            ])
        } else {
            v.integer(1..=10_000).map(|n| Agree::Count(n as u32))
        }
    });
    let quorum = Quorum {
        agree: agree.unwrap_or(usual.agree),
        stale_after: get("stale_after")
            .and_then(|v| v.duration_of_at_least(Duration::from_secs(1))),
        alone_after: get("alone_after")
            .and_then(|v| v.duration_of_at_least(Duration::from_secs(1)))
            .unwrap_or(usual.alone_after),
    };
    if let Some(table) = table {
        table.finish();
    }
    quorum
}

fn read_budget(root: &Table<'_>) -> Budget {
    let table = root.table("budget");
    let get = |key| table.as_ref().and_then(|t| t.get(key));
    let budget = Budget {
        daily_usd: get("daily_usd")
            .and_then(|v| v.number(0.0, 1e6))
            .unwrap_or(1.0),
        daily_tokens: get("daily_tokens").and_then(|v| v.integer(1..=1_000_000_000_000)),
        shared: get("shared").and_then(|v| v.boolean()).unwrap_or(false),
    };
    if let Some(table) = table {
        table.finish();
    }
    budget
}

fn read_connectivity_checks(
    root: &Table<'_>,
    reads: &[CheckedEndpoint<'_>],
) -> Vec<ConnectivityCheck> {
    let tables = root.tables("connectivity_check");
    let mut checks = Vec::new();
    let mut enabled = true;
    for table in &tables {
        enabled &= table
            .get("enabled")
            .and_then(|v| v.boolean())
            .unwrap_or(true);
        let url = table.get("url").and_then(|v| {
            let url: Url = v.parse("URL", "write `\"tcp://host:port\"` or `\"https://…\"`")?;
            let fits =
                matches!(url.scheme(), "https") || url.scheme() == "tcp" && url.port().is_some();
            if fits && url.host().is_some() {
                Some(url)
            } else {
                v.error(
                    "a connectivity check is `tcp://host:port` or `https://…`",
                    "fix the URL",
                )
            }
        });
        let name = table.get("name").and_then(|v| {
            let name = v.string()?;
            if is_host_name(&name) {
                Some(name)
            } else {
                v.error(
                    format!("`{name}` is not a host name"),
                    "write a name without scheme or port, such as `\"dns.google\"`",
                )
            }
        });
        checks.extend(url.map(|url| ConnectivityCheck { url, name }));
        table.finish();
    }
    let nothing_outside = reads
        .iter()
        .filter(|r| r.enabled)
        .all(|r| super::is_local(&r.endpoint.base_url));
    if !enabled || (tables.is_empty() && nothing_outside) {
        return Vec::new();
    }
    if checks.is_empty() {
        checks.extend(CONNECTIVITY_CHECKS.iter().filter_map(|(url, name)| {
            Some(ConnectivityCheck {
                url: Url::parse(url).ok()?,
                name: Some((*name).to_owned()),
            })
        }));
    }
    checks
}

/// Reports whether `name` is a valid host name: labels of letters, digits, hyphens and underscores,
/// at most 253 characters, and not an IP address.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    name.len() <= 253
        && name.trim_end_matches('.').split('.').all(is_label)
        && name.parse::<std::net::IpAddr>().is_err()
}

fn read_maintenance(table: &Table<'_>) -> Option<Maintenance> {
    let name = table
        .get("name")
        .and_then(|v| v.string())
        .unwrap_or_else(|| "maintenance".to_owned());
    let start = table.get("start");
    let end = table.get("end");
    let every = table.get("every");
    let length = table.get("for");
    let providers: Vec<_> = Provider::ALL.iter().map(|p| (p.as_str(), *p)).collect();
    let many = |key: &'static str| table.get(key).and_then(|v| v.items()).unwrap_or_default();
    let scope = (
        table
            .get("endpoints")
            .and_then(|v| v.names())
            .unwrap_or_default(),
        many("providers")
            .iter()
            .filter_map(|v| v.one_of(&providers))
            .collect(),
        table
            .get("groups")
            .and_then(|v| v.strings())
            .unwrap_or_default(),
    );
    table.finish();
    let window = match (start, end, every, length) {
        (Some(start), Some(end), None, None) => {
            let (from, to) = (start.moment()?, end.moment()?);
            if to <= from {
                return end.error(
                    "the maintenance ends before it begins",
                    "swap `start` and `end`",
                );
            }
            Window::Once {
                start: from,
                end: to,
            }
        }
        (None, None, Some(every), Some(length)) => {
            let text = every.string()?;
            let cron = CronParser::new().parse(&text);
            let Ok(cron) = cron else {
                return every.error(
                    format!("invalid cron expression {}", echo(&text)),
                    "five fields: `0 3 * * SUN`",
                );
            };
            Window::Every {
                cron: Box::new(cron),
                length: length.duration_of_at_least(Duration::from_mins(1))?,
            }
        }
        _ => {
            let help = "give `start` and `end`, or `every` and `for`";
            table.sink().error(
                Some(table.span.clone()),
                "missing time of a `[[maintenance]]`",
                Some(help.to_owned()),
            );
            return None;
        }
    };
    Some(Maintenance {
        name,
        window,
        endpoints: scope.0,
        providers: scope.1,
        groups: scope.2,
    })
}

fn read_heartbeat(root: &Table<'_>) -> Option<Heartbeat> {
    let table = root.table("heartbeat")?;
    let url = table.secret("url", "url_file", "url_credential");
    let fail_url = table.secret("fail_url", "fail_url_file", "fail_url_credential");
    let interval = table
        .get("interval")
        .and_then(|v| v.duration_of_at_least(Duration::from_secs(1)));
    table.finish();
    if url.is_none() {
        let help = "add the address that your dead-man's switch gave you";
        table.sink().error(
            Some(table.span.clone()),
            "missing key `url` in `[heartbeat]`",
            Some(help.to_owned()),
        );
    }
    Some(Heartbeat {
        url: url?,
        interval: interval.unwrap_or(Duration::from_mins(1)),
        fail_url,
    })
}

fn read_report(root: &Table<'_>, channels: &[(Table<'_>, Channel)]) -> Option<ReportSettings> {
    let table = root.table("report")?;
    let rhythms = [
        ("off", None),
        ("daily", Some(ReportEvery::Daily)),
        ("weekly", Some(ReportEvery::Weekly)),
        ("monthly", Some(ReportEvery::Monthly)),
    ];
    let every = table
        .get("every")
        .and_then(|v| v.one_of(&rhythms))
        .flatten();
    let at = table.get("at").map_or(Some(8 * 60), |v| {
        let text = v.string()?;
        minute_of_day(&text).or_else(|| {
            v.error(
                format!("invalid time of day {}", echo(&text)),
                "write `\"08:00\"`",
            )
        })
    });
    let to = table.get("to").and_then(|v| v.items()).unwrap_or_default();
    let known: Vec<_> = channels.iter().map(|(_, c)| c.name.as_str()).collect();
    let to = to
        .iter()
        .filter_map(|v| reference(v, "channel", &known).map(ChannelName::from))
        .collect();
    table.finish();
    Some(ReportSettings {
        every: every?,
        at: at?,
        to,
    })
}

fn read_drill(root: &Table<'_>, channels: &[(Table<'_>, Channel)]) -> Drill {
    let Some(table) = root.table("drill") else {
        return Drill::default();
    };
    let every = table.get("every").and_then(|v| {
        let text = v.string()?;
        // During working hours, so that somebody is there to confirm.
        let pattern = match text.as_str() {
            "off" => return None,
            "weekly" => "0 10 * * MON",
            "monthly" => "0 10 1 * *",
            cron => cron,
        };
        match CronParser::new().parse(pattern) {
            Ok(cron) => Some(Box::new(cron)),
            Err(_) => v.error(
                format!("invalid `every` {}", echo(&text)),
                "write `\"off\"`, `\"weekly\"`, `\"monthly\"`, or a cron expression of five fields: `\"0 10 * * TUE\"`",
            ),
        }
    });
    let known: Vec<_> = channels.iter().map(|(_, c)| c.name.as_str()).collect();
    let names = |key: &'static str| -> Vec<ChannelName> {
        let items = table.get(key).and_then(|v| v.items()).unwrap_or_default();
        let named = items.iter().filter_map(|v| reference(v, "channel", &known));
        named.map(ChannelName::from).collect()
    };
    let (channels, escalate_to) = (names("channels"), names("escalate_to"));
    let confirm_within = table
        .get("confirm_within")
        .and_then(|v| v.duration_of_at_least(Duration::from_secs(1)));
    table.finish();
    Drill {
        every,
        channels,
        confirm_within: confirm_within.unwrap_or(Drill::default().confirm_within),
        escalate_to,
    }
}

fn read_otlp(root: &Table<'_>) -> Option<Otlp> {
    let table = root.table("otlp")?;
    let endpoint = table.get("endpoint");
    if endpoint.is_none() {
        let help = "add the collector's address: `endpoint = \"http://127.0.0.1:4318\"`";
        table.sink().error(
            Some(table.span.clone()),
            "missing key `endpoint` in `[otlp]`",
            Some(help.to_owned()),
        );
    }
    let endpoint = endpoint.and_then(|v| {
        let url: Url = v.parse("URL", OTLP_HELP)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return v.error(format!("{} is not an OTLP/HTTP address", echo(url.as_str())), OTLP_HELP);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return v
                .error("credentials in a URL end up in logs", "put them into `headers`: `{ authorization = \"…\" }`");
        }
        if url.port() == Some(4317) {
            table
                .sink()
                .warn("`endpoint` of `[otlp]` names port 4317, where collectors speak gRPC; HTTP is usually on 4318");
        }
        Some(with_otlp_path(url))
    });
    let interval = table
        .get("interval")
        .and_then(|v| v.duration_of_at_least(Duration::from_secs(1)));
    let headers = table
        .table("headers")
        .map(|t| endpoint::headers_of(&t))
        .unwrap_or_default();
    table.finish();
    Some(Otlp {
        endpoint: endpoint?,
        interval: interval.unwrap_or(Duration::from_mins(1)),
        headers,
    })
}

/// Appends the path that OpenTelemetry's own exporters append, unless it is there.
fn with_otlp_path(mut url: Url) -> Url {
    if !url.path().ends_with("/v1/metrics") {
        url.set_path(&format!("{}/v1/metrics", url.path().trim_end_matches('/')));
    }
    url
}

/// Tokens with fewer characters can be guessed.
const SHORT_TOKEN: usize = 16;

fn read_web(root: &Table<'_>, channels: &[(Table<'_>, Channel)]) -> Web {
    let Some(table) = root.table("web") else {
        return Web::default();
    };
    let strings = |key| table.get(key).and_then(|v| v.strings()).unwrap_or_default();
    let web = Web {
        token: read_web_token(&table),
        title: table.get("title").and_then(|v| v.string()),
        trusted_hosts: strings("trusted_hosts"),
        public: table
            .get("public")
            .and_then(|v| {
                v.one_of(&[
                    ("off", Public::Off),
                    ("summary", Public::Summary),
                    ("all", Public::All),
                ])
            })
            .unwrap_or_default(),
        subscribe: table.get("subscribe").and_then(|v| v.boolean()) == Some(true),
        subscribe_via: table
            .get("subscribe_via")
            .and_then(|v| email_channel(&v, channels)),
        cors_origins: read_origins(&table),
    };
    if web.subscribe && !channels.iter().any(is_email) {
        let span = table.get("subscribe").map(|v| v.span);
        let help = "add an `[[email]]`: subscribers are notified through it";
        let message = "`subscribe` of `[web]` needs an email channel";
        root.sink()
            .error(span, message.to_owned(), Some(help.to_owned()));
    }
    table.finish();
    web
}

fn read_web_token(table: &Table<'_>) -> Option<Secret> {
    let token = table.secret("token", "token_file", "token_credential")?;
    let trimmed = token.expose().trim();
    if trimmed.is_empty() {
        let message = "the `token` of `[web]` is empty".to_owned();
        let help = "give it a value, for instance from `openssl rand -hex 24`, or remove the key: without it everybody may \
                    read and nobody may write";
        let span = table.get("token").map(|v| v.span);
        table.sink().error(span, message, Some(help.to_owned()));
        return None;
    }
    if trimmed.chars().count() < SHORT_TOKEN {
        table.sink().warn(format!(
            "the `token` of `[web]` is shorter than {SHORT_TOKEN} characters and can be guessed; `openssl rand -hex 24` makes a \
             good one"
        ));
    }
    Some(token)
}

fn is_email((_, channel): &(Table<'_>, Channel)) -> bool {
    matches!(channel.kind, ChannelKind::Email(_))
}

fn email_channel(value: &Value<'_>, channels: &[(Table<'_>, Channel)]) -> Option<String> {
    let name = value.string()?;
    let emails: Vec<_> = channels.iter().filter(|c| is_email(c)).collect();
    if emails.iter().any(|(_, c)| c.name == name) {
        return Some(name);
    }
    let known: Vec<_> = emails.iter().map(|(_, c)| c.name.as_str()).collect();
    value.error(
        format!(
            "`subscribe_via` names {}, which is not an email channel",
            echo(&name)
        ),
        if known.is_empty() {
            "add an `[[email]]` first".to_owned()
        } else {
            format!("known are: {}", known.join(", "))
        },
    )
}

/// Reads origins in the form that browsers send: scheme, host and port only.
fn read_origins(table: &Table<'_>) -> Vec<String> {
    let Some(value) = table.get("cors_origins") else {
        return Vec::new();
    };
    let origins = value.strings().unwrap_or_default();
    let mut read = Vec::new();
    for origin in origins {
        let parsed = Url::parse(&origin).ok();
        let own = parsed.filter(|u| matches!(u.scheme(), "http" | "https"));
        match own.map(|u| u.origin().ascii_serialization()) {
            Some(own) if own == origin.trim_end_matches('/') => read.push(own),
            Some(own) => {
                let message = format!(
                    "{} in `cors_origins` has more than scheme, host and port",
                    echo(&origin)
                );
                value.error::<()>(message, format!("write `{own}`"));
            }
            None => {
                let message = format!("{} in `cors_origins` is not an origin", echo(&origin));
                value.error::<()>(message, "write it as `https://app.example.com`");
            }
        }
    }
    read
}

fn read_route(root: &Table<'_>) -> RouteSettings {
    let Some(table) = root.table("route") else {
        return RouteSettings::default();
    };
    let help = "write an address and a port, such as `127.0.0.1:8687`";
    let listen = table.get("agent_listen");
    let route = RouteSettings {
        agent_listen: listen.and_then(|v| v.parse("address", help)),
        ramp: table
            .get("ramp")
            .and_then(|v| v.duration())
            .unwrap_or(RouteSettings::default().ramp),
    };
    table.finish();
    route
}

/// Names unnamed endpoints after provider and model, and rejects duplicate names.
fn name_endpoints(reads: &mut [CheckedEndpoint<'_>]) {
    let mut taken: Vec<EndpointName> = Vec::new();
    for read in reads.iter().filter(|r| !r.endpoint.name.is_empty()) {
        if taken.contains(&read.endpoint.name) {
            let span = read
                .table
                .get("name")
                .map_or(read.table.span.clone(), |v| v.span);
            let help = "endpoint names must be unique: change one of them";
            let message = format!("two endpoints are called `{}`", read.endpoint.name);
            read.table
                .sink()
                .error(Some(span), message, Some(help.to_owned()));
        }
        taken.push(read.endpoint.name.clone());
    }
    for read in reads.iter_mut().filter(|r| r.endpoint.name.is_empty()) {
        let e = &read.endpoint;
        let model = e
            .model
            .clone()
            .or_else(|| e.base_url.host_str().map(str::to_owned))
            .unwrap_or_default();
        let full_name = format!("{}-{model}", e.provider);
        let fits = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let stem: String = full_name.chars().map(fits).take(60).collect();
        let stem = EndpointName::from(stem);
        let numbered = (2..).map(|n| EndpointName::from(format!("{stem}-{n}")));
        let free = std::iter::once(stem.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name));
        read.endpoint.name = free.unwrap_or(stem);
        taken.push(read.endpoint.name.clone());
    }
}

/// The second probe of an endpoint has its name and `-long`: no other endpoint may be called so.
fn refuse_names_of_long_probes(reads: &[CheckedEndpoint<'_>], long: &[CheckedEndpoint<'_>]) {
    for of_long in long {
        let name = &of_long.endpoint.name;
        let Some(clash) = reads.iter().find(|read| read.endpoint.name == *name) else {
            continue;
        };
        let span = clash
            .table
            .get("name")
            .map_or(clash.table.span.clone(), |v| v.span);
        let short = name.trim_end_matches("-long");
        let message =
            format!("the endpoint `{name}` has the name of the long probe (`long`) of `{short}`");
        let help = format!("give it another name, or leave `long` out of `{short}`");
        clash.table.sink().error(Some(span), message, Some(help));
    }
}

fn name_channels(channels: &mut [(Table<'_>, Channel)]) {
    let mut taken: Vec<ChannelName> = Vec::new();
    for (table, channel) in channels {
        if taken.contains(&channel.name) {
            if let Some(name) = table.get("name") {
                let message = format!("two channels are called `{}`", channel.name);
                let _: Option<()> =
                    name.error(message, "channel names must be unique: change one of them");
            }
            // One more candidate than there are taken names, so one of them is free.
            let free = (2..=taken.len() + 2)
                .map(|n| ChannelName::from(format!("{}-{n}", channel.name)))
                .find(|n| !taken.contains(n));
            channel.name = free.unwrap_or_default();
        }
        taken.push(channel.name.clone());
    }
}

fn check_references(reads: &[CheckedEndpoint<'_>], channels: &[(Table<'_>, Channel)]) {
    let endpoints: Vec<_> = reads.iter().map(|r| r.endpoint.name.as_str()).collect();
    let groups: Vec<_> = reads
        .iter()
        .filter_map(|r| r.endpoint.group.as_deref())
        .collect();
    let names: Vec<_> = channels.iter().map(|(_, c)| c.name.as_str()).collect();
    let mut depends = endpoints.clone();
    depends.extend(Provider::ALL.iter().map(|p| p.as_str()));
    let each = |table: &Table<'_>, key, what, known: &[&str]| {
        for value in table.get(key).and_then(|v| v.items()).unwrap_or_default() {
            reference(&value, what, known);
        }
    };
    for read in reads {
        each(&read.table, "depends_on", "endpoint or provider", &depends);
    }
    for (table, _) in channels {
        each(table, "endpoints", "endpoint", &endpoints);
        each(table, "groups", "group", &groups);
        if let Some(fallback) = table.get("fallback") {
            reference(&fallback, "channel", &names);
        }
    }
}
