//! The overall state in one line, for `status` and the service manager.

use std::collections::BTreeSet;

use super::incident::vendor;
use super::severity::Severity;
use super::values::Locale;
use crate::model::Timestamp;
use crate::model::snapshot::{AlertState, AlertView, EndpointView, Snapshot};
use crate::text;

/// The maximum number of endpoints to name.
const NAMED: usize = 3;

/// Returns one line: `12 endpoints, 1 outage: OpenAI; last probe 3 s ago`.
pub fn headline(snapshot: &Snapshot, now: Timestamp, locale: &Locale) -> String {
    let n = snapshot.endpoints.len() as u64;
    let mut line = locale.count(n, locale.say("endpoint"), locale.say("endpoints"));
    if snapshot.endpoints.is_empty() {
        locale
            .say("no endpoint is configured")
            .clone_into(&mut line);
    } else if let Some(since) = snapshot.offline_since {
        let since = locale.time(since);
        line += &text!(locale, ", offline since {since}", since);
    } else if snapshot.incidents.is_empty() {
        line += locale.say(", no incident");
    } else {
        for severity in [
            Severity::Outage,
            Severity::Degraded,
            Severity::Account,
            Severity::Local,
        ] {
            let of_it = snapshot
                .incidents
                .iter()
                .filter(|i| Severity::of(i) == severity);
            let providers: Vec<_> = of_it.map(vendor).collect();
            if providers.is_empty() {
                continue;
            }
            let n = providers.len() as u64;
            let one = locale.say(severity.noun());
            let many = locale.say(severity.plural());
            line += &format!(", {}", locale.count(n, one, many));
            // Local faults are not attributed to a vendor, so none is named.
            if severity != Severity::Local {
                let distinct: BTreeSet<_> = providers.into_iter().collect();
                let distinct: Vec<_> = distinct.into_iter().collect();
                line += &format!(": {}", distinct.join(", "));
            }
        }
    }
    line += &checking(snapshot, locale);
    if let Some(error) = &snapshot.store_error {
        line += &text!(locale, ", NOT RECORDING ({error})", error);
    }
    match snapshot
        .endpoints
        .iter()
        .filter_map(|e| e.last_probe_at)
        .max()
    {
        Some(last) => {
            let ago = now.since_ms(last).max(0) as f64 / 1000.0;
            let ago = locale.duration(ago.floor());
            line + &text!(locale, "; last probe {ago} ago", ago)
        }
        None => line + locale.say("; no probe yet"),
    }
}

/// Returns `, checking azure-chat`: the endpoints whose alert is pending.
fn checking(snapshot: &Snapshot, locale: &Locale) -> String {
    let names: Vec<_> = snapshot
        .endpoints
        .iter()
        .filter(|e| e.alert.state == AlertState::Pending)
        .map(|e| &e.name)
        .collect();
    if names.is_empty() {
        return String::new();
    }
    let names = locale.list_at_most(&names, NAMED);
    text!(locale, ", checking {names}", names)
}

/// Returns that an endpoint is being checked, and why: `checking: 4 of the last 4 probes failed`.
pub fn pending_reason(endpoint: &EndpointView, locale: &Locale) -> Option<String> {
    let counts = pending(endpoint, locale)?;
    Some(text!(locale, "checking: {counts}", counts))
}

/// Returns the evidence for a pending alert: `4 of the last 4 probes failed`.
pub fn pending(endpoint: &EndpointView, locale: &Locale) -> Option<String> {
    let AlertView {
        state,
        failed,
        probes,
        is_slow,
        ..
    } = endpoint.alert;
    (state == AlertState::Pending).then(|| {
        let failed = locale.number(failed);
        let all = locale.number(probes);
        if is_slow {
            text!(
                locale,
                probes => "{failed} of the last {all} probe was slow",
                "{failed} of the last {all} probes were slow";
                failed, all
            )
        } else {
            text!(
                locale,
                probes => "{failed} of the last {all} probe failed",
                "{failed} of the last {all} probes failed";
                failed, all
            )
        }
    })
}
