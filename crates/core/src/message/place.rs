//! Describes the locations that see an incident. With a single location there is nothing to say.

use super::values::Locale;
use crate::model::{Incident, Scope, Status};
use crate::text;

/// The maximum number of names in one sentence. Most vendors have about a dozen, but there may be
/// hundreds.
pub const MAX_NAMES: usize = 12;

/// The prefix of messages that a daemon sends on its own verdict, without the other locations.
const ALONE: &str = "Alone: ";

/// Returns `title` with that prefix if applicable, and with the locations if only some see the
/// incident.
pub fn title(incident: &Incident, title: &str, locale: &Locale) -> String {
    format!("{}{title}{}", prefix(incident), suffix(incident, locale))
}

/// Returns the prefix for an incident that one daemon decided alone; otherwise empty.
pub fn prefix(incident: &Incident) -> &'static str {
    if incident.alone { ALONE } else { "" }
}

/// Returns ` from fra1 only`, or an empty string.
pub fn suffix(incident: &Incident, locale: &Locale) -> String {
    let seen = seen_from(incident);
    if incident.scope != Scope::Location || seen.is_empty() {
        return String::new();
    }
    let seen = locale.list_at_most(&seen, 4);
    text!(locale, " from {seen} only", seen)
}

/// Returns a sentence on which locations see the incident and which do not.
pub fn sentence(incident: &Incident, locale: &Locale) -> Option<String> {
    if incident.alone {
        let text = "This daemon cannot reach the shared database and decided this by its own probes; what \
                    the other locations see is not known.";
        return Some(locale.say(text).to_owned());
    }
    let seen = seen_from(incident);
    let reached = &incident.reached_from;
    if seen.is_empty() || (incident.locations.len() == 1 && reached.is_empty()) {
        return None;
    }
    let from = locale.list_at_most(&seen, MAX_NAMES);
    let is_over = incident.resolved_at.is_some();
    let seen = match (is_over, incident.scope == Scope::Location) {
        (true, true) => text!(locale, "It was seen from {from} only", from),
        (true, false) => text!(locale, "It was seen from {from}", from),
        (false, true) => text!(locale, "It is seen from {from} only", from),
        (false, false) => text!(locale, "It is seen from {from}", from),
    };
    if reached.is_empty() || is_over {
        return Some(format!("{seen}."));
    }
    let n = reached.len();
    let others = locale.list_at_most(reached, MAX_NAMES);
    Some(if incident.endpoints.len() == 1 {
        text!(locale, n => "{seen}; {others} reaches it.", "{seen}; {others} reach it."; seen, others)
    } else {
        text!(locale, n => "{seen}; {others} reaches them.", "{seen}; {others} reach them."; seen, others)
    })
}

/// Returns the locations that see the incident, or saw it if it is resolved.
fn seen_from(incident: &Incident) -> Vec<&String> {
    let is_over = incident.resolved_at.is_some();
    let seen = incident
        .locations
        .iter()
        .filter(|l| is_over || l.state != Status::Operational);
    seen.map(|l| &l.location).collect()
}
