//! Converts the tables that configure the daemon to settings: `[monitor]`, `[log]`, `[store]` and
//! the others that have no file of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use croner::parser::CronParser;
use url::Url;

use super::diagnostic::echo;
use super::endpoint::{self, CheckedEndpoint};
use super::raw::{Section, Table, UNKNOWN_URL, Value, reference};
use super::{
    Agree, Budget, Channel, ChannelKind, ConnectivityCheck, Drill, Heartbeat, Log, LogFormat,
    Maintenance, Monitor, Otlp, PostgresUrl, ProcessSettings, Proxy, Public, Quorum, ReportEvery,
    ReportSettings, RouteSettings, StoreSettings, Web, Window, proxy, roots, state_dir,
    units::minute_of_day,
};
use llmwatch_core::model::{ChannelName, Language, Provider, Secret};

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

pub(super) fn read_monitor(root: &Table<'_>) -> (Monitor, ProcessSettings) {
    let sink = root.sink();
    let vars = &sink.surroundings.vars;
    let table = root.section("monitor");
    let location = table
        .get("location")
        .and_then(|v| endpoint::checked_name(&v));
    let state_dir = state_dir::read(table.get("state_dir"), sink);
    let listen = table.get("listen").map_or_else(
        || "127.0.0.1:8686".parse().ok(),
        |v| match v.string()?.as_str() {
            "off" => None,
            _ => v.parse(
                "address",
                "write `\"127.0.0.1:8686\"`, an IP address and a port, or `\"off\"`",
            ),
        },
    );
    let public_url = table.get("public_url").and_then(|v| {
        let url: Url = v.parse(
            "URL",
            "write it with its scheme: `https://status.example.com`",
        )?;
        Some(url.as_str().trim_end_matches('/').to_owned())
    });
    let proxy = table
        .get("proxy")
        .map_or(Some(Proxy::None), |v| proxy::read(&v, vars));
    let monitor = Monitor {
        location: location.unwrap_or_else(|| sink.surroundings.hostname.clone()),
        public_url,
        timezone: table
            .get("timezone")
            .and_then(|v| {
                v.parse::<Tz>(
                    "time zone",
                    "write its name in the tz database: `Europe/Berlin`",
                )
            })
            .unwrap_or(Tz::UTC),
        language: table
            .get("language")
            .and_then(|v| v.one_of(&[("en", Language::English), ("es", Language::Spanish)]))
            .unwrap_or_default(),
        proxy: proxy.unwrap_or(Proxy::None),
        probe: table.get("probe").and_then(|v| v.boolean()).unwrap_or(true),
    };
    let process = ProcessSettings {
        state_dir,
        listen,
        max_concurrent_probes: table
            .get("max_concurrent_probes")
            .and_then(|v| v.integer(1..=10_000))
            .unwrap_or(64) as usize,
        ca_file: table.get("ca_file").and_then(|v| roots::check(&v)),
    };
    table.finish();
    (monitor, process)
}

pub(super) fn read_log(root: &Table<'_>) -> Log {
    let table = root.section("log");
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
        format: table
            .get("format")
            .and_then(|v| v.one_of(&formats))
            .unwrap_or(LogFormat::Auto),
        level: table
            .get("level")
            .and_then(|v| v.one_of(&levels))
            .unwrap_or(tracing::Level::INFO),
        all_samples: table
            .get("samples")
            .and_then(|v| v.one_of(&[("all", true), ("failures", false)]))
            .unwrap_or(true),
    };
    table.finish();
    log
}

pub(super) fn read_store(root: &Table<'_>, state_dir: &Path) -> StoreSettings {
    let table = root.section("store");
    let (path, shared) = match table.table().map(read_store_url) {
        Some(Some(StoreUrl::Sqlite(file))) => (Some(state_dir.join(file)), None),
        Some(Some(StoreUrl::Postgres(url))) => (None, Some(Arc::new(url))),
        _ => (None, None),
    };
    let mut places = ["url", "url_file", "url_credential"]
        .into_iter()
        .filter_map(|key| table.get(key));
    let store = StoreSettings {
        is_url_unknown: places.any(|place| place.is_granted()) && path.is_none(),
        path: path.unwrap_or_else(|| state_dir.join("llmwatch.db")),
        shared,
        keep_samples: retention(&table, "keep_samples", 30),
        keep_rollups: retention(&table, "keep_rollups", 400),
        keep_incidents: table.get("keep_incidents").and_then(|v| {
            if v.is_str() && v.string().as_deref() == Some("forever") {
                None
            } else {
                v.duration_of_at_least(DAY)
            }
        }),
    };
    table.finish();
    store
}

/// Returns how long rows are kept.
fn retention(table: &Section<'_>, key: &'static str, default_days: u32) -> Duration {
    table
        .get(key)
        .and_then(|v| v.duration_of_at_least(DAY))
        .unwrap_or(DAY * default_days)
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

pub(super) fn read_quorum(root: &Table<'_>) -> Quorum {
    let table = root.section("quorum");
    let usual = Quorum::default();
    let agree = table.get("agree").and_then(|v| {
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
        stale_after: table
            .get("stale_after")
            .and_then(|v| v.duration_of_at_least(Duration::from_secs(1))),
        alone_after: table
            .get("alone_after")
            .and_then(|v| v.duration_of_at_least(Duration::from_secs(1)))
            .unwrap_or(usual.alone_after),
    };
    table.finish();
    quorum
}

pub(super) fn read_budget(root: &Table<'_>) -> Budget {
    let table = root.section("budget");
    let budget = Budget {
        daily_usd: table
            .get("daily_usd")
            .and_then(|v| v.number(0.0, 1e6))
            .unwrap_or(1.0),
        daily_tokens: table
            .get("daily_tokens")
            .and_then(|v| v.integer(1..=1_000_000_000_000)),
        shared: table
            .get("shared")
            .and_then(|v| v.boolean())
            .unwrap_or(false),
    };
    table.finish();
    budget
}

pub(super) fn read_connectivity_checks(
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
    name.len() <= 253
        && name.trim_end_matches('.').split('.').all(is_label)
        && name.parse::<std::net::IpAddr>().is_err()
}

/// Reports whether a part of a host name between two dots is valid.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

pub(super) fn read_maintenance(table: &Table<'_>) -> Option<Maintenance> {
    let name = table
        .get("name")
        .and_then(|v| v.string())
        .unwrap_or_else(|| "maintenance".to_owned());
    let start = table.get("start");
    let end = table.get("end");
    let every = table.get("every");
    let length = table.get("for");
    let providers: Vec<_> = Provider::ALL.iter().map(|p| (p.as_str(), *p)).collect();
    let endpoints = table
        .get("endpoints")
        .and_then(|v| v.names())
        .unwrap_or_default();
    let providers = table
        .items("providers")
        .iter()
        .filter_map(|v| v.one_of(&providers))
        .collect();
    let groups = table
        .get("groups")
        .and_then(|v| v.strings())
        .unwrap_or_default();
    table.finish();
    let window = match (start, end, every, length) {
        (Some(start), Some(end), None, None) => {
            let from = start.moment()?;
            let to = end.moment()?;
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
            table.error("missing time of a `[[maintenance]]`", help);
            return None;
        }
    };
    Some(Maintenance {
        name,
        window,
        endpoints,
        providers,
        groups,
    })
}

pub(super) fn read_heartbeat(root: &Table<'_>) -> Option<Heartbeat> {
    let table = root.table("heartbeat")?;
    let url = table.secret("url", "url_file", "url_credential");
    let fail_url = table.secret("fail_url", "fail_url_file", "fail_url_credential");
    let interval = table
        .get("interval")
        .and_then(|v| v.duration_of_at_least(Duration::from_secs(1)));
    table.finish();
    if url.is_none() {
        let help = "add the address that your dead-man's switch gave you";
        table.error("missing key `url` in `[heartbeat]`", help);
    }
    Some(Heartbeat {
        url: url?,
        interval: interval.unwrap_or(Duration::from_mins(1)),
        fail_url,
    })
}

pub(super) fn read_report(
    root: &Table<'_>,
    channels: &[(Table<'_>, Channel)],
) -> Option<ReportSettings> {
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
    let known: Vec<_> = channels.iter().map(|(_, c)| c.name.as_str()).collect();
    let is_addressed = !table.items("to").is_empty();
    let to = channel_names(&table, "to", &known);
    table.finish();
    let is_wanted = |channel: &Channel| channel.filters.on.iter().any(|on| on == "report");
    if every.is_some() && !is_addressed && !channels.iter().any(|(_, c)| is_wanted(c)) {
        let name = known.first().unwrap_or(&"…");
        let help = format!(
            "add `to = [\"{name}\"]` here or `\"report\"` to the `on` of a channel, or set `every = \"off\"`"
        );
        table.error("`[report]` has no recipients", help);
    }
    Some(ReportSettings {
        every: every?,
        at: at?,
        to,
    })
}

pub(super) fn read_drill(root: &Table<'_>, channels: &[(Table<'_>, Channel)]) -> Drill {
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
    let channels = channel_names(&table, "channels", &known);
    let escalate_to = channel_names(&table, "escalate_to", &known);
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

/// Reads a list of names of channels; an unknown one is an error.
fn channel_names(table: &Table<'_>, key: &'static str, known: &[&str]) -> Vec<ChannelName> {
    table
        .items(key)
        .iter()
        .filter_map(|v| reference(v, "channel", known))
        .map(ChannelName::from)
        .collect()
}

pub(super) fn read_otlp(root: &Table<'_>) -> Option<Otlp> {
    let table = root.table("otlp")?;
    let endpoint = table.get("endpoint");
    if endpoint.is_none() {
        let help = "add the collector's address: `endpoint = \"http://127.0.0.1:4318\"`";
        table.error("missing key `endpoint` in `[otlp]`", help);
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

pub(super) fn read_web(root: &Table<'_>, channels: &[(Table<'_>, Channel)]) -> Web {
    let Some(table) = root.table("web") else {
        return Web::default();
    };
    let trusted_hosts = table.get("trusted_hosts").and_then(|v| v.strings());
    let web = Web {
        token: read_web_token(&table),
        title: table.get("title").and_then(|v| v.string()),
        trusted_hosts: trusted_hosts.unwrap_or_default(),
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

pub(super) fn read_route(root: &Table<'_>) -> RouteSettings {
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
