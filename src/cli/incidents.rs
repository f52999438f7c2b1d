//! `llmwatch incidents`: the list, or one incident's story.

use super::{Exit, Globals, daemon_client, print, table};
use crate::clock;
use crate::store::Store;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Incident, Timestamp};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch incidents 42")]
pub(super) struct Args {
    /// Number or id of an incident
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals.load_without_secrets()?;
    daemon_client::flush(&config).await;
    let store = Store::open_read_only(&config.store.path)?;
    let locale = Locale::of(&config);
    let mut incidents = Vec::new();
    for row in store.incidents(false)? {
        incidents.push(serde_json::from_str::<Incident>(&row.data)?);
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
            story(incident, &locale)
        });
    } else if args.json {
        print(&serde_json::to_string_pretty(&incidents)?);
    } else if incidents.is_empty() {
        eprintln!("no incidents recorded");
    } else {
        let head = [
            "number",
            "state",
            "status",
            "attribution",
            "started",
            "duration",
            "title",
        ]
        .map(str::to_owned);
        let mut rows = vec![head.to_vec()];
        rows.extend(incidents.iter().rev().map(|i| {
            vec![
                i.number.to_string(),
                if i.resolved_at.is_some() {
                    "resolved"
                } else {
                    "open"
                }
                .to_owned(),
                i.status.as_str().to_owned(),
                i.attribution.to_string(),
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

fn story(i: &Incident, locale: &Locale) -> String {
    let mut text = format!("incident {}: {}\n{}\n\n", i.number, i.title, i.explanation);
    text += &format!(
        "started    {}\ndetected   {}\n",
        locale.time(i.started_at),
        locale.time(i.opened_at)
    );
    if let (Some(end), Some(resolved_at)) = (i.end(), i.resolved_at) {
        text += &format!("ended      {}\n", locale.time(end));
        if end != resolved_at {
            text += &format!("confirmed  {}\n", locale.time(resolved_at));
        }
        text += &format!("duration   {}\n", locale.duration(i.duration_s));
    } else {
        let so_far = locale.duration_so_far(seconds_since(i.started_at));
        text += &format!("duration   {so_far}\n");
    }
    text += &format!("endpoints  {}\n", i.endpoints.join(", "));
    if !i.recovered.is_empty() {
        text += &format!("recovered  {}\n", i.recovered.join(", "));
    }
    if i.evidence.samples.is_empty() {
        return text;
    }
    text += "\nlast failed probes\n";
    let mut rows = vec![
        ["time", "endpoint", "result", "HTTP", "request ID", "error"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(i.evidence.samples.iter().map(|s| {
        vec![
            locale.time(s.started_at),
            s.endpoint.clone(),
            s.fault.map_or("slow", |f| f.as_str()).to_owned(),
            s.http_status.map(|h| h.to_string()).unwrap_or_default(),
            s.request_id.clone().unwrap_or_default(),
            s.error.clone().unwrap_or_default(),
        ]
    }));
    text + &table(&rows)
}
