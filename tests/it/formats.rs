//! Each receiver's payload for each kind of notice: as snapshots, validated against the receivers'
//! own schemas and limits, and free of injected markup from outside.

use std::sync::Arc;

use chrono_tz::Tz;
use llmwatch::config::{self, Channel, ChannelKind, Environment, Settings, Webhook};
use llmwatch::notify::Sender;
use llmwatch_core::message::receivers::{Call, call};
use llmwatch_core::message::render::{self, Setting};
use llmwatch_core::message::test_notice::sample_notice;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Acknowledgement, Attribution, Block, ChannelName, Condition, Document, Notice, NoticeKind,
    Only, Status, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// One channel of every kind.
const CHANNELS: &str = r#"
[monitor]
location = "fra1"
public_url = "https://status.example.com"

[[endpoint]]
provider = "openai"
api_key = "k"

[[email]]
name = "mail"
to = ["oncall@example.com", "boss@example.com"]
from = "llmwatch@example.com"
smtp = "smtp://127.0.0.1:25"

[[webhook]]
name = "json"
url = "http://127.0.0.1/hook"

[[webhook]]
name = "slack"
kind = "slack"
url = "https://hooks.slack.com/services/T/B/x"

[[webhook]]
name = "discord"
kind = "discord"
url = "https://discord.com/api/webhooks/1/x"

[[webhook]]
name = "teams"
kind = "teams"
url = "https://example.com/workflows/1"

[[webhook]]
name = "telegram"
kind = "telegram"
token = "12:ab"
chat_id = -1001

[[webhook]]
name = "ntfy"
kind = "ntfy"
url = "https://ntfy.sh/llmwatch"

[[webhook]]
name = "pagerduty"
kind = "pagerduty"
routing_key = "R0"

[[webhook]]
name = "opsgenie"
kind = "opsgenie"
api_key = "key"

[[webhook]]
name = "alertmanager"
kind = "alertmanager"
url = "http://127.0.0.1:9093"

[[webhook]]
name = "google_chat"
kind = "google_chat"
url = "https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t"

[[webhook]]
name = "mattermost"
kind = "mattermost"
url = "https://mattermost.example.com/hooks/x"

[[webhook]]
name = "pushover"
kind = "pushover"
token = "app"
user = "me"

[[webhook]]
name = "matrix"
kind = "matrix"
url = "https://matrix.example.org"
token = "syt_x"
room = "!abc:example.org"

[[webhook]]
name = "signal"
kind = "signal"
url = "http://127.0.0.1:8080"
from = "+4915112345678"
to = "+4915112345679,group.x="

[[webhook]]
name = "twilio"
kind = "twilio"
account_sid = "AC0"
token = "t"
from = "+15005550006"
to = "+15005550010"

[[webhook]]
name = "rocketchat"
kind = "rocketchat"
url = "https://chat.example.com/hooks/a/b"

[[webhook]]
name = "zulip"
kind = "zulip"
url = "https://zulip.example.com"
user = "bot@example.com"
api_key = "k"
channel = "ops"

[[webhook]]
name = "webex"
kind = "webex"
token = "t"
room = "r"

[[webhook]]
name = "gotify"
kind = "gotify"
url = "https://gotify.example.com"
token = "t"

[[webhook]]
name = "incident_io"
kind = "incident_io"
token = "t"
source = "s"

[[webhook]]
name = "jsm"
kind = "jsm"
api_key = "key"

[[webhook]]
name = "splunk_oncall"
kind = "splunk_oncall"
api_key = "k"
routing_key = "team"

[[webhook]]
name = "exec"
kind = "exec"
command = ["/usr/bin/true"]

[[webhook]]
name = "template"
kind = "template"
url = "http://127.0.0.1/template"
headers = { "x-title" = "{{subject}}" }
body = '{"title": "{{data.incident.title}}", "number": {{data.incident.number}}, "text": "{{text}}"}'
"#;

fn load(text: &str) -> Result<Settings, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, text).unwrap();
    let surroundings = Environment {
        hostname: "host".to_owned(),
        ..Environment::default()
    };
    config::load(&path, &surroundings).map_err(|e| e.to_string())
}

fn channels() -> Vec<Arc<Channel>> {
    load(CHANNELS)
        .unwrap_or_else(|e| panic!("{e}"))
        .channels
        .clone()
}

fn webhooks() -> Vec<(ChannelName, Webhook)> {
    let webhook = |c: &Arc<Channel>| match &c.kind {
        ChannelKind::Webhook(webhook) => Some((c.name.clone(), webhook.clone())),
        ChannelKind::Email(_) => None,
    };
    channels().iter().filter_map(webhook).collect()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-11-23T09:32:00Z").unwrap()
}

pub(crate) fn setting() -> Setting<'static> {
    Setting {
        locale: Locale::english(Tz::Europe__Berlin),
        now: now(),
        acknowledge_url: None,
        confirm_url: None,
    }
}

pub(crate) fn notice(notice_kind: NoticeKind) -> Notice {
    notice_in(notice_kind, &Locale::default())
}

pub(crate) fn notice_in(notice_kind: NoticeKind, locale: &Locale) -> Notice {
    let id = Uuid::from_u128(0x7000_8000_0000_0000_0002);
    sample_notice(
        notice_kind,
        id,
        "fra1",
        Some("https://status.example.com"),
        now(),
        locale,
    )
}

/// Puts `text` into every field of a notice that comes from outside.
fn hostile(notice_kind: NoticeKind, text: &str) -> Notice {
    let mut notice = notice(notice_kind);
    for place in [&mut notice.title, &mut notice.subject, &mut notice.location] {
        *place = text.to_owned();
    }
    for strip in &mut notice.recent {
        strip.endpoint = text.into();
    }
    for alternative in &mut notice.alternatives {
        (alternative.endpoint, alternative.title) = (text.into(), text.into());
    }
    notice.instead_of = Some(text.into());
    notice.condition = notice.condition.map(|c| Condition {
        key: text.to_owned(),
        ..c
    });
    notice.document = notice.document.map(|d| Document {
        blocks: d
            .blocks
            .iter()
            .map(|b: &Block| b.map(|_| text.to_owned()))
            .collect(),
        ..d
    });
    if let Some(incident) = &mut notice.incident {
        let places = [
            &mut incident.title,
            &mut incident.explanation,
            &mut incident.attribution_reason,
        ];
        for place in places {
            *place = text.to_owned();
        }
        let word = Acknowledgement {
            at: now(),
            by: text.to_owned(),
            note: text.to_owned(),
        };
        incident.acknowledged = Some(word);
        incident.provider = text.into();
        incident.endpoints = vec![text.into(); 3];
        incident.official.incident = Some(text.to_owned());
        if let Some(facts) = &mut incident.facts {
            facts.vendor = text.to_owned();
            facts.models = vec![text.to_owned(); 3];
            facts.other_vendors = vec![text.to_owned(); 3];
            facts.only = Some(Only::Model(text.to_owned()));
        }
        notice.also_failing = vec![text.to_owned(); 3];
        incident.evidence.request_ids = vec![text.to_owned(); 3];
        for sample in &mut incident.evidence.samples {
            sample.answer = Some(text.to_owned());
            (sample.endpoint, sample.error) = (text.into(), Some(text.into()));
            sample.request_id = Some(text.to_owned());
        }
    }
    notice
}

/// Selects the part of a payload that a schema describes.
type Pick<'a> = &'a dyn Fn(&Value) -> Value;

/// Parses the body as JSON; a form becomes an object of its fields.
fn body(call: &Call) -> Value {
    if call.content_type == "application/x-www-form-urlencoded" {
        let fields = url::form_urlencoded::parse(call.body.as_bytes());
        return fields
            .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    serde_json::from_str(&call.body).unwrap_or_else(|e| panic!("no JSON: {e}: {}", call.body))
}

fn schema(name: &str, pick: Option<&str>) -> jsonschema::Validator {
    let path = format!(
        "{}/tests/fixtures/schemas/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    if let Some(pick) = pick {
        schema["anyOf"] = json!([{"$ref": pick}]);
    }
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn every_receiver_gets_every_notice_in_its_own_format() {
    insta::with_settings!({filters => vec![
        (r"llmwatch \d+\.\d+\.\d+", "llmwatch VERSION"), (r#""version": "\d+\.\d+\.\d+""#, r#""version": "VERSION""#),
    ]}, {
        for (name, webhook) in webhooks() {
            let mut shown = String::new();
            for notice_kind in NoticeKind::ALL {
                let call = call(&webhook, &notice(*notice_kind), setting());
                shown += &format!("### {}\n{} {}\n", notice_kind.as_str(), call.method, call.url.expose());
                for (header, value) in &call.headers {
                    shown += &format!("{header}: {}\n", value.expose());
                }
                shown += &format!("content-type: {}\n\n{:#}\n\n", call.content_type, body(&call));
            }
            insta::assert_snapshot!(format!("webhook_{name}"), shown);
        }
    });
}

/// The header of the payload reference page.
const PAYLOADS: &str = "# Payloads\n\n\
    What each kind of `[[webhook]]` sends when an incident opens: method, address, headers and body. The values are examples. The\n\
    test `formats::the_page_of_payloads_is_true` writes this page from the code that sends; how each receiver is set up is in\n\
    [Notification channels](channels.md).\n";

#[test]
fn the_page_of_payloads_is_true() {
    let mut page = PAYLOADS.to_owned();
    for (name, webhook) in webhooks() {
        let call = call(&webhook, &notice(NoticeKind::Opened), setting());
        page += &format!(
            "\n## {name}\n\n```text\n{} {}\n",
            call.method,
            call.url.expose()
        );
        for (header, value) in &call.headers {
            page += &format!("{header}: {}\n", value.expose());
        }
        let form = if call.content_type.starts_with("application/x-www-form") {
            ", here as the fields of the form"
        } else {
            ""
        };
        page += &format!(
            "content-type: {}\n```\n\nBody{form}:\n\n```json\n{:#}\n```\n",
            call.content_type,
            body(&call)
        );
    }
    page = page.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/payloads.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        std::fs::write(&file, &page).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == page,
        "run `INSTA_UPDATE=always cargo test -p llmwatch --test it formats::the_page_of_payloads`"
    );
}

#[test]
fn payloads_are_what_the_receivers_own_schemas_ask_for() {
    let card = |body: &Value| body["attachments"][0]["content"].clone();
    let unchanged = |body: &Value| body.clone();
    let checks: [(&str, jsonschema::Validator, Pick<'_>); 4] = [
        ("slack", schema("slack-webhook", None), &unchanged),
        ("discord", schema("discord-webhook", None), &unchanged),
        (
            "teams",
            schema("adaptive-card-1.5", Some("#/definitions/AdaptiveCard")),
            &card,
        ),
        ("pagerduty", schema("pagerduty-events-v2", None), &unchanged),
    ];
    let long = "words \"and\" <more> & ".repeat(2000);
    for (name, webhook) in webhooks() {
        let Some((_, schema, pick)) = checks.iter().find(|(kind, ..)| name == *kind) else {
            continue;
        };
        for notice_kind in NoticeKind::ALL {
            for notice in [notice(*notice_kind), hostile(*notice_kind, &long)] {
                let payload = pick(&body(&call(&webhook, &notice, setting())));
                let errors: Vec<_> = schema
                    .iter_errors(&payload)
                    .map(|e| format!("{}: {e}", e.instance_path()))
                    .collect();
                assert!(
                    errors.is_empty(),
                    "{name}, {}: {errors:#?}\n{payload:#}",
                    notice_kind.as_str()
                );
            }
        }
    }
}

#[test]
fn pagerduty_and_opsgenie_resolve_under_the_opening_key() {
    let webhooks = webhooks();
    let of = |kind: &str, notice_kind| {
        let (_, webhook) = webhooks.iter().find(|(name, _)| name == kind).unwrap();
        call(webhook, &notice(notice_kind), setting())
    };
    let (begin, end) = (
        body(&of("pagerduty", NoticeKind::Opened)),
        body(&of("pagerduty", NoticeKind::Resolved)),
    );
    assert_eq!(
        (&begin["event_action"], &end["event_action"]),
        (&json!("trigger"), &json!("resolve"))
    );
    assert_eq!(begin["dedup_key"], end["dedup_key"]);
    let mut taken = notice(NoticeKind::Updated);
    taken.incident.as_mut().unwrap().acknowledged = Some(llmwatch_core::model::Acknowledgement {
        at: now(),
        by: "ann".to_owned(),
        note: String::new(),
    });
    let (_, pagerduty) = webhooks
        .iter()
        .find(|(name, _)| name == "pagerduty")
        .unwrap();
    assert_eq!(
        body(&call(pagerduty, &taken, setting()))["event_action"],
        "acknowledge"
    );

    let begin = of("opsgenie", NoticeKind::Opened);
    let alias = body(&begin)["alias"].as_str().unwrap().to_owned();
    assert_eq!(begin.url.expose(), "https://api.opsgenie.com/v2/alerts");
    let close = format!("https://api.opsgenie.com/v2/alerts/{alias}/close?identifierType=alias");
    assert_eq!(of("opsgenie", NoticeKind::Resolved).url.expose(), close);
}

#[test]
fn escalation_resolves_alertmanagers_milder_alert() {
    let webhooks = webhooks();
    let (_, alertmanager) = webhooks
        .iter()
        .find(|(name, _)| name == "alertmanager")
        .unwrap();
    let reported = |attribution| {
        let mut worse = notice(NoticeKind::Escalated);
        let incident = worse.incident.as_mut().unwrap();
        (incident.status, incident.attribution) = (Status::Outage, attribution);
        let alerts = body(&call(alertmanager, &worse, setting()));
        let over =
            |alert: &Value| Timestamp::parse(alert["endsAt"].as_str().unwrap()).unwrap() <= now();
        let alerts = alerts.as_array().unwrap().iter();
        alerts
            .map(|a| {
                (
                    a["labels"]["severity"].as_str().unwrap().to_owned(),
                    over(a),
                )
            })
            .collect::<Vec<_>>()
    };
    let alerts = |list: &[(&str, bool)]| {
        list.iter()
            .map(|(s, over)| ((*s).to_owned(), *over))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        reported(Attribution::Provider),
        alerts(&[("critical", false), ("warning", true)])
    );
    assert_eq!(
        reported(Attribution::Account),
        alerts(&[("warning", false)])
    );
}

#[test]
fn an_address_without_a_path_gets_the_receivers_own() {
    let shown = |kind: &str, keys: &str| {
        let text = format!(
            "[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n[[webhook]]\nkind = \"{kind}\"\n{keys}\n"
        );
        let config = load(&text).unwrap_or_else(|e| panic!("{e}"));
        let ChannelKind::Webhook(webhook) = &config.channels[0].kind else {
            panic!("a webhook")
        };
        call(webhook, &notice(NoticeKind::Opened), setting())
            .url
            .expose()
            .to_owned()
    };
    let local = "url = \"http://127.0.0.1:8080\"\n";
    assert_eq!(
        shown("pagerduty", "routing_key = \"r\""),
        "https://events.pagerduty.com/v2/enqueue"
    );
    assert_eq!(
        shown("pagerduty", &format!("{local}routing_key = \"r\"")),
        "http://127.0.0.1:8080/v2/enqueue"
    );
    assert_eq!(
        shown("alertmanager", local),
        "http://127.0.0.1:8080/api/v2/alerts"
    );
    assert_eq!(
        shown("opsgenie", &format!("{local}token = \"t\"")),
        "http://127.0.0.1:8080/v2/alerts"
    );
    assert_eq!(
        shown("telegram", &format!("{local}token = \"1:a\"\nchat_id = 7")),
        "http://127.0.0.1:8080/bot1:a/sendMessage"
    );
    let complete = "url = \"http://127.0.0.1:8080/bot1:a/sendMessage\"\nchat_id = \"@ops\"";
    assert_eq!(
        shown("telegram", complete),
        "http://127.0.0.1:8080/bot1:a/sendMessage"
    );
    assert_eq!(
        shown("ntfy", "url = \"https://ntfy.example.com/sub/alerts\""),
        "https://ntfy.example.com/sub"
    );
    assert_eq!(
        shown("ntfy", &format!("{local}topic = \"alerts\"")),
        "http://127.0.0.1:8080"
    );
    // A room of version 12 has no server in its ID.
    let room =
        format!("{local}token = \"t\"\nroom = \"!2TRdDgP-InovDdr6TXeLRGkOlyk5B0o7WB8CP50l1wg\"");
    assert!(shown("matrix", &room).starts_with("http://127.0.0.1:8080/_matrix/client/v3/rooms/"));
}

#[test]
fn a_kind_asks_for_its_own_keys_and_for_no_others() {
    let error = |keys: &str| {
        load(&format!(
            "[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n[[webhook]]\n{keys}\n"
        ))
        .unwrap_err()
    };
    let url = "url = \"http://127.0.0.1/\"";
    assert!(error("kind = \"pagerduty\"").contains("missing key `routing_key`"));
    assert!(error("kind = \"telegram\"\nchat_id = 1").contains("missing key `token`"));
    assert!(error("kind = \"opsgenie\"").contains("missing key `api_key`"));
    assert!(error(&format!("kind = \"ntfy\"\n{url}")).contains("missing `topic`"));
    assert!(
        error(&format!("kind = \"slack\"\n{url}\nchat_id = 1"))
            .contains("does not apply to kind `slack`")
    );
    assert!(
        error(&format!(
            "kind = \"ntfy\"\n{url}\ntopic = \"t\"\npriority = 9"
        ))
        .contains("1 to 5")
    );
    assert!(error("kind = \"exec\"").contains("missing key `command`"));
    assert!(error("kind = \"exec\"\ncommand = [\"notify\"]").contains("full path"));
    assert!(
        error(&format!("{url}\ncommand = [\"/bin/true\"]")).contains("`command` does not apply")
    );
    assert!(error("kind = \"webex\"").contains("missing keys `token` and `room`"));
    let matrix = format!("kind = \"matrix\"\n{url}\ntoken = \"t\"\nroom = \"#ops:example.org\"");
    assert!(error(&matrix).contains("internal room ID"));
    let signal = format!("kind = \"signal\"\n{url}\nfrom = \"+4915112345678\"\nto = \"0151\"");
    assert!(error(&signal).contains("+4915112345678"));
    let put = format!("kind = \"template\"\n{url}\nbody = '{{}}'\nmethod = \"GET\"");
    assert!(error(&put).contains("\"PUT\""));
    let host = "kind = \"template\"\nurl = \"http://{{data.host}}/\"\nbody = '{}'";
    assert!(error(host).contains("not an http or https URL"));
    let template = error(&format!(
        "kind = \"template\"\n{url}\nbody = '{{\"a\": {{{{x}}}}'"
    ));
    assert!(template.contains("not valid JSON"), "{template}");
}

/// Collects every string in `value` with the name of its field.
fn strings(value: &Value, name: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => found.push((name.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| strings(item, name, found)),
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| strings(value, name, found)),
        _ => {}
    }
}

fn units(value: &Value) -> usize {
    value.as_str().unwrap_or_default().encode_utf16().count()
}

/// Reports whether every one of `specials` in `text` is escaped by a backslash.
fn all_escaped(text: &str, specials: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if specials.contains(c) => return false,
            _ => {}
        }
    }
    true
}

/// Asserts that nothing starts a mention or a link, except our own bold headings and the link at
/// the end.
fn parted(text: &str) {
    let acts = regex::Regex::new("[@\\[`#][^\u{2060}]").unwrap();
    for line in text.lines().filter(|line| !line.starts_with("https://")) {
        assert!(!acts.is_match(line), "{line}");
    }
}

fn check_receiver(kind: &str, call: &Call) {
    let body = body(call);
    match kind {
        "slack" => {
            assert!(!body["text"].as_str().unwrap().contains(['<', '>']));
            let blocks = body["blocks"].as_array().unwrap();
            assert!(blocks.len() <= 50);
            for block in blocks {
                let texts = block["elements"]
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![block["text"].clone()]);
                for text in texts {
                    let limit = if block["type"] == "header" { 150 } else { 3000 };
                    assert!((1..=limit).contains(&units(&text["text"])), "{block}");
                    if text["type"] == "mrkdwn" {
                        let text = text["text"].as_str().unwrap();
                        let ours = text.starts_with('*') || text.starts_with("<https://");
                        assert!(
                            ours && !text.contains("<!") && !text.contains("<@"),
                            "{text}"
                        );
                    }
                }
            }
        }
        "discord" => {
            assert_eq!(body["allowed_mentions"], json!({"parse": []}));
            assert!((1..=2000).contains(&units(&body["content"])));
            let embed = &body["embeds"][0];
            let mut total = 0;
            let mut text = |value: &Value, limit: usize| {
                assert!(units(value) <= limit, "{value}");
                total += units(value);
            };
            text(&embed["title"], 256);
            text(&embed["description"], 4096);
            text(&embed["footer"]["text"], 2048);
            let fields = embed["fields"].as_array().unwrap();
            assert!(fields.len() <= 25);
            for field in fields {
                text(&field["name"], 256);
                text(&field["value"], 1024);
                assert!(
                    all_escaped(field["value"].as_str().unwrap(), "*_~`|<>[]()#"),
                    "{field}"
                );
            }
            assert!(total <= 6000, "{total}");
            for markdown in [&body["content"], &embed["title"], &embed["description"]] {
                assert!(
                    all_escaped(markdown.as_str().unwrap(), "*_~`|<>[]()#"),
                    "{markdown}"
                );
            }
        }
        "teams" => {
            assert!(call.body.len() <= 28 * 1024, "{}", call.body.len());
            let headings = [
                "Please note",
                "What ",
                "Whose fault",
                "In detail",
                "The ",
                "Request IDs",
                "Commands",
            ];
            for block in body["attachments"][0]["content"]["body"]
                .as_array()
                .unwrap()
            {
                let ours =
                    |text: &str| headings.iter().any(|h| text.starts_with(h)) && text.len() < 40;
                assert!(
                    block["type"] != "TextBlock" || ours(block["text"].as_str().unwrap()),
                    "{block}"
                );
            }
        }
        "telegram" => {
            assert!((1..=4096).contains(&units(&body["text"])));
            let text = body["text"].as_str().unwrap();
            let ours = regex::Regex::new(r#"</?b>|<a href="https://[^"<>]*">[^<>]*</a>"#).unwrap();
            let rest = ours.replace_all(text, "");
            assert!(!rest.contains(['<', '>']), "{rest}");
            assert_eq!(text.matches("<b>").count(), text.matches("</b>").count());
            assert!(
                regex::Regex::new("@[^\u{2060}]")
                    .unwrap()
                    .find(text)
                    .is_none(),
                "{text}"
            );
        }
        "ntfy" => {
            assert!(
                (1..=4096).contains(&body["message"].as_str().unwrap().len())
                    && units(&body["title"]) <= 250
            );
        }
        "pagerduty" => assert!(
            (1..=1024).contains(&units(&body["payload"]["summary"])) && call.body.len() < 512_000
        ),
        "opsgenie" if body.get("message").is_some() => {
            assert!(
                (1..=130).contains(&units(&body["message"]))
                    && units(&body["description"]) <= 15_000
            );
        }
        "opsgenie" => assert!(units(&body["note"]) <= 25_000),
        "google_chat" => {
            assert!((1..=4096).contains(&units(&body["text"])) && call.body.len() <= 32_000);
            assert!(
                !body["text"]
                    .as_str()
                    .unwrap()
                    .contains(['<', '>', '*', '`'])
            );
            for widget in body["cardsV2"][0]["card"]["sections"][0]["widgets"]
                .as_array()
                .unwrap()
            {
                let text = widget["textParagraph"]["text"].as_str().unwrap_or_default();
                assert!(
                    !text
                        .replace("<b>", "")
                        .replace("</b>", "")
                        .replace("<br>", "")
                        .contains(['<', '>']),
                    "{text}"
                );
            }
        }
        "mattermost" => {
            let text = body["text"].as_str().unwrap();
            assert!(units(&body["text"]) <= 16_383);
            let outside: String = text
                .lines()
                .filter(|l| !l.starts_with("**") && !l.starts_with("<https://"))
                .collect();
            // The backslash itself is written as an entity, so that every backslash is an escape.
            let (outside, entity) = (
                outside.trim_start_matches("#### "),
                regex::Regex::new("&(amp|lt|#92|#36);").unwrap(),
            );
            let outside = entity.replace_all(outside, "");
            assert!(all_escaped(&outside, "*_~`|<>[]()#!{}+$&"), "{outside}");
            assert!(
                regex::Regex::new("[@:][^\u{2060}]")
                    .unwrap()
                    .find(&outside)
                    .is_none(),
                "{outside}"
            );
            assert!(
                !regex::Regex::new(r"\\[^*_~`|>\[\]()#!{}+]")
                    .unwrap()
                    .is_match(&outside),
                "{outside}"
            );
        }
        "pushover" => {
            assert!((1..=1024).contains(&units(&body["message"])) && units(&body["title"]) <= 250);
        }
        "matrix" => {
            assert!(call.body.len() <= 60_000, "{}", call.body.len());
            let html = body["formatted_body"].as_str().unwrap();
            let ours =
                regex::Regex::new(r#"</?strong>|</?em>|<br>|<a href="https://[^"<>]*">[^<>]*</a>"#);
            let rest = ours.unwrap().replace_all(html, "").into_owned();
            assert!(!rest.contains(['<', '>']), "{rest}");
            assert_eq!(body["m.mentions"], json!({}));
            assert_eq!(call.method, "PUT");
        }
        "signal" => assert!((1..=2000).contains(&units(&body["message"]))),
        "twilio" => assert!((1..=335).contains(&units(&body["Body"]))),
        "rocketchat" => {
            assert!((1..=5000).contains(&units(&body["text"])));
            parted(body["text"].as_str().unwrap());
        }
        "zulip" => {
            assert!((1..=10_000).contains(&units(&body["content"])));
            assert!((1..=60).contains(&units(&body["topic"])));
            parted(body["content"].as_str().unwrap());
        }
        "webex" => assert!((1..=7439).contains(&body["text"].as_str().unwrap().len())),
        "gotify" => {
            assert!(units(&body["title"]) <= 250);
            assert!(body["message"].as_str().unwrap().len() <= 8192);
        }
        "incident_io" => {
            assert!(units(&body["title"]) <= 250 && units(&body["description"]) <= 10_000);
            parted(body["description"].as_str().unwrap());
        }
        "jsm" if body.get("message").is_some() => assert!(units(&body["message"]) <= 130),
        "splunk_oncall" => assert!(
            units(&body["entity_id"]) <= 512
                && units(&body["entity_display_name"]) <= 512
                && units(&body["state_message"]) <= 20_000
        ),
        "alertmanager" => {
            for alert in body.as_array().unwrap() {
                assert!(
                    alert["startsAt"].as_str() <= alert["endsAt"].as_str(),
                    "{alert}"
                );
            }
        }
        _ => {}
    }
    // The generic body has all characters; the others must not have invisible or control
    // characters.
    if !matches!(kind, "json" | "template" | "exec") {
        let mut found = Vec::new();
        strings(&body, "", &mut found);
        for (name, text) in found {
            let acts =
                |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2028}');
            assert!(!text.contains(acts), "{kind}, {name}: {text:?}");
        }
    }
    for (_, value) in &call.headers {
        assert!(
            value.expose().chars().all(|c| matches!(c, ' '..='~')),
            "{kind}"
        );
    }
}

fn any_type() -> impl Strategy<Value = NoticeKind> {
    proptest::sample::select(NoticeKind::ALL.to_vec())
}

/// Texts that mix markup of several formats with arbitrary text.
fn outside() -> impl Strategy<Value = String> {
    let pieces = vec![
        "\r\nBcc: eve@example.com\r\n\r\n",
        "<!channel>",
        "<@U123>",
        "<https://evil.example|click>",
        "@everyone",
        "@here",
        "[click](https://evil.example)",
        "<script>alert(1)</script>",
        "\" onload=\"x",
        "</b><a href='x'>",
        "*bold* _it_ ~s~ `c`",
        "```",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{202e}",
        "\u{0}",
        "{{subject}}",
        "${HOME}",
        "<users/all>",
        "&lt;",
        "\\",
        "\u{2028}",
        "#",
        "🟥",
        "é",
        "|",
        "\n.\r\n",
        "=?utf-8?q?x?=",
        ":smile:",
        "%0d%0a",
        "' ; --",
    ];
    let piece = prop_oneof![3 => proptest::sample::select(pieces).prop_map(str::to_owned), 1 => "\\PC{0,20}"];
    (
        proptest::collection::vec(piece, 1..8),
        prop_oneof![4 => Just(1_usize), 1 => 20_usize..200],
    )
        .prop_map(|(pieces, times)| pieces.concat().repeat(times))
}

#[test]
fn google_chat_keeps_its_limit_with_wide_characters() {
    let webhooks = webhooks();
    let (kind, webhook) = webhooks.iter().find(|(k, _)| k == "google_chat").unwrap();
    for text in ["語".repeat(5000), "\"".repeat(9000), "🔥&<".repeat(4000)] {
        for notice_kind in NoticeKind::ALL {
            let notice = hostile(*notice_kind, &text);
            check_receiver(kind, &call(webhook, &notice, setting()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn foreign_text_is_inert_and_within_limits_everywhere(text in outside(), notice_kind in any_type()) {
        let notice = hostile(notice_kind, &text);
        for (kind, webhook) in webhooks() {
            check_receiver(&kind, &call(&webhook, &notice, setting()));
        }
    }

    #[test]
    fn nothing_from_outside_becomes_a_header_or_a_tag_of_a_mail(text in outside(), notice_kind in any_type()) {
        let notice = hostile(notice_kind, &text);
        // Mail connections must be dropped within a runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let config = load(CHANNELS).unwrap();
        let sender = Sender::new(&config).unwrap();
        let mail = config.channels.iter().find(|c| c.name == "mail").unwrap();
        let files = sender.preview(mail, &notice, now());
        let eml = &files.iter().find(|(extension, _)| *extension == "eml").unwrap().1;
        let (head, _) = String::from_utf8_lossy(eml).split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
        let names: Vec<_> = head.split("\r\n").filter(|l| !l.starts_with([' ', '\t'])).map(|l| l.split(':').next().unwrap().to_owned()).collect();
        let known = [
            "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Llmwatch-Incident", "MIME-Version", "Content-Type",
        ];
        prop_assert!(names.iter().all(|n| known.contains(&n.as_str())), "{:?}", names);
        prop_assert_eq!(names.iter().filter(|n| *n == "Subject").count(), 1);
        prop_assert!(head.bytes().all(|b| b.is_ascii() && (b >= b' ' || matches!(b, b'\r' | b'\n' | b'\t'))), "{}", head);
        let parsed = mail_parser::MessageParser::default().parse(eml).unwrap();
        let shown = parsed.body_text(0).unwrap().into_owned();
        prop_assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r')), "{:?}", shown);
        prop_assert_eq!(parsed.subject().unwrap().contains(['\r', '\n']), false);

        let html = render::html(&notice, setting());
        let tag = regex::Regex::new(r"<(/?[a-zA-Z!][^\s>/]*)").unwrap();
        let tags: std::collections::BTreeSet<_> = tag.captures_iter(&html).map(|c| c[1].to_ascii_lowercase()).collect();
        let ours = ["!doctype", "html", "head", "meta", "style", "title", "body", "table", "tr", "td", "th", "span", "div", "h1", "p", "b", "br", "a"];
        let foreign: Vec<_> = tags.iter().filter(|t| !ours.contains(&t.trim_start_matches('/'))).collect();
        prop_assert!(foreign.is_empty(), "{:?}", foreign);
        prop_assert!(!html.contains(" onload=\"") && !html.contains("src="));
        let Some(document) = &notice.document else { return Ok(()) };
        let page = llmwatch_core::message::document::page(&text, &document.blocks, "", &Locale::default());
        let ours = ["!doctype", "html", "head", "meta", "style", "title", "body", "table", "tr", "td", "th", "div", "h1", "p", "a"];
        let foreign: Vec<_> = tag.captures_iter(&page).map(|c| c[1].to_ascii_lowercase()).filter(|t| !ours.contains(&t.trim_start_matches('/'))).collect();
        prop_assert!(foreign.is_empty(), "{:?}", foreign);
    }
}
