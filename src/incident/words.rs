//! What people read of an incident: what is broken and since when, whose fault and why we think so, what is not
//! concerned, what to do.

use std::collections::BTreeSet;

use super::suspicion::Acquittal;
use super::{OWN_TROUBLE, Open, SLOW, Surroundings, human_duration};
use crate::model::{Attribution, Endpoint, Evidence, Fault, FirstToken, Incident, Timestamp};

/// How many bad samples an incident shows.
const SHOWN_SAMPLES: usize = 5;

/// Words the incident from what is known of it at `at`.
pub(super) fn describe(open: &mut Open, at: Timestamp, around: &impl Surroundings) {
    open.incident.official = around.official(&open.incident);
    let mut samples: Vec<_> = open
        .incident
        .endpoints
        .iter()
        .flat_map(|e| around.bad_samples(e, open.incident.started_at))
        .collect();
    samples.sort_by_key(|s| s.started_at);
    let incident = &mut open.incident;
    incident.duration_s = incident
        .resolved_at
        .unwrap_or(at)
        .since_ms(incident.started_at)
        .max(0) as f64
        / 1000.0;
    // Those before the decision were not counted one by one.
    for bad in &samples {
        incident.evidence.note_request(bad.request_id.as_deref());
        incident.evidence.note_first_token(bad.first_token_ms);
    }
    incident.evidence.samples = samples.split_off(samples.len().saturating_sub(SHOWN_SAMPLES));
    incident.evidence.faults.clone_from(&open.faults);
    let mut faults: Vec<_> = open.faults.iter().collect();
    faults.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    if open.kind != OWN_TROUBLE {
        // It is about one fault, whatever else its endpoints meet.
        incident.cause.clone_from(&open.kind);
    } else if incident.cause != SLOW {
        incident.cause = faults
            .first()
            .map_or_else(|| "failed".to_owned(), |(fault, _)| (*fault).clone());
    }
    let list: Vec<_> = faults
        .iter()
        .take(3)
        .map(
            |(code, n)| match code.parse::<Fault>().map(Fault::describe) {
                Ok(words) if words != code.as_str() => format!("{n} × {code}, {words}"),
                _ => format!("{n} × {code}"),
            },
        )
        .collect();
    let tally = if list.is_empty() {
        String::new()
    } else {
        format!(" ({})", list.join("; "))
    };
    let story = Story {
        acquittal: open.acquittal.as_ref(),
        ..Story::new(incident, around, tally)
    };
    let (title, explanation, reason) = (story.title(), story.explanation(), story.reason());
    (
        incident.title,
        incident.explanation,
        incident.attribution_reason,
    ) = (title, explanation, reason);
}

/// `A`, `A and B`, `A, B and C`.
fn list(names: BTreeSet<String>) -> String {
    let mut names: Vec<_> = names.into_iter().collect();
    match (names.pop(), names.is_empty()) {
        (Some(last), false) => format!("{} and {last}", names.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

/// An incident and what stands around it.
struct Story<'a, S> {
    incident: &'a Incident,
    around: &'a S,
    /// The vendor as people say it.
    vendor: String,
    names: String,
    fault: Option<Fault>,
    /// The faults with their counts, in brackets.
    tally: String,
    /// How it turned out that the provider was suspected wrongly.
    acquittal: Option<&'a Acquittal>,
    /// Endpoints of the same failure domain that are not concerned, and the rest of the world that answers.
    well: Vec<&'a Endpoint>,
    elsewhere: Vec<&'a Endpoint>,
}

impl<'a, S: Surroundings> Story<'a, S> {
    fn new(incident: &'a Incident, around: &'a S, tally: String) -> Self {
        let first = incident.endpoints.first().and_then(|e| around.endpoint(e));
        let working = around
            .working()
            .into_iter()
            .filter(|e| !incident.endpoints.contains(&e.name));
        let (well, elsewhere) = working.partition(|e| e.domain() == incident.provider);
        Self {
            vendor: first.map_or_else(|| incident.provider.clone(), Endpoint::domain_title),
            names: incident.endpoints.join(", "),
            fault: incident.cause.parse().ok(),
            incident,
            around,
            tally,
            acquittal: None,
            well,
            elsewhere,
        }
    }

    fn is_slow(&self) -> bool {
        self.incident.cause == SLOW
    }

    /// A refused key that is probably the provider's mistake.
    fn is_suspected(&self) -> bool {
        self.incident.attribution == Attribution::Provider
            && self
                .fault
                .is_some_and(|f| f.attribution() == Attribution::Account)
    }

    fn share(&self) -> String {
        let Evidence { probes, failed, .. } = &self.incident.evidence;
        let word = if self.is_slow() {
            "were slow"
        } else {
            "failed"
        };
        match self.incident.resolved_at {
            Some(_) => format!("{failed} of {probes} probes {word}"),
            None => format!("{failed} of the last {probes} probes {word}"),
        }
    }

    fn since(&self) -> String {
        self.incident
            .started_at
            .to_datetime()
            .format("%H:%M:%S UTC")
            .to_string()
    }

    fn title(&self) -> String {
        let (vendor, cause) = (&self.vendor, &self.incident.cause);
        match (self.incident.attribution, self.fault) {
            (Attribution::Account, Some(fault)) => {
                format!("{vendor}: {} ({cause})", self.refusal(fault))
            }
            (Attribution::Local, Some(fault)) => {
                format!(
                    "{} ({cause}): {} not reached",
                    own_trouble(fault),
                    self.names
                )
            }
            _ if self.incident.is_new_normal() => {
                format!(
                    "{vendor}: {} {} slow, which is the new normal",
                    self.names,
                    self.stays()
                )
            }
            _ => {
                let suspected = if self.is_suspected() {
                    "suspected provider fault, "
                } else {
                    ""
                };
                let only = self
                    .only()
                    .map(|what| format!(", {what} only"))
                    .unwrap_or_default();
                // That probes were slow says why already.
                let cause = if self.is_slow() {
                    String::new()
                } else {
                    format!(" ({cause})")
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
        let (names, since, share, tally) = (&self.names, self.since(), self.share(), &self.tally);
        let mut text = match (incident.attribution, self.fault) {
            (Attribution::Account, Some(fault)) => return self.account(fault),
            (Attribution::Local, Some(fault)) => {
                return format!(
                    "{} since {since}, so {names} cannot be reached from here: {share}{tally}. The cause lies on this machine or its \
                     network, not at the provider. {}",
                    own_trouble(fault),
                    remedy(fault)
                );
            }
            _ if self.is_slow() => format!(
                "{names} {} slow since {since}: {share}{tally}",
                self.is_are()
            ),
            _ => format!(
                "{names} {} failing since {since}: {share}{tally}",
                self.is_are()
            ),
        };
        // What is learned is the share of failures; how often it is slow is not.
        if !self.is_slow() {
            text += &format!(
                "; typical is {:.1} %",
                incident.evidence.typical_failure_rate * 100.0
            );
        }
        if let (Some(typical), Some(now)) = (
            incident.evidence.first_token_ms.typical,
            incident.evidence.first_token_ms.now,
        ) {
            text += &format!("; first token typically {typical:.0} ms, now {now:.0} ms");
        }
        text += ".";
        for sentence in [
            self.suspicion(),
            self.extent(),
            self.elsewhere(),
            self.dependants(),
        ]
        .into_iter()
        .flatten()
        {
            text += &format!(" {sentence}");
        }
        text
    }

    fn is_are(&self) -> &'static str {
        if self.incident.endpoints.len() == 1 {
            "is"
        } else {
            "are"
        }
    }

    /// What is told when it is over.
    fn end(&self) -> String {
        let (names, share, tally) = (&self.names, self.share(), &self.tally);
        let after = human_duration(self.incident.duration_s);
        match (self.incident.attribution, self.fault) {
            (Attribution::Account, Some(_)) if self.incident.explained_by.is_some() => {
                let why = match self.acquitted() {
                    Some(acquitted) => {
                        format!("this is not held for the provider's fault any more ({acquitted})")
                    }
                    None => format!(
                        "it turned out that {names} {} not refused alone",
                        self.is_are()
                    ),
                };
                let by = self.incident.explained_by.unwrap_or_default();
                format!(
                    "After {after} {why}, so it goes on as a part of incident {by}: {share}{tally}."
                )
            }
            (Attribution::Account, Some(fault)) => {
                format!(
                    "After {after} it is no longer so that {}: {share}{tally}.",
                    self.refusal(fault)
                )
            }
            _ if self.incident.new_normal.is_empty() => {
                format!("{names} recovered after {after}: {share}{tally}.")
            }
            _ => {
                let slow = self.incident.new_normal.join(", ");
                let better: Vec<_> = self
                    .incident
                    .endpoints
                    .iter()
                    .filter(|e| !self.incident.new_normal.contains(e))
                    .cloned()
                    .collect();
                let better = if better.is_empty() {
                    String::new()
                } else {
                    format!("{} recovered. ", better.join(", "))
                };
                let level = match self.incident.evidence.first_token_ms {
                    FirstToken {
                        typical: Some(typical),
                        now: Some(now),
                    } => {
                        format!("; first token typically {typical:.0} ms before, {now:.0} ms now")
                    }
                    _ => String::new(),
                };
                format!(
                    "{better}{slow} did not become faster, but has been slow for {after}, so this is the new normal: {share}{tally}\
                     {level}. From now on it is compared with that level, and this is told once."
                )
            }
        }
    }

    fn stays(&self) -> &'static str {
        if self.incident.endpoints.len() == 1 {
            "stays"
        } else {
            "stay"
        }
    }

    /// An incident of the account: what was refused, whom it does not concern, what to do.
    fn account(&self, fault: Fault) -> String {
        let last = self.incident.evidence.samples.last();
        let status = last
            .and_then(|s| s.http_status)
            .map(|s| format!("HTTP {s}"));
        let words = last
            .and_then(|s| s.error.as_deref())
            .map(|e| e.trim_end_matches('.').to_owned());
        let said: Vec<_> = status.into_iter().chain(words).collect();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {}", said.join(", "))
        };
        let mut text = format!(
            "Since {} {} ({}){said}.",
            self.since(),
            self.refusal(fault),
            self.share()
        );
        if let Some(acquitted) = self.acquitted() {
            text += &format!(" Until now this was held for the provider's fault: {acquitted}.");
        }
        if fault == Fault::RequestModelNotFound
            && self
                .incident
                .endpoints
                .iter()
                .any(|name| self.around.has_worked(name))
        {
            text += " It was found until now: was it retired?";
        }
        let others: BTreeSet<_> = self.elsewhere.iter().map(|e| e.domain_title()).collect();
        match (self.well.first(), others.is_empty()) {
            (Some(well), _) => {
                text += &format!(" {} at the same provider is not affected.", well.name)
            }
            (None, true) => {}
            (None, false) => {
                let verb = if others.len() == 1 { "is" } else { "are" };
                text += &format!(" {} {verb} not affected.", list(others));
            }
        }
        text + " " + remedy(fault)
    }

    /// What the provider refuses, as a half sentence.
    fn refusal(&self, fault: Fault) -> String {
        let names = &self.names;
        let models: BTreeSet<_> = self.models().collect();
        let model = match models.iter().next() {
            Some(model) if models.len() == 1 => format!("the model {model}"),
            _ => "the model".to_owned(),
        };
        match fault {
            Fault::AccountAuth => format!("the key of {names} is refused"),
            Fault::AccountPermission => {
                format!("the key of {names} may not do what it is used for")
            }
            Fault::AccountQuota => format!("the quota or credit that {names} uses is exhausted"),
            Fault::AccountRateLimit => format!("{names} is over the account's own rate limit"),
            Fault::AccountRegion => {
                format!("this machine's address or region is not let in to {names}")
            }
            Fault::RequestModelNotFound => format!("{model} of {names} is not found"),
            Fault::RequestRejected => format!("the request of {names} is rejected"),
            Fault::RequestTooFewTokens => {
                format!("the token budget of {names} is too small for {model}")
            }
            Fault::AnswerFiltered => format!("a content filter removes the answer of {names}"),
            Fault::AnswerRefused => format!("{model} refuses to answer {names}"),
            other => format!("{names} cannot be used: {}", other.describe()),
        }
    }

    /// Why the provider is not suspected any more, as a half sentence.
    fn acquitted(&self) -> Option<String> {
        let acquittal = self
            .acquittal
            .filter(|_| self.incident.attribution == Attribution::Account)?;
        let at = acquittal.at.to_datetime().format("%H:%M:%S UTC");
        Some(match acquittal.let_in.as_slice() {
            [] => format!("as of {at} nothing speaks for that any more"),
            let_in => {
                let verb = if let_in.len() == 1 { "is" } else { "are" };
                format!(
                    "{} {verb} let in again as of {at}, and {} not",
                    let_in.join(", "),
                    self.names
                )
            }
        })
    }

    fn suspicion(&self) -> Option<String> {
        let advice = self.fault.filter(|_| self.is_suspected())?;
        Some(format!(
            "Key and configuration worked until now and are refused at several endpoints at once, so this is suspected to be the \
             provider's fault.{} If it is not: {}",
            self.one_key(),
            remedy(advice)
        ))
    }

    /// What speaks against the suspicion: one key that was revoked, or one account that is empty, looks the same.
    fn one_key(&self) -> &'static str {
        let endpoints = self
            .incident
            .endpoints
            .iter()
            .filter_map(|name| self.around.endpoint(name));
        let keys: Vec<_> = endpoints.map(|e| (&e.api_key, &e.headers)).collect();
        let one = keys.len() > 1 && keys.windows(2).all(|pair| pair[0] == pair[1]);
        if one {
            " They share one key, so it may be that key's or its account's as well."
        } else {
            ""
        }
    }

    fn models(&self) -> impl Iterator<Item = &'a str> {
        let around = self.around;
        self.incident
            .endpoints
            .iter()
            .filter_map(move |name| around.endpoint(name)?.model.as_deref())
    }

    /// What alone is concerned, when the rest of the provider is fine: a model if that tells them apart, else the
    /// endpoint.
    fn only(&self) -> Option<String> {
        if self.well.is_empty()
            || self.well.len() + self.incident.endpoints.len()
                < self.around.size_of(&self.incident.provider)
        {
            return None;
        }
        let models: BTreeSet<_> = self.models().collect();
        let telling = models.len() == 1
            && !self
                .well
                .iter()
                .any(|e| e.model.as_deref().is_some_and(|m| models.contains(m)));
        match (
            models.into_iter().next(),
            self.incident.endpoints.as_slice(),
        ) {
            (Some(model), _) if telling => Some(model.to_owned()),
            (_, [one]) => Some(one.clone()),
            _ => None,
        }
    }

    /// What of the provider is concerned and what is not.
    fn extent(&self) -> Option<String> {
        let only = self.only()?;
        let host = |e: &Endpoint| e.base_url.host_str().unwrap_or_default().to_owned();
        let concerned: BTreeSet<_> = self
            .incident
            .endpoints
            .iter()
            .filter_map(|n| self.around.endpoint(n))
            .map(host)
            .collect();
        let well: BTreeSet<_> = self.well.iter().map(|e| host(e)).collect();
        if concerned.len() == 1 && concerned.is_disjoint(&well) {
            let place = |e: &Endpoint| e.labels.get("region").cloned().unwrap_or_else(|| host(e));
            let here = self
                .incident
                .endpoints
                .iter()
                .find_map(|n| self.around.endpoint(n))
                .map(place)
                .unwrap_or_default();
            let there: BTreeSet<_> = self.well.iter().map(|e| place(e)).collect();
            let there: Vec<_> = there.into_iter().take(3).collect();
            return Some(format!(
                "It is regional: only {here} is concerned, {} of {} answers.",
                there.join(", "),
                self.vendor
            ));
        }
        let models: BTreeSet<_> = self
            .well
            .iter()
            .filter_map(|e| e.model.as_deref())
            .collect();
        let noun = |n: usize, what: &str| {
            format!("{n} other {what}{}", if n == 1 { " is" } else { "s are" })
        };
        let concerned: BTreeSet<_> = self.models().collect();
        let others = if models.is_empty() || !models.is_disjoint(&concerned) {
            noun(self.well.len(), "endpoint")
        } else {
            noun(models.len(), "model")
        };
        Some(format!("{only} only; {others} fine."))
    }

    /// Who else answers: the same model if it does, else anybody, which shows that this machine's network works.
    fn elsewhere(&self) -> Option<String> {
        let models: BTreeSet<_> = self.models().collect();
        let same = self
            .elsewhere
            .iter()
            .find(|e| e.model.as_deref().is_some_and(|m| models.contains(m)));
        match (same, self.elsewhere.first()) {
            (Some(same), _) => Some(format!(
                "The same model answers at {} ({}), so this machine's network is not the cause.",
                same.name,
                same.domain_title()
            )),
            (None, Some(other)) => Some(format!(
                "This machine's network is not the cause: {} answers from here.",
                other.name
            )),
            (None, None) => None,
        }
    }

    /// What fails because of this, or because of what this fails.
    fn dependants(&self) -> Option<String> {
        if let Some(number) = self.incident.explained_by {
            return Some(format!(
                "It depends on what incident {number} is about, and is explained by that."
            ));
        }
        let list = &self.incident.explains;
        (!list.is_empty()).then(|| format!("It explains why {} fails as well.", list.join(", ")))
    }

    /// Why we think that it is whose fault it is said to be.
    fn reason(&self) -> String {
        let answered = "the answer came from the provider itself";
        match (self.incident.attribution, self.fault) {
            (Attribution::Account, _) => match self.acquitted() {
                Some(acquitted) => format!("no longer suspected of the provider: {acquitted}"),
                None => "the provider answers, and refuses this account or this request".to_owned(),
            },
            (Attribution::Local, _) => {
                "the failure lies on this machine, or no control answers from it".to_owned()
            }
            (Attribution::Provider, Some(fault)) if fault.attribution() == Attribution::Account => {
                format!(
                    "suspected provider: a key and configuration that worked until now are refused at {} endpoints at once",
                    match self.incident.endpoints.len() {
                        1 => "several".to_owned(),
                        n => n.to_string(),
                    }
                )
            }
            (Attribution::Provider, Some(Fault::LocalDns)) => {
                "its name is not resolved while other names are".to_owned()
            }
            (Attribution::Provider, Some(Fault::LocalProxy)) => {
                "the proxy opens no tunnel to it, while others answer through the same proxy"
                    .to_owned()
            }
            (Attribution::Provider, Some(fault)) if fault.is_network() => match self
                .elsewhere
                .first()
            {
                Some(other) => format!("{} answers from here at the same time", other.name),
                None => "the connection fails there, and nothing shows that the network here does"
                    .to_owned(),
            },
            (Attribution::Provider, None) if self.is_slow() => match self.elsewhere.first() {
                Some(other) => format!("it answers late, while {} answers from here", other.name),
                None => "it answers, only late".to_owned(),
            },
            (Attribution::Provider, _) => answered.to_owned(),
        }
    }
}

fn own_trouble(fault: Fault) -> &'static str {
    match fault {
        Fault::LocalDns => "This machine cannot resolve names",
        Fault::LocalUnreachable => "This machine has no route to the network",
        Fault::LocalResources => "This machine is out of resources",
        Fault::LocalClock => "This machine's clock is wrong",
        Fault::LocalProxy => "This machine's proxy fails",
        _ => "This machine's network fails",
    }
}

/// What to do about a fault that is not the provider's.
fn remedy(fault: Fault) -> &'static str {
    match fault {
        Fault::AccountAuth => {
            "See whether the key was revoked, has expired or was replaced, and whether it belongs to this organisation; then change `api_key` \
             and reload."
        }
        Fault::AccountPermission => {
            "Give the key's project or role the right to use this model and API."
        }
        Fault::AccountQuota => {
            "Add credit or raise the spending limit; asking again does not help."
        }
        Fault::AccountRateLimit => {
            "Something else uses the limit up, or it is too low for `interval`: raise the limit, or probe more rarely."
        }
        Fault::AccountRegion => {
            "Probe from an address that the provider accepts, or have this one allowed; a front end may have challenged it."
        }
        Fault::RequestModelNotFound => {
            "Compare `model` (or `deployment`) with the provider's list and its announcements of retirement, then change it and reload."
        }
        Fault::RequestRejected => {
            "The provider's words say which parameter it does not take: see `body`, `reasoning_effort` and `max_tokens` of the endpoint."
        }
        Fault::RequestTooFewTokens => "Raise `max_tokens`, or lower `reasoning_effort`.",
        Fault::AnswerFiltered => "Change `prompt`, or the content filter's settings.",
        Fault::AnswerRefused => "Change `prompt`.",
        Fault::LocalDns => "See to the resolver (`/etc/resolv.conf`, `resolvectl status`).",
        Fault::LocalUnreachable => "See to the interface, the routes and the firewall.",
        Fault::LocalResources => {
            "Raise the limits of the service (`LimitNOFILE`, memory), or lower `max_concurrent_probes`."
        }
        Fault::LocalClock => {
            "Set the clock and keep it set (`timedatectl`): certificates are judged by it."
        }
        Fault::LocalProxy => "See to `proxy` in `[monitor]`.",
        _ => "",
    }
}
