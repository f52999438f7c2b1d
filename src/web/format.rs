//! The overall state as a sentence and a list, and the format of times and numbers on the pages.
//! Pure.

use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Attribution, Cause, EndpointName, EndpointView, Incident, Snapshot, Status, Timestamp,
};
use llmwatch_core::text;

/// The most names that are listed individually.
const NAMES: usize = 3;

/// The headline of the index page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headline {
    /// The worst status.
    pub(crate) status: Status,
    /// "OpenAI is down."
    pub(crate) sentence: String,
    /// What to do about it, or why the state is unknown.
    pub(crate) advice: String,
}

/// A current problem: an open incident, or an endpoint with a pending alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CurrentProblem {
    /// Its sort key: provider outages first.
    rank: u8,
    /// The number of the incident; `None` if it is only pending.
    pub(crate) number: Option<u64>,
    /// The endpoint of a pending problem.
    pub(crate) endpoint: EndpointName,
    /// "OpenAI: openai-chat".
    pub(crate) subject: String,
    /// "outage", "degraded", "account fault", "local fault" or "checking".
    pub(crate) state: &'static str,
    /// The status that determines its color.
    pub(crate) status: Option<Status>,
    /// The cause, without counts: "server error (http.5xx)".
    pub(crate) cause: String,
    /// "9 of the last 10 probes failed".
    pub(crate) counts: String,
    /// When it started.
    pub(crate) since: Option<Timestamp>,
    /// Its duration so far.
    pub(crate) so_far: String,
    /// The endpoint to use instead.
    pub(crate) instead: Option<EndpointName>,
    /// Who has acknowledged it.
    pub(crate) acknowledged: Option<String>,
}

/// Returns the headline of `snapshot`, in the reader's language.
pub(crate) fn headline(snapshot: &Snapshot, locale: &Locale) -> Headline {
    if snapshot.endpoints.is_empty() {
        return Headline {
            status: Status::Unknown,
            sentence: locale.say("No endpoint is configured.").to_owned(),
            advice: locale
                .say("Add an [[endpoint]] to monitor.toml and reload.")
                .to_owned(),
        };
    }
    if let Some(since) = snapshot.offline_since {
        let since = locale.time_short(since, snapshot.at);
        return Headline {
            status: Status::Unknown,
            sentence: locale.say("This monitor is offline.").to_owned(),
            advice: text!(
                locale,
                "No network since {since}. The status of every provider is unknown, not down.",
                since
            ),
        };
    }
    let (sentence, advice) = match snapshot.incidents.as_slice() {
        [] => quiet(snapshot, locale),
        [one] => (
            one_incident(snapshot, one, locale),
            advice(snapshot, locale),
        ),
        many => (several_incidents(many, locale), advice(snapshot, locale)),
    };
    Headline {
        status: snapshot.overall(),
        sentence,
        advice,
    }
}

/// "1 outage and 2 degradations.", worst first.
fn several_incidents(many: &[Incident], locale: &Locale) -> String {
    let counts = Kind::ALL.into_iter().filter_map(|kind| {
        let n = many.iter().filter(|i| Kind::of(i) == kind).count();
        (n > 0).then(|| kind.counted(n, locale))
    });
    format!("{}.", locale.list(&counts.collect::<Vec<_>>()))
}

/// The severity of an open incident. A rejected account or a local network fault is not an outage
/// of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Outage,
    Degraded,
    Account,
    Local,
    /// This reader may not see its attribution.
    Hidden,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Outage,
        Self::Degraded,
        Self::Account,
        Self::Local,
        Self::Hidden,
    ];

    fn of(incident: &Incident) -> Self {
        match (incident.attribution, incident.status) {
            _ if hides_attribution(incident) => Self::Hidden,
            (Attribution::Account, _) => Self::Account,
            (Attribution::Local, _) => Self::Local,
            (Attribution::Provider, Status::Degraded) => Self::Degraded,
            (Attribution::Provider, _) => Self::Outage,
        }
    }

    fn counted(self, n: usize, locale: &Locale) -> String {
        let number = locale.number(n);
        match self {
            Self::Outage => text!(locale, n => "{number} outage", "{number} outages"; number),
            Self::Degraded => {
                text!(locale, n => "{number} degradation", "{number} degradations"; number)
            }
            Self::Account => {
                text!(locale, n => "{number} account fault", "{number} account faults"; number)
            }
            Self::Local => {
                text!(locale, n => "{number} local fault", "{number} local faults"; number)
            }
            Self::Hidden => {
                text!(locale, n => "{number} failing check", "{number} failing checks"; number)
            }
        }
    }
}

fn one_incident(snapshot: &Snapshot, incident: &Incident, locale: &Locale) -> String {
    if hides_attribution(incident) {
        let names = locale.list_at_most(&incident.endpoints, NAMES);
        return text!(locale, "Checks of {names} are failing.", names);
    }
    let title = title_of(snapshot, incident);
    let of_domain = snapshot.endpoints.iter().filter(|e| e.title == title);
    let all = of_domain.clone().count();
    let is_part = of_domain
        .clone()
        .any(|e| !incident.endpoints.contains(&e.name));
    let what = match incident.endpoints.as_slice() {
        [one] if is_part => format!("{title} ({one})"),
        many if is_part => {
            let n = many.len();
            text!(locale, "{title} ({n} of {all} endpoints)", title, n, all)
        }
        _ => title.to_owned(),
    };
    match (incident.attribution, incident.status) {
        (Attribution::Account, _) => text!(locale, "{what} is rejecting your requests.", what),
        (Attribution::Local, _) => {
            text!(locale, "{what} cannot be reached from this machine.", what)
        }
        (_, Status::Degraded) if incident.cause.is_slow() => {
            text!(locale, "{what} is slow.", what)
        }
        (_, Status::Degraded) => text!(locale, "{what} is failing intermittently.", what),
        _ => text!(locale, "{what} is down.", what),
    }
}

/// Returns the headline when there is no incident.
fn quiet(snapshot: &Snapshot, locale: &Locale) -> (String, String) {
    let all = snapshot.endpoints.len();
    let statuses = snapshot.endpoints.iter().map(|e| e.status);
    let pending: Vec<_> = snapshot
        .endpoints
        .iter()
        .filter(|e| pending(e, locale).is_some())
        .collect();
    let unknown = statuses.clone().filter(|s| *s == Status::Unknown).count();
    let paused = statuses.filter(|s| *s == Status::Maintenance).count();
    if snapshot.budget_spent {
        return (
            locale.say("Today’s probing budget is used up.").to_owned(),
            locale
                .say("Probing is paused until midnight. Until then every status is unknown.")
                .to_owned(),
        );
    }
    if snapshot.last_recorded_at.is_none() && unknown == all {
        return (
            locale.say("No probe has completed yet.").to_owned(),
            locale
                .say("Every endpoint is probed within ten seconds of the start.")
                .to_owned(),
        );
    }
    if let [first, rest @ ..] = pending.as_slice() {
        let name = &first.name;
        let n = pending.len();
        let sentence = if rest.is_empty() {
            text!(locale, "Checking {name}.", name)
        } else {
            text!(locale, "Checking {n} endpoints.", n)
        };
        let advice =
            locale.say("Recent probes failed; there is not enough evidence for an alert yet.");
        return (sentence, advice.to_owned());
    }
    if unknown > 0 {
        let n = unknown;
        let sentence = text!(
            locale,
            all => "{n} of {all} endpoint without a recent result.",
            "{n} of {all} endpoints without a recent result.";
            n, all
        );
        return (sentence, others(all - unknown - paused, locale));
    }
    if paused > 0 {
        let n = paused;
        let sentence = text!(
            locale,
            all => "{n} of {all} endpoint in maintenance.",
            "{n} of {all} endpoints in maintenance.";
            n, all
        );
        return (sentence, others(all - paused, locale));
    }
    let sentence = match snapshot.endpoints.as_slice() {
        [one] => {
            let name = &one.name;
            text!(locale, "{name} is operational.", name)
        }
        [_, _] => locale.say("Both endpoints are operational.").to_owned(),
        _ => text!(locale, "All {all} endpoints are operational.", all),
    };
    let advice = locale.say("Correct answers in the usual time.");
    (sentence, advice.to_owned())
}

fn others(n: usize, locale: &Locale) -> String {
    match n {
        0 => String::new(),
        1 => locale.say("The other endpoint is operational.").to_owned(),
        n => text!(locale, "The other {n} are operational.", n),
    }
}

fn advice(snapshot: &Snapshot, locale: &Locale) -> String {
    let broken = snapshot
        .incidents
        .iter()
        .filter(|i| i.attribution == Attribution::Provider)
        .min_by_key(|i| rank(i));
    if let Some(incident) = broken {
        return match snapshot.alternatives(&incident.endpoints).first() {
            Some(best) => {
                let name = &best.endpoint;
                text!(locale, "Use {name} instead.", name)
            }
            None => locale
                .say("No healthy alternative is configured.")
                .to_owned(),
        };
    }
    let text = match snapshot.incidents.first() {
        Some(incident) if hides_attribution(incident) => return String::new(),
        Some(incident) if incident.attribution == Attribution::Account => {
            locale.say("The provider answers. Check the API key, the quota and the model name.")
        }
        _ => locale.say("The cause is this machine or its network, not the provider."),
    };
    text.to_owned()
}

/// Returns all current problems, worst first: provider outages, provider degradations, pending
/// alerts, account faults, local faults.
pub(crate) fn problems(snapshot: &Snapshot, locale: &Locale) -> Vec<CurrentProblem> {
    let of_incidents = snapshot.incidents.iter();
    let mut problems: Vec<CurrentProblem> = of_incidents
        .map(|i| incident_problem(snapshot, i, locale))
        .collect();
    let pending = snapshot.endpoints.iter();
    problems.extend(pending.filter_map(|e| pending_problem(e, locale)));
    problems.sort_by(|a, b| (a.rank, a.since, &a.subject).cmp(&(b.rank, b.since, &b.subject)));
    problems
}

fn incident_problem(snapshot: &Snapshot, incident: &Incident, locale: &Locale) -> CurrentProblem {
    let instead = (incident.attribution == Attribution::Provider)
        .then(|| snapshot.alternatives(&incident.endpoints))
        .and_then(|found| found.into_iter().next())
        .map(|best| best.endpoint);
    CurrentProblem {
        rank: rank(incident),
        number: Some(incident.number),
        endpoint: EndpointName::default(),
        subject: subject(title_of(snapshot, incident), incident, locale),
        state: severity(incident, locale),
        status: Some(incident.status),
        cause: cause(incident, locale),
        counts: counts(incident, locale),
        since: Some(incident.started_at),
        so_far: locale.duration(incident.duration_s),
        instead,
        acknowledged: incident.acknowledged.as_ref().map(|a| a.by.clone()),
    }
}

/// "OpenAI: openai-chat and openai-realtime".
pub(crate) fn subject(title: &str, incident: &Incident, locale: &Locale) -> String {
    let names = locale.list_at_most(&incident.endpoints, NAMES);
    format!("{title}: {names}")
}

fn pending_problem(endpoint: &EndpointView, locale: &Locale) -> Option<CurrentProblem> {
    Some(CurrentProblem {
        rank: 2,
        number: None,
        endpoint: endpoint.name.clone(),
        subject: format!("{}: {}", endpoint.title, endpoint.name),
        state: locale.say("checking"),
        status: None,
        cause: endpoint.last_fault.map_or_else(String::new, |f| {
            format!("{} ({f})", locale.say(f.describe()))
        }),
        counts: pending(endpoint, locale)?,
        since: endpoint.alert.since,
        so_far: String::new(),
        instead: None,
        acknowledged: None,
    })
}

fn rank(incident: &Incident) -> u8 {
    match (incident.attribution, incident.status) {
        (Attribution::Provider, Status::Degraded) => 1,
        (Attribution::Provider, _) => 0,
        (Attribution::Account, _) => 3,
        (Attribution::Local, _) => 4,
    }
}

/// "4 of the last 4 probes failed", while there is not enough evidence for an incident.
pub(crate) fn pending(endpoint: &EndpointView, locale: &Locale) -> Option<String> {
    llmwatch_core::message::headline::pending(endpoint, locale)
}

/// Reports whether this is the public summary of an incident, which has no evidence.
pub(crate) fn is_summary(incident: &Incident) -> bool {
    incident.evidence.probes == 0
}

/// Reports whether the attribution is hidden: in a summary, unless it is the provider's fault.
fn hides_attribution(incident: &Incident) -> bool {
    is_summary(incident) && incident.attribution != Attribution::Provider
}

/// The cause of an incident, with the code of its fault.
pub(crate) fn cause(incident: &Incident, locale: &Locale) -> String {
    if is_summary(incident) {
        return String::new();
    }
    match incident.cause {
        Cause::Fault(fault) => format!("{} ({fault})", locale.say(fault.describe())),
        Cause::Slow => locale.say("slower than usual").to_owned(),
        Cause::Failed => locale.say("failing").to_owned(),
    }
}

/// "9 of the last 10 probes failed".
pub(crate) fn counts(incident: &Incident, locale: &Locale) -> String {
    if is_summary(incident) {
        return String::new();
    }
    let evidence = &incident.evidence;
    let failed = locale.number(evidence.failed);
    let all = locale.number(evidence.probes);
    if incident.cause.is_slow() {
        text!(
            locale,
            evidence.probes => "{failed} of the last {all} probe was slow",
            "{failed} of the last {all} probes were slow";
            failed, all
        )
    } else {
        text!(
            locale,
            evidence.probes => "{failed} of the last {all} probe failed",
            "{failed} of the last {all} probes failed";
            failed, all
        )
    }
}

/// The attribution of an incident; empty if it is hidden.
pub(crate) fn whose_fault(incident: &Incident, locale: &Locale) -> &'static str {
    if hides_attribution(incident) {
        ""
    } else {
        whose(incident.attribution, locale)
    }
}

/// The text of an attribution.
pub(crate) fn whose(attribution: Attribution, locale: &Locale) -> &'static str {
    locale.say(match attribution {
        Attribution::Provider => "the provider",
        Attribution::Account => "your account or configuration",
        Attribution::Local => "this machine or its network",
    })
}

/// The severity of an open incident, in one word.
pub(crate) fn severity(incident: &Incident, locale: &Locale) -> &'static str {
    match Kind::of(incident) {
        Kind::Hidden => locale.say("checks failing"),
        Kind::Account => locale.say("account fault"),
        Kind::Local => locale.say("local fault"),
        Kind::Outage | Kind::Degraded => locale.status(incident.status),
    }
}

/// The title of an incident's failure domain.
pub(crate) fn title_of<'a>(snapshot: &'a Snapshot, incident: &'a Incident) -> &'a str {
    let found = snapshot.endpoint_of(incident);
    found.map_or_else(|| incident.provider.title(), |e| &e.title)
}

/// "12 min", or "12 min so far" while the incident is open.
pub(crate) fn duration(incident: &Incident, locale: &Locale) -> String {
    if incident.resolved_at.is_some() {
        locale.duration(incident.duration_s)
    } else {
        locale.duration_so_far(incident.duration_s)
    }
}

/// `1 endpoint`, `12 endpoints`.
pub(crate) fn endpoints(n: usize, locale: &Locale) -> String {
    let number = locale.number(n);
    text!(locale, n => "{number} endpoint", "{number} endpoints"; number)
}

/// `A`, `A and B`, `A, B and C`; at most `most` items, then the number of the rest.
pub(crate) fn listed(items: &[impl AsRef<str>], most: usize, locale: &Locale) -> String {
    locale.list_at_most(items, most)
}

/// The time of day with seconds and time zone.
pub(crate) fn time_of_day(at: Timestamp, locale: &Locale) -> String {
    format!("{} {}", locale.clock_time(at), locale.zone(at))
}
