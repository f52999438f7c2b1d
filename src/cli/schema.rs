//! `llmwatch schema`: the JSON Schema of monitor.toml for editors, and the configuration reference.
//! The keys are those that the configuration reader requests; types and texts come from the table
//! of keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Exit, print};
use crate::config::{self, Environment, Key};
use llmwatch_core::model::Provider;

/// Tables that are arrays (`[[table]]`).
const LISTS: [&str; 6] = [
    "endpoint",
    "connectivity_check",
    "status_feed",
    "email",
    "webhook",
    "maintenance",
];

type Tables = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch schema > monitor.schema.json")]
pub(super) struct SchemaArgs {
    /// Output format: the JSON Schema, or the configuration reference as Markdown
    #[arg(long, value_enum, default_value = "json")]
    format: SchemaFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SchemaFormat {
    Json,
    Markdown,
}

pub(super) fn run(args: &SchemaArgs) -> Exit {
    let surroundings = Environment {
        hostname: "here".to_owned(),
        ..Environment::default()
    };
    let known = config::known_keys(&surroundings)?;
    let mut tables = Tables::new();
    for path in &known {
        if let Some((table, key)) = path.rsplit_once('.') {
            tables
                .entry(table.to_owned())
                .or_default()
                .insert(key.to_owned());
        }
    }
    match args.format {
        SchemaFormat::Json => print(&serde_json::to_string_pretty(&schema(&tables))?),
        SchemaFormat::Markdown => print(reference(&tables).trim_end()),
    }
    Ok(0)
}

fn schema(tables: &Tables) -> Map<String, Value> {
    let mut schema = object(tables, "");
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("monitor.toml of llmwatch"));
    schema
}

const INTRODUCTION: &str = "\
# Configuration reference

Every key of `monitor.toml`. `llmwatch schema --format markdown` prints this page; `llmwatch schema` prints the JSON Schema
with the same texts for editors, and `llmwatch check --explain KEY` shows the value of a key and where it is set.
[monitor.toml](../monitor.toml) is an annotated example.

Durations are strings such as `\"500ms\"`, `\"30s\"`, `\"5m\"`, `\"7d\"`. Any string may contain `${NAME}`, an environment variable.
A key of type *secret* can also be given as `KEY_file = \"path\"` or, under systemd, as `KEY_credential = \"name\"`.
";

/// Generates the configuration reference: one section per table, in the order of the table of keys.
fn reference(tables: &Tables) -> String {
    let mut page = INTRODUCTION.to_owned();
    let named = |table: &str| {
        if LISTS.contains(&table) {
            format!("[[{table}]]")
        } else {
            format!("[{table}]")
        }
    };
    for (table, keys) in tables {
        // `[defaults]` and an endpoint's `detection` repeat keys that are described elsewhere.
        if table == "defaults" || table.starts_with("defaults.") || table == "endpoint.detection" {
            continue;
        }
        page += &match table.as_str() {
            "" => "\n## Top level\n".to_owned(),
            table if table.contains('.') => format!("\n### `{table}`\n"),
            table => format!("\n## `{}`\n", named(table)),
        };
        if table == "endpoint" {
            page += "\nEvery key but `name` can also stand in `[defaults]`, for all endpoints.\n";
        }
        page += "\n| key | type | default | description |\n| --- | --- | --- | --- |\n";
        for key in keys {
            let path = format!("{table}.{key}");
            if config::is_other_form(&path) {
                continue;
            }
            let Some(described) = config::describe(&path) else {
                continue;
            };
            page += &row(key, &described);
        }
    }
    page
}

fn row(name: &str, key: &Key) -> String {
    let kind = match &key.kind {
        Some(kind) => kind.clone(),
        None => key
            .one_of
            .iter()
            .map(|v| format!("`{v}`"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    format!(
        "| `{name}` | {} | {} | {} |\n",
        cell(&kind),
        cell(&key.default),
        cell(&key.text)
    )
}

fn object(tables: &Tables, table: &str) -> Map<String, Value> {
    let keys = tables.get(table).into_iter().flatten();
    let properties: Map<_, _> = keys
        .map(|key| (key.clone(), property(tables, table, key)))
        .collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    // Each kind of webhook has its own keys.
    object.insert("additionalProperties".to_owned(), json!(table == "webhook"));
    object
}

fn property(tables: &Tables, table: &str, key: &str) -> Value {
    let path = if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    };
    if tables.contains_key(&path) {
        let below = Value::Object(object(tables, &path));
        return if table.is_empty() && LISTS.contains(&key) {
            json!({"type": "array", "items": below})
        } else {
            below
        };
    }
    if table == "defaults" && tables.contains_key(&format!("endpoint.{key}")) {
        return property(tables, "endpoint", key);
    }
    let Some(key) = config::describe(&path) else {
        return json!({});
    };
    let mut property = shape(&key);
    if let Some(object) = property.as_object_mut() {
        let description = format!("{} Default: {}.", key.text, key.default);
        object.insert("description".to_owned(), json!(description));
    }
    property
}

/// Returns the schema of a key's value.
fn shape(key: &Key) -> Value {
    if !key.one_of.is_empty() {
        return json!({"enum": key.one_of});
    }
    match key.kind.as_deref().unwrap_or_default() {
        "provider" => json!({"enum": Provider::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>()}),
        "bool" => json!({"type": "boolean"}),
        "integer" => json!({"type": "integer", "minimum": 1}),
        "number" => json!({"type": "number", "minimum": 0}),
        "strings" => json!({"type": "array", "items": {"type": "string"}}),
        "map" => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        "table" => json!({"type": "object"}),
        // Strings or structures, depending on the target or receiver; times may be native TOML.
        "any" | "time" => json!({}),
        _ => json!({"type": "string"}),
    }
}
