//! `llmwatch schema`: the JSON Schema of monitor.toml, for editors. Its keys are those that the reader of the configuration
//! asks for, so that the two cannot disagree about them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Exit, print};
use crate::config::{self, Surroundings};
use crate::model::Provider;

/// Written with two brackets.
const LISTS: [&str; 6] = [
    "endpoint",
    "control",
    "status_feed",
    "email",
    "webhook",
    "maintenance",
];

type Tables = BTreeMap<String, BTreeSet<String>>;

pub(super) fn run() -> Exit {
    let surroundings = Surroundings {
        hostname: "here".to_owned(),
        ..Surroundings::default()
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
    let mut schema = object(&tables, "");
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("monitor.toml of llmwatch"));
    print(&serde_json::to_string_pretty(&schema)?);
    Ok(0)
}

fn object(tables: &Tables, table: &str) -> Map<String, Value> {
    let keys = tables.get(table).into_iter().flatten();
    let properties: Map<_, _> = keys
        .map(|key| (key.clone(), property(tables, table, key)))
        .collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    // Each kind of webhook has keys of its own.
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
    let inner = table.rsplit('.').next().unwrap_or_default();
    match (inner, key) {
        ("defaults", "timeout" | "slow" | "expect" | "price" | "detection") => {
            property(tables, "endpoint", key)
        }
        ("endpoint" | "defaults" | "webhook" | "otlp", "headers" | "labels") => {
            json!({"type": "object", "additionalProperties": {"type": "string"}})
        }
        ("log", "format") => json!({"enum": ["auto", "json", "pretty", "journald"]}),
        ("log", "level") => json!({"enum": ["error", "warn", "info", "debug", "trace"]}),
        ("log", "samples") => json!({"enum": ["all", "failures"]}),
        ("report", "every") => json!({"enum": ["off", "daily", "weekly", "monthly"]}),
        ("endpoint" | "defaults" | "status_feed", "provider") => {
            json!({"enum": Provider::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>()})
        }
        (_, "connection") => json!({"enum": ["fresh", "reuse"]}),
        (_, "sensitivity") => json!({"enum": ["low", "normal", "high"]}),
        (_, "min_status") => json!({"enum": ["degraded", "outage"]}),
        ("timeout", _)
        | ("slow", "first_token" | "total")
        | ("webhook", "timeout")
        | (
            _,
            "interval"
            | "alert_after"
            | "provider_alert_after"
            | "degraded_after"
            | "resolve_after"
            | "expected_first_token"
            | "after"
            | "group_wait"
            | "give_up_after"
            | "keep_samples"
            | "keep_rollups"
            | "for",
        ) => {
            json!({"type": "string", "description": "a length of time: \"500ms\", \"30s\", \"5m\", \"7d\""})
        }
        (
            _,
            "enabled" | "stream" | "recheck" | "siblings" | "expect_cold_start" | "quiet_hours_all",
        ) => {
            json!({"type": "boolean"})
        }
        (
            _,
            "max_concurrent_probes"
            | "daily_tokens"
            | "max_tokens"
            | "failure_threshold"
            | "success_threshold"
            | "min_tokens",
        ) => {
            json!({"type": "integer", "minimum": 1})
        }
        (_, "daily_usd" | "slow_factor" | "slo" | "input" | "output" | "tokens_per_second") => {
            json!({"type": "number", "minimum": 0})
        }
        (
            _,
            "on" | "attribution" | "endpoints" | "providers" | "groups" | "components"
            | "trusted_hosts" | "depends_on" | "cc" | "to",
        ) => {
            json!({"type": "array", "items": {"type": "string"}})
        }
        // Texts or structures, as the target or the receiver wants them.
        (_, "body" | "json_schema" | "expect_status" | "priority" | "start" | "end") => json!({}),
        _ => json!({"type": "string"}),
    }
}
