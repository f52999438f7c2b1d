//! `llmwatch incidents`: the list, or one incident's story.

use super::{Exit, Globals, print, table};
use crate::message::values::Locale;
use crate::model::Incident;
use crate::store::Store;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch incidents 42")]
pub(super) struct Args {
    /// Number or id of an incident
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals.load_without_secrets()?;
    let store = Store::open_read_only(&config.store.path)?;
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
            story(incident)
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
            "lasted",
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
                i.started_at.to_string(),
                Locale::default().duration(i.duration_s),
                i.title.clone(),
            ]
        }));
        print(&table(&rows));
    }
    Ok(0)
}

fn story(i: &Incident) -> String {
    let mut text = format!("incident {}: {}\n{}\n\n", i.number, i.title, i.explanation);
    text += &format!("started   {}\nopened    {}\n", i.started_at, i.opened_at);
    match i.resolved_at {
        Some(at) => {
            text += &format!(
                "resolved  {at} after {}\n",
                Locale::default().duration(i.duration_s)
            )
        }
        None => text += "still open\n",
    }
    text += &format!("endpoints {}\n\nlast bad samples\n", i.endpoints.join(", "));
    let mut rows = vec![
        [
            "started",
            "endpoint",
            "fault",
            "HTTP",
            "request id",
            "error",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(i.evidence.samples.iter().map(|s| {
        vec![
            s.started_at.to_string(),
            s.endpoint.clone(),
            s.fault.map_or("slow", |f| f.as_str()).to_owned(),
            s.http_status.map(|h| h.to_string()).unwrap_or_default(),
            s.request_id.clone().unwrap_or_default(),
            s.error.clone().unwrap_or_default(),
        ]
    }));
    text + &table(&rows)
}
