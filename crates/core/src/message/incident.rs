//! The texts of an incident: title, summary, attribution and its reason.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{local_cause, remedy};
use super::place;
use super::place::MAX_NAMES;
use super::values::Locale;
use crate::model::{
    Attribution, Cause, Confirmation, Elsewhere, EndpointName, Extent, Fault, Incident,
    IncidentFacts, IncidentState, Measure, Only, Reattribution, Status, Timestamp, TypicalAndNow,
};
use crate::text;

/// The maximum number of faults in one sentence.
const MAX_FAULTS: usize = 3;
/// A value is shown with its ratio to the typical value from this ratio on.
const NOTABLE_RATIO: f64 = 1.5;

/// Writes the texts of `incident` in the reader's language. Incidents stored by release 0.1 have no
/// facts and keep their texts.
pub fn narrate(incident: &mut Incident, locale: &Locale) {
    if incident.removed {
        let names = names(incident, locale);
        incident.title = format!(
            "{}: {names} removed from the configuration",
            vendor(incident)
        );
        incident.explanation = removed(incident, locale);
        return;
    }
    let Some(facts) = incident.facts.clone() else {
        return;
    };
    let narrator = Narrator {
        incident,
        facts: &facts,
        locale,
    };
    let title = narrator.title();
    let explanation = narrator.explanation();
    let reason = narrator.reason();
    incident.title = place::title(incident, &title, locale);
    incident.explanation = match place::sentence(incident, locale) {
        Some(sentence) => format!("{explanation} {sentence}"),
        None => explanation,
    };
    incident.attribution_reason = reason;
}

/// Returns the one-line title of `incident`.
pub fn title(incident: &Incident, locale: &Locale) -> String {
    let mut incident = incident.clone();
    narrate(&mut incident, locale);
    incident.title
}

/// The maximum number of names in a public title.
const MAX_PUBLIC_NAMES: usize = 3;

/// Returns the public title of `incident`: "openai-chat is failing" or "openai-chat is slow", and
/// "was" once it is resolved. If the provider is not at fault, it is "checks of openai-chat are
/// failing".
pub fn public_title(incident: &Incident, locale: &Locale) -> String {
    let names = locale.list_at_most(&incident.endpoints, MAX_PUBLIC_NAMES);
    let count = incident.endpoints.len();
    let is_over = incident.state == IncidentState::Resolved;
    match incident.attribution {
        Attribution::Provider if incident.cause.is_slow() && is_over => {
            text!(locale, count => "{names} was slow", "{names} were slow"; names)
        }
        Attribution::Provider if incident.cause.is_slow() => {
            text!(locale, count => "{names} is slow", "{names} are slow"; names)
        }
        Attribution::Provider if is_over => {
            text!(locale, count => "{names} was failing", "{names} were failing"; names)
        }
        Attribution::Provider => {
            text!(locale, count => "{names} is failing", "{names} are failing"; names)
        }
        Attribution::Account | Attribution::Local if is_over => {
            text!(locale, "checks of {names} were failing", names)
        }
        Attribution::Account | Attribution::Local => {
            text!(locale, "checks of {names} are failing", names)
        }
    }
}

/// Returns who is at fault and what that means for the reader.
pub fn attribution(incident: &Incident, locale: &Locale) -> &'static str {
    locale.say(match incident.attribution {
        Attribution::Provider if incident.is_suspected() => "Probably the provider.",
        Attribution::Provider => "The provider.",
        Attribution::Account => {
            "Your account or configuration: the provider answers, but rejects this key, quota, model \
             or request. This does not count as provider downtime."
        }
        Attribution::Local => {
            "This machine: its network, resolver, clock or resources. This does not count as \
             provider downtime."
        }
    })
}

/// Returns what is affected, what is not, and what to do. It complements the attribution and its
/// reason.
pub fn context(incident: &Incident, locale: &Locale) -> String {
    if incident.removed || incident.merged_into().is_some() {
        return String::new();
    }
    let Some(facts) = &incident.facts else {
        return String::new();
    };
    let narrator = Narrator {
        incident,
        facts,
        locale,
    };
    narrator.context()
}

/// Returns when and why the attribution was revised, if it was.
pub fn revision(incident: &Incident, locale: &Locale) -> Option<(Timestamp, String)> {
    let facts = incident.facts.as_ref()?;
    let revised = facts.reattribution.as_ref()?;
    let narrator = Narrator {
        incident,
        facts,
        locale,
    };
    let why = narrator.reattribution(revised);
    let why = text!(locale, "No longer attributed to the provider: {why}.", why);
    Some((revised.at, why))
}

/// Returns what is broken and since when, or what happened if the incident is resolved.
pub fn summary(incident: &Incident, locale: &Locale) -> String {
    if incident.removed {
        return removed(incident, locale);
    }
    let names = names(incident, locale);
    let count = incident.endpoints.len();
    let since = locale.time(incident.started_at);
    let cause = cause(incident, locale);
    if let Some(number) = incident.merged_into() {
        return text!(
            locale,
            count => "{names} has become part of incident {number}.",
            "{names} have become part of incident {number}.";
            names, number
        );
    }
    let facts = incident.facts.as_ref();
    if incident.attribution == Attribution::Local
        && facts.is_some_and(|facts| facts.reattribution.is_some())
    {
        return text!(
            locale,
            count => "{names} has failed since {since} because of this machine, not the provider: unrelated providers failed in the same way. This does not count against the provider.",
            "{names} have failed since {since} because of this machine, not the provider: unrelated providers failed in the same way. This does not count against the provider.";
            names, since
        );
    }
    if incident.is_new_normal() {
        let resolved_at = locale.time(incident.resolved_at.unwrap_or(incident.started_at));
        return text!(
            locale,
            count => "{names} has been slow since {since} and did not become faster. Since {resolved_at} this counts as the new baseline.",
            "{names} have been slow since {since} and did not become faster. Since {resolved_at} this counts as the new baseline.";
            names, since, resolved_at
        );
    }
    match (incident.end(), incident.attribution) {
        (Some(end), _) => {
            let recovered = recovered(incident, locale);
            let end_time = locale.time(end);
            let mut text = text!(locale, "{recovered} at {end_time}", recovered, end_time);
            if let Some(at) = incident.resolved_at.filter(|at| *at != end) {
                let at = locale.clock_time(at);
                text += &text!(locale, " (confirmed at {at})", at);
            }
            let lasted = locale.duration(incident.duration_s);
            text += &text!(
                locale,
                ". It lasted {lasted}, from {since}: {cause}.",
                lasted,
                since,
                cause
            );
            if let Some(slow) = still_slow(incident, locale) {
                text += &text!(locale, " {slow}, which counts as the new baseline.", slow);
            }
            text
        }
        (None, Attribution::Account) => {
            text!(
                locale,
                "The provider has been rejecting {names} since {since}: {cause}.",
                names,
                since,
                cause
            )
        }
        (None, Attribution::Local) => {
            text!(
                locale,
                count => "{names} has been unreachable from this machine since {since}: {cause}.",
                "{names} have been unreachable from this machine since {since}: {cause}.";
                names, since, cause
            )
        }
        (None, Attribution::Provider) => {
            let manner = manner(incident, locale);
            text!(
                locale,
                count => "{names} has been {manner} since {since}: {cause}.",
                "{names} have been {manner} since {since}: {cause}.";
                names, manner, since, cause
            )
        }
    }
}

/// Returns one line about a resolved incident: `openai-chat recovered after 11 min (was:
/// http.5xx)`.
pub fn outcome(incident: &Incident, locale: &Locale) -> String {
    let vendor = format!("{}{}", place::prefix(incident), vendor(incident));
    let names = names(incident, locale);
    let lasted = locale.duration(incident.duration_s);
    if incident.removed {
        return text!(
            locale,
            "{vendor}: {names} removed from the configuration",
            vendor,
            names
        );
    }
    if incident.is_new_normal() {
        return text!(
            locale,
            "{vendor}: {names} still slow after {lasted}; this is the new baseline",
            vendor,
            names,
            lasted
        );
    }
    if let Some(number) = incident.merged_into() {
        return text!(
            locale,
            "{vendor}: {names} now part of incident {number}",
            vendor,
            names,
            number
        );
    }
    let still = still_slow(incident, locale).map_or(String::new(), |slow| format!("; {slow}"));
    let recovered = recovered(incident, locale);
    let cause = incident.cause;
    text!(
        locale,
        "{vendor}: {recovered} after {lasted} (was: {cause}){still}",
        vendor,
        recovered,
        lasted,
        cause,
        still
    )
}

/// Returns what has changed since `before`: `a1 and a2 recovered; b1 and b2 still fail:
/// account.auth`.
pub fn changes(
    before: &Extent,
    incident: &Incident,
    otherwise: &BTreeMap<EndpointName, Fault>,
    locale: &Locale,
) -> String {
    let (old, new): (Vec<_>, Vec<_>) = incident
        .endpoints
        .iter()
        .partition(|name| before.endpoints.contains(name));
    let gone = before.endpoints.iter();
    let (otherwise_now, recovered): (Vec<_>, Vec<_>) = gone
        .filter(|name| !incident.endpoints.contains(name))
        .partition(|name| otherwise.contains_key(*name));
    let slow = incident.cause.is_slow();
    let cause = incident.cause;
    let mut clauses = Vec::new();
    if !recovered.is_empty() {
        let names = locale.list_at_most(&recovered, MAX_NAMES);
        clauses.push(
            text!(locale, recovered.len() => "{names} recovered", "{names} recovered "; names)
                .trim_end()
                .to_owned(),
        );
    }
    if !otherwise_now.is_empty() {
        clauses.push(fails_otherwise(otherwise, locale));
    }
    if !new.is_empty() {
        let names = locale.list_at_most(&new, MAX_NAMES);
        let n = new.len();
        clauses.push(if slow {
            text!(locale, n => "{names} is slow as well", "{names} are slow as well"; names)
        } else {
            text!(locale, n => "{names} fails as well", "{names} fail as well"; names)
        });
    }
    let moved = !recovered.is_empty() || !otherwise_now.is_empty() || !new.is_empty();
    if moved && !old.is_empty() {
        let names = locale.list_at_most(&old, MAX_NAMES);
        let n = old.len();
        clauses.push(if slow {
            text!(locale, n => "{names} is still slow: {cause}", "{names} are still slow: {cause}"; names, cause)
        } else {
            text!(locale, n => "{names} still fails: {cause}", "{names} still fail: {cause}"; names, cause)
        });
    }
    if cause != before.cause {
        let was = before.cause;
        clauses.push(text!(
            locale,
            "the cause is now {cause}, it was {was}",
            cause,
            was
        ));
    }
    if incident.attribution != before.attribution {
        clauses.push(match incident.attribution {
            Attribution::Provider => locale
                .say("it is now attributed to the provider")
                .to_owned(),
            Attribution::Account => locale
                .say("it is now attributed to your account")
                .to_owned(),
            Attribution::Local => locale
                .say("it is now attributed to this machine")
                .to_owned(),
        });
    }
    if incident.status != before.status {
        let now = incident.status.as_str();
        let was = before.status.as_str();
        clauses.push(text!(locale, "it is now {now}, it was {was}", now, was));
    }
    let dependents = incident.explains.iter();
    let dependents: Vec<_> = dependents
        .filter(|name| !before.explains.contains(name))
        .collect();
    if !dependents.is_empty() {
        let names = locale.list_at_most(&dependents, MAX_NAMES);
        clauses.push(text!(
            locale,
            dependents.len() => "{names} fails because of it", "{names} fail because of it"; names
        ));
    }
    if let Some(title) = incident.official.incident.as_ref()
        && before.published.as_ref() != Some(title)
    {
        let title = super::values::clean(title);
        clauses.push(text!(locale, "the provider published \"{title}\"", title));
    }
    if let Some(note) = incident.notes.get(before.notes..).and_then(<[_]>::last) {
        let note = super::values::clean(&note.text);
        clauses.push(text!(locale, "note: {note}", note));
    }
    clauses.join("; ")
}

/// Returns how an endpoint fails: `slow`, `failing intermittently`, `failing`.
pub fn manner(incident: &Incident, locale: &Locale) -> &'static str {
    let text = locale.say(match (incident.cause, incident.status) {
        (Cause::Slow, _) if incident.endpoints.len() > 1 => "slow ",
        (Cause::Slow, _) => "slow",
        (_, Status::Degraded) => "failing intermittently",
        _ => "failing",
    });
    text.trim_end()
}

/// Returns the cause with its code: `server error (http.5xx)`.
pub fn cause(incident: &Incident, locale: &Locale) -> String {
    match incident.cause {
        Cause::Slow => locale
            .say(slow_cause(incident.measure, incident.resolved_at.is_some()))
            .to_owned(),
        Cause::Failed => locale.say("probes failed").to_owned(),
        Cause::Fault(fault) => format!("{} ({fault})", locale.say(fault.describe())),
    }
}

fn slow_cause(measure: Measure, over: bool) -> &'static str {
    match (measure, over) {
        (Measure::TokensPerSecond, false) => "tokens arrive much more slowly than usual",
        (Measure::TokensPerSecond, true) => "tokens arrived much more slowly than usual",
        (Measure::Total, false) => "answers take much longer than usual to complete",
        (Measure::Total, true) => "answers took much longer than usual to complete",
        (_, false) => "the first token takes much longer than usual",
        (_, true) => "the first token took much longer than usual",
    }
}

/// Returns the latency figures to show. For a slow incident, the one that triggered it comes first.
pub fn measures(incident: &Incident, locale: &Locale) -> Vec<(&'static str, String)> {
    let evidence = &incident.evidence;
    let first = (Measure::FirstToken, evidence.first_token_ms);
    let total = (Measure::Total, evidence.total_ms);
    let rate = (Measure::TokensPerSecond, evidence.tokens_per_second);
    let shown = match incident.measure {
        Measure::Errors | Measure::FirstToken => vec![first],
        Measure::Total => vec![total, first],
        Measure::TokensPerSecond => vec![rate, total],
    };
    shown
        .into_iter()
        .filter_map(|(measure, values)| {
            Some((
                locale.say(label(measure)),
                compared(measure, values, locale)?,
            ))
        })
        .collect()
}

fn label(measure: Measure) -> &'static str {
    match measure {
        Measure::Errors => "probes",
        Measure::FirstToken => "first token",
        Measure::Total => "total time",
        Measure::TokensPerSecond => "output rate",
    }
}

/// Formats `typically 420 ms, now 2.73 s (6.5×)`; omits the typical value if there is no baseline.
fn compared(measure: Measure, values: TypicalAndNow, locale: &Locale) -> Option<String> {
    Some(match (values.typical, values.now) {
        (None, None) => return None,
        (None, Some(now)) => {
            let now = measured(measure, now, locale);
            text!(locale, "now {now} (usual value not learned yet)", now)
        }
        (Some(typical), None) => {
            let typical = measured(measure, typical, locale);
            text!(locale, "typically {typical}, now no response", typical)
        }
        (Some(typical), Some(now)) => {
            let ratio = values.ratio().unwrap_or(1.0);
            let factor = if ratio >= NOTABLE_RATIO {
                format!(" ({}×)", locale.decimal(ratio, 1))
            } else {
                String::new()
            };
            let typical = measured(measure, typical, locale);
            let now = measured(measure, now, locale);
            text!(
                locale,
                "typically {typical}, now {now}{factor}",
                typical,
                now,
                factor
            )
        }
    })
}

fn measured(measure: Measure, value: f64, locale: &Locale) -> String {
    match measure {
        Measure::TokensPerSecond => format!("{} tokens/s", locale.decimal(value, 1)),
        _ => locale.latency(value),
    }
}

/// Returns the share of failed or slow probes and the typical share: `9 of 10 failed (typically
/// 0.3%)`.
pub fn share_of_probes(incident: &Incident, locale: &Locale) -> String {
    let evidence = &incident.evidence;
    let bad = locale.number(evidence.failed);
    let all = locale.number(evidence.probes);
    if incident.cause.is_slow() {
        return text!(locale, "{bad} of {all} slow", bad, all);
    }
    // The baseline is the provider's failure rate, which does not apply to faults of the account.
    let typical = match (incident.attribution, evidence.typical_failure_rate) {
        (Attribution::Provider, Some(rate)) => {
            let rate = locale.failure_rate(rate);
            text!(locale, " (typically {rate})", rate)
        }
        (Attribution::Provider, None) => locale.say(" (usual rate not learned yet)").to_owned(),
        _ => String::new(),
    };
    text!(locale, "{bad} of {all} failed{typical}", bad, all, typical)
}

/// Returns what the vendor's status page says and which side detected it first; empty without a
/// page.
pub fn vendor_status(incident: &Incident, locale: &Locale) -> String {
    let official = &incident.official;
    let Some(status) = official.status else {
        return String::new();
    };
    let status = status.as_str();
    let Some(title) = &official.incident else {
        return text!(
            locale,
            "It says \"{status}\" and does not mention this.",
            status
        );
    };
    let title = super::values::clean(title);
    match (official.published_at, official.lead_s) {
        (Some(at), Some(lead)) => {
            let by = locale.duration(lead.abs());
            let at = locale.time(at);
            if lead >= 0.0 {
                text!(
                    locale,
                    "It says \"{status}\": \"{title}\", published at {at}, {by} after it was detected here.",
                    status,
                    title,
                    at,
                    by
                )
            } else {
                text!(
                    locale,
                    "It says \"{status}\": \"{title}\", published at {at}, {by} before it was detected here.",
                    status,
                    title,
                    at,
                    by
                )
            }
        }
        _ => text!(locale, "It says \"{status}\": \"{title}\".", status, title),
    }
}

/// The vendor as people say it.
pub(super) fn vendor(incident: &Incident) -> &str {
    match &incident.facts {
        Some(facts) if !facts.vendor.is_empty() => &facts.vendor,
        _ => incident.provider.title(),
    }
}

fn names(incident: &Incident, locale: &Locale) -> String {
    locale.list_at_most(&incident.endpoints, MAX_NAMES)
}

fn removed(incident: &Incident, locale: &Locale) -> String {
    let names = names(incident, locale);
    text!(
        locale,
        incident.endpoints.len() => "{names} was removed from the configuration, so the incident is closed. Nothing is known about a recovery.",
        "{names} were removed from the configuration, so the incident is closed. Nothing is known about a recovery.";
        names
    )
}

/// Returns `openai-chat now fails in another way: account.auth`.
pub(super) fn fails_otherwise(
    otherwise: &BTreeMap<EndpointName, Fault>,
    locale: &Locale,
) -> String {
    let names: Vec<_> = otherwise.keys().collect();
    let faults: BTreeSet<_> = otherwise.values().map(|fault| fault.as_str()).collect();
    let faults: Vec<_> = faults.into_iter().collect();
    let (names, n) = (locale.list_at_most(&names, MAX_NAMES), names.len());
    let faults = locale.list_at_most(&faults, MAX_NAMES);
    text!(
        locale,
        n => "{names} now fails in another way: {faults}",
        "{names} now fail in another way: {faults}";
        names, faults
    )
}

/// Returns `openai-chat recovered`. Leaves out endpoints whose slowness became the new baseline.
fn recovered(incident: &Incident, locale: &Locale) -> String {
    let recovered: Vec<_> = incident
        .endpoints
        .iter()
        .filter(|e| !incident.new_normal.contains(e))
        .collect();
    let names = locale.list_at_most(&recovered, MAX_NAMES);
    text!(locale, recovered.len() => "{names} recovered", "{names} recovered "; names)
        .trim_end()
        .to_owned()
}

fn still_slow(incident: &Incident, locale: &Locale) -> Option<String> {
    let slow = &incident.new_normal;
    (!slow.is_empty()).then(|| {
        let names = locale.list_at_most(slow, MAX_NAMES);
        text!(locale, slow.len() => "{names} is still slow", "{names} are still slow"; names)
    })
}

/// An incident with its facts and the reader's locale.
struct Narrator<'a> {
    incident: &'a Incident,
    facts: &'a IncidentFacts,
    locale: &'a Locale,
}

impl Narrator<'_> {
    fn names(&self) -> String {
        names(self.incident, self.locale)
    }

    /// Returns `9 of the last 10 probes failed`.
    fn share(&self) -> String {
        let evidence = &self.incident.evidence;
        let failed = self.locale.number(evidence.failed);
        let probes = self.locale.number(evidence.probes);
        match (self.incident.resolved_at, self.incident.cause.is_slow()) {
            (Some(_), true) => text!(
                self.locale,
                "{failed} of {probes} probes were slow",
                failed,
                probes
            ),
            (Some(_), false) => text!(
                self.locale,
                "{failed} of {probes} probes failed",
                failed,
                probes
            ),
            (None, true) => {
                text!(
                    self.locale,
                    "{failed} of the last {probes} probes were slow",
                    failed,
                    probes
                )
            }
            (None, false) => {
                text!(
                    self.locale,
                    "{failed} of the last {probes} probes failed",
                    failed,
                    probes
                )
            }
        }
    }

    /// Lists the most frequent faults with their counts, in parentheses.
    fn faults(&self) -> String {
        let faults = self.incident.evidence.faults_by_count();
        let list: Vec<_> = faults
            .iter()
            .take(MAX_FAULTS)
            .map(|(fault, n)| match self.locale.say(fault.describe()) {
                text if text == fault.as_str() => format!("{n} × {fault}"),
                text => format!("{n} × {fault}, {text}"),
            })
            .collect();
        if list.is_empty() {
            String::new()
        } else {
            format!(" ({})", list.join("; "))
        }
    }

    fn title(&self) -> String {
        let incident = self.incident;
        let vendor = vendor(incident);
        let cause = incident.cause;
        match (incident.attribution, cause) {
            (Attribution::Account, Cause::Fault(fault)) => {
                format!("{vendor}: {} ({cause})", self.rejection(fault))
            }
            (Attribution::Local, Cause::Fault(fault)) => {
                let what = self.locale.say(local_cause(fault));
                let names = self.names();
                text!(
                    self.locale,
                    "{what} ({cause}): {names} unreachable",
                    what,
                    cause,
                    names
                )
            }
            _ if incident.is_new_normal() => {
                let names = self.names();
                text!(
                    self.locale,
                    "{vendor}: {names} still slow; this is the new baseline",
                    vendor,
                    names
                )
            }
            _ => {
                let suspected = if incident.is_suspected() {
                    self.locale.say("suspected provider fault, ")
                } else {
                    ""
                };
                let cause = if cause.is_slow() {
                    String::new()
                } else {
                    format!(" ({cause})")
                };
                let only = match &self.facts.only {
                    Some(Only::Model(name) | Only::Endpoint(name) | Only::Region { name, .. }) => {
                        text!(self.locale, ", {name} only", name)
                    }
                    None => String::new(),
                };
                format!("{vendor}: {suspected}{}{cause}{only}", self.share())
            }
        }
    }

    fn explanation(&self) -> String {
        let incident = self.incident;
        if incident.resolved_at.is_some() {
            return self.end();
        }
        let share = self.share();
        let faults = self.faults();
        let mut summary = summary(incident, self.locale);
        if !incident.recovered.is_empty() {
            let names = self.locale.list_at_most(&incident.recovered, MAX_NAMES);
            summary += &text!(
                self.locale,
                incident.recovered.len() => " {names} has recovered.", " {names} have recovered."; names
            );
        }
        let mut text = match incident.attribution {
            Attribution::Account => {
                let message = self.message();
                format!("{summary} {share}{message}.")
            }
            Attribution::Local => format!("{summary} {share}{faults}."),
            Attribution::Provider => {
                let mut figures = vec![format!("{share}{faults}")];
                if let Some(rate) = incident.evidence.typical_failure_rate
                    && !incident.cause.is_slow()
                {
                    let rate = self.locale.failure_rate(rate);
                    figures.push(text!(self.locale, "typically {rate} fail", rate));
                }
                let measures = measures(incident, self.locale).into_iter();
                figures.extend(measures.map(|(name, value)| format!("{name} {value}")));
                format!("{summary} {}.", figures.join("; "))
            }
        };
        let context = self.context();
        if !context.is_empty() {
            text += &format!(" {context}");
        }
        text
    }

    /// Returns the explanation of a resolved incident.
    fn end(&self) -> String {
        let incident = self.incident;
        let share = self.share();
        let faults = self.faults();
        if let Some(number) = incident.merged_into() {
            let after = self.locale.duration(incident.duration_s);
            let why = match &self.facts.reattribution {
                Some(reattribution) => {
                    let why = self.reattribution(reattribution);
                    text!(
                        self.locale,
                        "this is no longer attributed to the provider ({why})",
                        why
                    )
                }
                None => self
                    .locale
                    .say("the provider rejects other accounts as well")
                    .to_owned(),
            };
            return text!(
                self.locale,
                "After {after} {why}; it continues as part of incident {number}: {share}{faults}.",
                after,
                why,
                number,
                share,
                faults
            );
        }
        let mut text = format!("{} {share}{faults}.", summary(incident, self.locale));
        if let Some(number) = self.facts.replaced_by {
            text += &text!(
                self.locale,
                " The provider answers again, but rejects the account: incident {number}.",
                number
            );
        }
        text
    }

    /// Returns sentences on what is affected, what is not, and what to do.
    fn context(&self) -> String {
        let incident = self.incident;
        let mut sentences = Vec::new();
        match (incident.attribution, incident.cause.fault()) {
            (Attribution::Account, Some(fault)) => {
                sentences.extend(self.corrected());
                sentences.extend(self.model_retired(fault));
                sentences.extend(self.unaffected());
                sentences.push(self.locale.say(remedy(fault)).to_owned());
            }
            (Attribution::Local, Some(fault)) => {
                sentences.push(self.locale.say(remedy(fault)).to_owned());
            }
            _ => {
                sentences.extend(self.suspicion());
                sentences.extend(self.scope());
                sentences.extend(self.elsewhere());
                sentences.extend(self.dependencies());
            }
        }
        if incident.resolved_at.is_some() {
            sentences.clear();
            sentences.extend(
                self.scope()
                    .filter(|_| incident.attribution == Attribution::Provider),
            );
        }
        sentences.retain(|sentence| !sentence.is_empty());
        sentences.join(" ")
    }

    /// Returns the status and message of the last rejected probe: `: HTTP 429, "You exceeded your
    /// quota"`.
    fn message(&self) -> String {
        let Some(last) = self.incident.evidence.samples.last() else {
            return String::new();
        };
        let status = last
            .http_status
            .map(|status| text!(self.locale, "HTTP {status}", status));
        let message = last.error.as_deref().map(|error| format!("\"{error}\""));
        let parts: Vec<_> = status.into_iter().chain(message).collect();
        if parts.is_empty() {
            String::new()
        } else {
            format!(": {}", parts.join(", "))
        }
    }

    /// Returns the correction of an incident that was first attributed to the provider.
    fn corrected(&self) -> Option<String> {
        let reattribution = self.facts.reattribution.as_ref()?;
        let why = self.reattribution(reattribution);
        Some(text!(
            self.locale,
            "Until now this was attributed to the provider: {why}.",
            why
        ))
    }

    fn model_retired(&self, fault: Fault) -> Option<String> {
        (fault == Fault::RequestModelNotFound && self.facts.worked_before).then(|| {
            self.locale
                .say("The model was found until now; it may have been retired.")
                .to_owned()
        })
    }

    fn unaffected(&self) -> Option<String> {
        if let Some(name) = self.facts.unaffected.first() {
            return Some(text!(
                self.locale,
                "{name} at the same provider is not affected.",
                name
            ));
        }
        let vendors = &self.facts.other_vendors;
        (!vendors.is_empty()).then(|| {
            let list = self.locale.list_at_most(vendors, MAX_NAMES);
            text!(
                self.locale,
                vendors.len() => "{list} is not affected.",
                "{list} are not affected.";
                list
            )
        })
    }

    /// Describes what the provider rejects.
    fn rejection(&self, fault: Fault) -> String {
        let names = self.names();
        let model = match self.facts.models.as_slice() {
            [model] => text!(self.locale, "the model {model}", model),
            _ => self.locale.say("the model").to_owned(),
        };
        match fault {
            Fault::AccountAuth => text!(self.locale, "the API key for {names} was rejected", names),
            Fault::AccountPermission => text!(
                self.locale,
                "the API key for {names} lacks permission",
                names
            ),
            Fault::AccountQuota => text!(
                self.locale,
                "the quota or credit for {names} is exhausted",
                names
            ),
            Fault::AccountRateLimit => text!(
                self.locale,
                self.incident.endpoints.len() => "{names} exceeds the account's own rate limit",
                "{names} exceed the account's own rate limit";
                names
            ),
            Fault::AccountRegion => {
                text!(
                    self.locale,
                    "{names} does not accept this machine's address or region",
                    names
                )
            }
            Fault::RequestModelNotFound => text!(
                self.locale,
                "{model} of {names} was not found",
                model,
                names
            ),
            Fault::RequestRejected => {
                text!(self.locale, "the request of {names} was rejected", names)
            }
            Fault::RequestTooFewTokens => {
                text!(
                    self.locale,
                    "`max_tokens` of {names} is too small for {model}",
                    names,
                    model
                )
            }
            Fault::AnswerFiltered => text!(
                self.locale,
                "a content filter removes the answer of {names}",
                names
            ),
            Fault::AnswerRefused => text!(
                self.locale,
                "{model} of {names} refuses to answer the prompt",
                model,
                names
            ),
            other => {
                let why = self.locale.say(other.describe());
                text!(self.locale, "{names} cannot be used: {why}", names, why)
            }
        }
    }

    fn reattribution(&self, reattribution: &Reattribution) -> String {
        let at = self.locale.time(reattribution.at);
        match reattribution.recovered.as_slice() {
            [] => text!(self.locale, "since {at} nothing points to the provider", at),
            recovered => {
                let list = self.locale.list_at_most(recovered, MAX_NAMES);
                let names = self.names();
                text!(
                    self.locale,
                    "{list} recovered at {at}, and {names} did not",
                    list,
                    at,
                    names
                )
            }
        }
    }

    fn suspicion(&self) -> Option<String> {
        let fault = self.incident.cause.fault()?;
        self.incident.is_suspected().then(|| {
            let remedy = self.locale.say(remedy(fault));
            text!(self.locale, "If it is not the provider: {remedy}", remedy)
        })
    }

    /// Describes which part of the provider is affected.
    fn scope(&self) -> Option<String> {
        let vendor = vendor(self.incident);
        Some(match self.facts.only.as_ref()? {
            Only::Region { here, others, .. } => {
                let others = self.locale.list_at_most(others, MAX_NAMES);
                text!(
                    self.locale,
                    "Regional: only {here} is affected; {others} of {vendor} answers.",
                    here,
                    others,
                    vendor
                )
            }
            Only::Model(name) | Only::Endpoint(name) => {
                let models = self.facts.unaffected_models;
                let endpoints = self.facts.unaffected.len();
                let others = if models == 0 {
                    let n = self.locale.number(endpoints);
                    text!(
                        self.locale,
                        endpoints => "{n} other endpoint answers", "{n} other endpoints answer"; n
                    )
                } else {
                    let n = self.locale.number(models);
                    text!(self.locale, models => "{n} other model answers", "{n} other models answer"; n)
                };
                text!(
                    self.locale,
                    "Only {name} is affected; {others}.",
                    name,
                    others
                )
            }
        })
    }

    /// Names an endpoint that still works, unless the reason already names it.
    fn elsewhere(&self) -> Option<String> {
        let other = self.facts.answers_elsewhere.as_ref()?;
        let named = self.reason_names_other() && !other.same_model;
        if named || self.incident.cause.is_slow() {
            return None;
        }
        let Elsewhere {
            endpoint, vendor, ..
        } = other;
        Some(if other.same_model {
            text!(
                self.locale,
                "The same model answers at {endpoint} ({vendor}), so this machine's network is not \
                 the cause.",
                endpoint,
                vendor
            )
        } else {
            text!(
                self.locale,
                "{endpoint} answers from here, so this machine's network is not the cause.",
                endpoint
            )
        })
    }

    fn reason_names_other(&self) -> bool {
        match self.incident.cause {
            Cause::Slow => true,
            Cause::Fault(fault) => fault.is_network(),
            Cause::Failed => false,
        }
    }

    fn dependencies(&self) -> Option<String> {
        if let Some(number) = self.incident.explained_by {
            return Some(text!(
                self.locale,
                "Caused by incident {number} (dependency).",
                number
            ));
        }
        let dependents = &self.incident.explains;
        (!dependents.is_empty()).then(|| {
            let names = self.locale.list_at_most(dependents, MAX_NAMES);
            text!(
                self.locale,
                dependents.len() => "{names} depends on it and fails as well.",
                "{names} depend on it and fail as well.";
                names
            )
        })
    }

    /// Returns the reason for the attribution, in a sentence.
    fn reason(&self) -> String {
        let incident = self.incident;
        let other = self.facts.answers_elsewhere.as_ref().map(|e| &e.endpoint);
        let fault = incident.cause.fault();
        match incident.attribution {
            Attribution::Account => match &self.facts.reattribution {
                Some(reattribution) => {
                    let why = self.reattribution(reattribution);
                    text!(
                        self.locale,
                        "No longer attributed to the provider: {why}.",
                        why
                    )
                }
                None => self
                    .locale
                    .say("The provider answers and rejects this account or request.")
                    .to_owned(),
            },
            Attribution::Local => {
                let text =
                    "The failure is on this machine, or no connectivity check answers from it.";
                self.locale.say(text).to_owned()
            }
            Attribution::Provider if incident.is_suspected() => self.confirmation(),
            Attribution::Provider => match (incident.cause, fault, other) {
                (Cause::Slow, _, Some(other)) => {
                    text!(
                        self.locale,
                        "It answers late, while {other} answers from here as usual.",
                        other
                    )
                }
                (Cause::Slow, ..) => self.locale.say("It answers, but late.").to_owned(),
                (_, Some(Fault::LocalDns), _) => {
                    let text = "Its host name does not resolve, while other names do.";
                    self.locale.say(text).to_owned()
                }
                (_, Some(Fault::LocalProxy), _) => {
                    let text = "The proxy does not reach it, while it reaches others.";
                    self.locale.say(text).to_owned()
                }
                (_, Some(fault), Some(other)) if fault.is_network() => {
                    text!(
                        self.locale,
                        "{other} answers from here at the same time.",
                        other
                    )
                }
                (_, Some(fault), None) if fault.is_network() => {
                    let text =
                        "The connection fails at its end, and nothing points to the network here.";
                    self.locale.say(text).to_owned()
                }
                _ => self.api_error(),
            },
        }
    }

    /// Returns what confirms that the provider rejects an account that is in good standing.
    fn confirmation(&self) -> String {
        match &self.facts.confirmation {
            Some(Confirmation::OtherAccount(other)) => text!(
                self.locale,
                "A key that worked before is rejected, and so is the key of another organization at \
                 {other}, at the same time.",
                other
            ),
            Some(Confirmation::VendorPage(title)) => {
                let title = super::values::clean(title);
                text!(
                    self.locale,
                    "The provider's own status page confirms it: \"{title}\".",
                    title
                )
            }
            Some(Confirmation::Headers(share)) => {
                let left = self.locale.percentage(f64::from(*share) / 100.0, 2);
                text!(
                    self.locale,
                    "The provider's own headers refute it: {left} or more of every limit that they \
                     name is left.",
                    left
                )
            }
            None => self
                .locale
                .say("A key and a configuration that worked before are now rejected.")
                .to_owned(),
        }
    }

    fn api_error(&self) -> String {
        let fault = self.incident.cause.fault();
        let samples = self.incident.evidence.samples.iter().rev();
        // A later probe may have failed in another way.
        let of_cause = samples.clone().filter(|s| s.fault == fault);
        let status = of_cause.chain(samples).find_map(|s| s.http_status);
        let is_answer = matches!(
            fault,
            Some(Fault::AnswerEmpty | Fault::AnswerWrong | Fault::BodyMalformed)
        ) && status.is_none_or(|status| (200..300).contains(&status));
        let status = status.map_or(String::new(), |status| {
            text!(self.locale, " (HTTP {status})", status)
        });
        if is_answer {
            return text!(
                self.locale,
                "The API itself answered{status}, but not correctly.",
                status
            );
        }
        text!(
            self.locale,
            "The error came from the API itself{status}, not from your network or account.",
            status
        )
    }
}
