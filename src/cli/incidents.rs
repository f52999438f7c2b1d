//! `llmwatch incidents`: lists incidents, or shows one in detail.

use super::{Exit, Globals, daemon_client, print, table};
use crate::clock;
use crate::store::{NotificationRow, Store};
use llmwatch_core::message::timeline::{Detail, timeline};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Attribution, Incident, Scope, Status, Timestamp};
use llmwatch_core::text;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch incidents 42")]
pub(super) struct IncidentsArgs {
    /// Number or id of an incident
    id: Option<String>,
    /// Only what was seen from this location
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    location: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &IncidentsArgs) -> Exit {
    let config = globals.load_without_secrets()?;
    daemon_client::flush(&config).await;
    let store = Store::open_read_only(&config.store.path)?;
    let locale = Locale::of(&config);
    let mut incidents = Vec::new();
    for row in store.incidents(false)? {
        incidents.push(serde_json::from_str::<Incident>(&row.data)?);
    }
    if let Some(location) = &args.location {
        incidents.retain(|i| i.is_seen_from(location, &config.monitor.location));
    }
    if let Some(id) = &args.id {
        let wanted = |i: &&Incident| i.number.to_string() == *id || i.id.to_string() == *id;
        let Some(incident) = incidents.iter().find(wanted) else {
            eprintln!("llmwatch: no incident `{id}`; `llmwatch incidents` lists them");
            return Ok(1);
        };
        print(&if args.json {
            serde_json::to_string_pretty(incident)?
        } else {
            story(incident, &store.notifications_of(incident.id)?, &locale)
        });
    } else if args.json {
        print(&serde_json::to_string_pretty(&incidents)?);
    } else if incidents.is_empty() {
        eprintln!("no incidents recorded");
    } else {
        let head = vec![
            locale.say("number"),
            locale.say("state"),
            locale.say("status"),
            locale.say("attribution"),
            locale.say("started"),
            locale.say("duration"),
            locale.say("title"),
        ];
        let mut rows = vec![head.into_iter().map(str::to_owned).collect()];
        rows.extend(incidents.iter().rev().map(|i| {
            vec![
                i.number.to_string(),
                if i.resolved_at.is_some() {
                    locale.say("resolved")
                } else {
                    locale.say("open incident")
                }
                .to_owned(),
                locale.status(i.status).to_owned(),
                attribution(i.attribution, &locale).to_owned(),
                locale.time(i.started_at),
                if i.resolved_at.is_some() {
                    locale.duration(i.duration_s)
                } else {
                    locale.duration_so_far(seconds_since(i.started_at))
                },
                i.title.clone(),
            ]
        }));
        print(&table(&rows));
    }
    Ok(0)
}

/// Seconds from `from` until now.
fn seconds_since(from: Timestamp) -> f64 {
    clock::now().since_ms(from).max(0) as f64 / 1000.0
}

/// Returns the attribution in one word.
fn attribution(attribution: Attribution, locale: &Locale) -> &'static str {
    locale.say(match attribution {
        Attribution::Provider => "provider",
        Attribution::Account => "account",
        Attribution::Local => "local",
    })
}

/// The width of the column of names.
const NAME: usize = 11;

fn story(i: &Incident, notified: &[NotificationRow], locale: &Locale) -> String {
    let number = i.number;
    let title = &i.title;
    let mut text = text!(locale, "incident {number}: {title}", number, title);
    text += &format!("\n{}\n\n", i.explanation);
    let mut fact = |name: &'static str, value: String| {
        text += &format!("{name:NAME$}{value}\n");
    };
    fact(locale.say("started"), locale.time(i.started_at));
    fact(locale.say("detected"), locale.time(i.opened_at));
    if let (Some(end), Some(resolved_at)) = (i.end(), i.resolved_at) {
        fact(locale.say("ended"), locale.time(end));
        if end != resolved_at {
            fact(locale.say("confirmed"), locale.time(resolved_at));
        }
        fact(locale.say("duration"), locale.duration(i.duration_s));
    } else {
        let so_far = locale.duration_so_far(seconds_since(i.started_at));
        fact(locale.say("duration"), so_far);
    }
    fact(locale.say("endpoints"), i.endpoints.join(", "));
    if !i.recovered.is_empty() {
        fact(locale.say("recovered"), i.recovered.join(", "));
    }
    if i.locations.len() > 1 || i.scope == Scope::Location {
        let seen = i.locations.iter().map(|l| {
            let name = &l.location;
            let since = locale.time(l.since);
            match l.state {
                Status::Operational => {
                    text!(locale, "{name} since {since}, recovered", name, since)
                }
                state => {
                    let state = locale.status(state);
                    text!(locale, "{name} since {since}, {state}", name, since, state)
                }
            }
        });
        fact(locale.say("locations"), seen.collect::<Vec<_>>().join("; "));
        if !i.reached_from.is_empty() {
            fact(locale.say("works from"), i.reached_from.join(", "));
        }
    }
    text += &format!(
        "\n{}\n{}\n",
        locale.say("timeline"),
        history(i, notified, locale)
    );
    if i.evidence.samples.is_empty() {
        return text.trim_end().to_owned();
    }
    text += &format!("\n{}\n", locale.say("last failed probes"));
    let mut rows = vec![vec![
        locale.say("time").to_owned(),
        locale.say("endpoint").to_owned(),
        locale.say("result").to_owned(),
        "HTTP".to_owned(),
        locale.say("request ID").to_owned(),
        locale.say("error").to_owned(),
    ]];
    rows.extend(i.evidence.samples.iter().map(|s| {
        vec![
            locale.time(s.started_at),
            s.endpoint.to_string(),
            s.fault
                .map_or(locale.say("slow"), |f| f.as_str())
                .to_owned(),
            s.http_status.map(|h| h.to_string()).unwrap_or_default(),
            s.request_id.clone().unwrap_or_default(),
            s.error.clone().unwrap_or_default(),
        ]
    }));
    text + &table(&rows)
}

/// Formats the timeline, one entry a line.
fn history(i: &Incident, notified: &[NotificationRow], locale: &Locale) -> String {
    let deliveries = notified.iter().map(|one| one.moment(None, true, locale));
    let moments = timeline(i, deliveries.collect(), Detail::Full, locale);
    let rows: Vec<_> = moments
        .into_iter()
        .map(|m| {
            let what = match m.detail.as_str() {
                "" => m.what,
                detail => format!("{}: {detail}", m.what),
            };
            vec![locale.time(m.at), what]
        })
        .collect();
    table(&rows)
}
