//! From where an incident is seen, in words. Where only one location probes there is nothing to say.

use super::values::Locale;
use crate::model::{Incident, Scope, Status};

/// The most names in one sentence: all of a vendor's usual dozen, but there may be hundreds.
pub const MAX_NAMES: usize = 12;

/// What a message begins with that a daemon sends by its own verdict.
const ALONE: &str = "Alone: ";

/// `title`, with the locations if only some see it, and marked if one daemon decided it by itself.
pub fn title(incident: &Incident, title: &str) -> String {
    format!("{}{title}{}", prefix(incident), suffix(incident))
}

/// What stands in front of everything that a daemon says by its own verdict.
pub fn prefix(incident: &Incident) -> &'static str {
    if incident.alone { ALONE } else { "" }
}

/// ` from fra1 only`, or nothing.
pub fn suffix(incident: &Incident) -> String {
    let seen = seen_from(incident);
    if incident.scope != Scope::Location || seen.is_empty() {
        return String::new();
    }
    format!(" from {} only", Locale::default().list_at_most(&seen, 4))
}

/// Who sees it and who does not, in a sentence.
pub fn sentence(incident: &Incident, locale: &Locale) -> Option<String> {
    if incident.alone {
        return Some(
            "This daemon cannot reach the shared database and decided this by its own probes; what \
             the other locations see is not known."
                .to_owned(),
        );
    }
    let (seen, reached) = (seen_from(incident), &incident.reached_from);
    if seen.is_empty() || (incident.locations.len() == 1 && reached.is_empty()) {
        return None;
    }
    let from = locale.list_at_most(&seen, MAX_NAMES);
    let only = if incident.scope == Scope::Location {
        " only"
    } else {
        ""
    };
    let seen = if incident.resolved_at.is_some() {
        format!("It was seen from {from}{only}")
    } else {
        format!("It is seen from {from}{only}")
    };
    if reached.is_empty() || incident.resolved_at.is_some() {
        return Some(format!("{seen}."));
    }
    let verb = if reached.len() == 1 {
        "reaches"
    } else {
        "reach"
    };
    let others = locale.list_at_most(reached, MAX_NAMES);
    let it = if incident.endpoints.len() == 1 {
        "it"
    } else {
        "them"
    };
    Some(format!("{seen}; {others} {verb} {it}."))
}

/// The locations that see it; of one that is over, those that saw it.
fn seen_from(incident: &Incident) -> Vec<&String> {
    let is_over = incident.resolved_at.is_some();
    let seen = incident
        .locations
        .iter()
        .filter(|l| is_over || l.state != Status::Operational);
    seen.map(|l| &l.location).collect()
}
