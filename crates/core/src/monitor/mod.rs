//! The daemon's state as a fold over samples. Pure: the daemon, a restart and a simulation call the
//! same functions.
//!
//! [`MonitorState::complete`] adds to a fresh sample what depends on context (attribution,
//! slowness). [`MonitorState::step`] folds a completed sample into the state and returns the
//! effects: rows to commit, rechecks to schedule, events to log. A restart calls `step` on stored
//! samples and drops the effects, because they were committed with the samples.

mod clock_shift;
mod connectivity;
mod context;
mod effect;
mod recent;
mod rehearsal;
mod revision;
mod vendor_feed;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{NaiveDate, TimeZone};
use serde::{Deserialize, Serialize};

use self::connectivity::OfflineState;
use self::context::fingerprint;
pub use self::effect::{Effect, Effects, Fact, Record};
pub use self::recent::Recent;
pub use self::rehearsal::rehearse;
use self::vendor_feed::feeds_about;
use crate::alerting::maintenance::{self, Active};
use crate::config::matchers::{EndpointScope, requires_explicit_resolve, wants_type};
use crate::config::{Config, StatusFeed};
use crate::detect::early_warning::Advisor;
use crate::detect::{
    Blip, Detector, DetectorEvent, FailureReason, LAG_LIMIT_MS, Observation, Pending, Policy,
    ProbeResult, Reader,
};
use crate::incident::attribution::attribute;
use crate::incident::network::{NetworkHistory, NetworkProbe, Peer};
use crate::incident::vendor_status::VendorPages;
use crate::incident::{Change, IncidentContext, IncidentTracker, Usual};
use crate::message;
use crate::message::monitor_notice;
use crate::message::values::Locale;
use crate::model::Announcement;
use crate::model::{
    AlertState, AlertView, Attribution, AttributionRevision, Confirmation, ConnectivityCheckResult,
    Endpoint, EvidenceSample, Fault, Incident, NoticeKind, Official, Outcome, Sample, ShiftClock,
    Status, Timestamp, Warning,
};
use crate::model::{ChannelName, Drills, EndpointName, EndpointView, Snapshot};
use crate::schedule::budget::MAX_ADDED_TOKENS;
use crate::text;

/// Interval between checkpoints. A checkpoint only speeds up a restart: later samples lead to the
/// same state. The interval keeps an outage of hundreds of endpoints from writing all their state
/// hundreds of times.
const CHECKPOINT_EVERY_MS: i64 = 60_000;

/// The state derived from the samples so far, with the configuration that evaluates them.
#[derive(Debug)]
pub struct MonitorState {
    config: Arc<Config>,
    /// Factor on every interval that keeps probing within the budget.
    interval_multiplier: f64,
    /// Detection policy of each endpoint, built once per configuration instead of once per sample.
    policies: BTreeMap<EndpointName, Policy>,
    /// Endpoints by name, built once for the same reason.
    by_name: HashMap<EndpointName, Arc<Endpoint>>,
    /// Endpoints outside this machine's network, for the same reason.
    peers: BTreeMap<EndpointName, Peer>,
    state: State,
    recents: BTreeMap<EndpointName, Recent>,
    checkpoint_at: Timestamp,
    /// The end of the last sample in `recents`.
    remembered: Option<Timestamp>,
    /// Usage today by other daemons that share the budget, in US dollars and tokens.
    spent_elsewhere: Option<(f64, u64)>,
}

/// A checkpoint.
#[derive(Deserialize)]
struct Checkpoint {
    state: State,
    recents: BTreeMap<EndpointName, Recent>,
}

#[derive(Serialize)]
struct CheckpointView<'a> {
    state: &'a State,
    recents: &'a BTreeMap<EndpointName, Recent>,
}

/// The state derived from the samples so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    detector: Detector,
    #[serde(rename = "book")]
    incidents: IncidentTracker,
    #[serde(rename = "blind")]
    offline: Option<OfflineState>,
    /// Whether a receiver may have an open alert under the key that release 0.1 used. The migration
    /// of its store sets this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closes_blind: bool,
    /// Recent network failures, by which the attribution of samples is revised.
    #[serde(default)]
    network: NetworkHistory,
    spent: Spent,
    /// The last known vendor status pages.
    #[serde(default)]
    pages: VendorPages,
    /// Fingerprint of each endpoint's last known configuration.
    #[serde(default)]
    fingerprints: BTreeMap<EndpointName, u64>,
    /// When an endpoint's configuration last changed. Successes before that do not count.
    #[serde(default)]
    configured: BTreeMap<EndpointName, Timestamp>,
    /// The advice given so far.
    #[serde(default)]
    advisor: Advisor,
    /// The end of the last sample.
    #[serde(default)]
    latest: Option<Timestamp>,
}

/// Usage of probing on one local day.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Spent {
    day: NaiveDate,
    usd: f64,
    tokens: u64,
    over: bool,
    /// Implausible usage reported for an endpoint; it counts against that endpoint alone.
    #[serde(default)]
    excess: BTreeMap<EndpointName, Excess>,
}

/// Usage reported for one endpoint beyond what its probes should use. Tokens are capped at what the
/// bytes of a request and the answer limit allow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Excess {
    usd: f64,
    tokens: u64,
    over: bool,
}

impl MonitorState {
    /// Creates the state before the first sample.
    pub fn new(config: Arc<Config>, interval_multiplier: f64) -> Self {
        let policies = policies(&config, interval_multiplier);
        let state = State {
            fingerprints: fingerprints(&config),
            ..State::default()
        };
        let recents = BTreeMap::new();
        Self {
            by_name: by_name(&config),
            peers: revision::peers(&config),
            config,
            interval_multiplier,
            policies,
            state,
            recents,
            checkpoint_at: Timestamp(0),
            remembered: None,
            spent_elsewhere: None,
        }
    }

    /// Restores the state from `checkpoint`, evaluated with `config` from `at` on. A checkpoint of
    /// release 0.1 [lacks recent samples](Self::has_recents), which have to be
    /// [recorded](Self::remember) again.
    ///
    /// # Errors
    /// When the checkpoint has the format of another release; the fold then starts from the
    /// samples.
    pub fn resume(
        config: Arc<Config>,
        interval_multiplier: f64,
        checkpoint: &str,
        at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let mut core = Self::new(config, interval_multiplier);
        match serde_json::from_str::<Checkpoint>(checkpoint) {
            Ok(checkpoint) => {
                core.state = checkpoint.state;
                core.recents = checkpoint.recents;
                core.remembered = core.state.latest;
                let policies = &core.policies;
                core.recents.retain(|name, _| policies.contains_key(name));
            }
            Err(_) => core.state = serde_json::from_str(checkpoint)?,
        }
        core.notice_changes(at);
        Ok(core)
    }

    /// Reports whether the state has recent samples.
    pub fn has_recents(&self) -> bool {
        !self.recents.is_empty()
    }

    /// The configuration that evaluates the samples.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Serializes the state as a checkpoint.
    pub fn checkpoint(&self) -> String {
        // Serializing plain data with string keys cannot fail.
        let state = &self.state;
        let recents = &self.recents;
        serde_json::to_string(&CheckpointView { state, recents }).unwrap_or_default()
    }

    /// Adds a sample to the recent samples only, not to the rest of the state.
    pub fn remember(&mut self, sample: &Sample) {
        self.follow_recents(sample.ended_at());
        let recent = self.recents.entry(sample.endpoint.clone()).or_default();
        recent.record(sample);
        if self
            .state
            .configured
            .get(&sample.endpoint)
            .is_some_and(|since| sample.started_at < *since)
        {
            recent.begin_anew();
        }
    }

    /// Detects endpoints whose configuration changed and forgets their earlier successes, as of
    /// `at`.
    fn notice_changes(&mut self, at: Timestamp) {
        let now = fingerprints(&self.config);
        let before = std::mem::replace(&mut self.state.fingerprints, now);
        for (name, now) in &self.state.fingerprints {
            if before.get(name).is_some_and(|before| before != now) {
                self.state.configured.insert(name.clone(), at);
                if let Some(recent) = self.recents.get_mut(name) {
                    recent.begin_anew();
                }
            }
        }
    }

    /// Applies another configuration. Closes the incidents of removed endpoints.
    pub fn follow(
        &mut self,
        config: Arc<Config>,
        interval_multiplier: f64,
        at: Timestamp,
    ) -> Effects {
        self.policies = policies(&config, interval_multiplier);
        self.by_name = by_name(&config);
        self.peers = revision::peers(&config);
        (self.config, self.interval_multiplier) = (config, interval_multiplier);
        self.notice_changes(at);
        let policies = &self.policies;
        self.state
            .detector
            .retain(|name| policies.contains_key(name));
        self.state
            .network
            .retain(|name| policies.contains_key(name));
        self.recents.retain(|name, _| policies.contains_key(name));
        self.state
            .advisor
            .retain(|name| policies.contains_key(name));
        self.state
            .configured
            .retain(|name, _| policies.contains_key(name));
        let feeds: Vec<_> = self
            .config
            .status_feeds
            .iter()
            .map(StatusFeed::key)
            .collect();
        self.state
            .pages
            .retain(|feed| feeds.iter().any(|f| f == feed));
        let closed = self
            .state
            .incidents
            .forget(at, |name| policies.contains_key(name));
        let mut step = Effects::default();
        step.incidents_changed(
            closed.into_iter().map(|i| (Change::Resolved, i)).collect(),
            at,
            &self.config.monitor.location,
            &self.locale(),
        );
        self.follow_budget(&mut step, at);
        step.record(Record::Checkpoint(self.checkpoint()));
        step
    }

    /// Applies the current configuration again. Closes the incidents of endpoints that were removed
    /// while the daemon was stopped.
    pub fn settle(&mut self, at: Timestamp) -> Effects {
        self.follow(self.config.clone(), self.interval_multiplier, at)
    }

    /// Adds to a fresh sample what depends on context: its attribution, and whether it was slow.
    pub fn complete(
        &self,
        mut sample: Sample,
        connectivity: Option<ConnectivityCheckResult>,
    ) -> Sample {
        if let Some(fault) = sample.fault {
            sample.attribution = Some(attribute(fault, self.context(&sample, fault, connectivity)));
        } else if let Some(endpoint) = self.endpoint(&sample.endpoint) {
            let typical = self
                .state
                .detector
                .typical(&self.policies, &sample.endpoint);
            let factor = endpoint.detection.slow_factor;
            if sample.schedule_lag_ms <= LAG_LIMIT_MS
                && (exceeds(sample.first_token_ms, typical.first_token_ms, factor)
                    || exceeds(sample.total_ms, typical.total_ms, factor))
            {
                sample.outcome = Outcome::Slow;
            }
        }
        sample
    }

    /// Folds a completed sample into the state. A stored sample is folded as it was recorded.
    pub fn step(&mut self, sample: Sample) -> Effects {
        let sample = sample.as_recorded();
        let mut step = Effects::default();
        let Some(endpoint) = self.endpoint(&sample.endpoint).cloned() else {
            return step;
        };
        let at = sample.ended_at();
        self.follow_back(at);
        let revisions = self.state.network.record(
            &self.peers,
            &sample.endpoint,
            &sample.location,
            &NetworkProbe::of(&sample),
        );
        // A network problem affects the status of every endpoint.
        let wide = self.state.offline.is_some()
            || sample.attribution == Some(Attribution::Local)
            || !revisions.is_empty();
        let shown = (!wide).then_some(endpoint.name.as_str());
        let before = self.statuses(shown, at);
        let observation = self.observation(&endpoint, &sample);
        let pending_before = self.state.detector.pending_since(&endpoint.name);
        let policies = &self.policies;
        let detector = &mut self.state.detector;
        let mut verdict = detector.observe_restored(policies, &revisions);
        verdict.extend(detector.observe(policies, &observation));
        let withdrawn = detector.take_back_revised(&revisions, &mut verdict);
        self.remember(&sample);
        self.revise_recents(&revisions);
        let is_revised = revisions.iter().any(|revision| revision.covers(&sample));
        let changes = self.update_incidents(&sample, &verdict.notes, withdrawn);
        if !is_revised {
            let is_offline = observation.result == ProbeResult::Offline;
            self.see(&mut step, &endpoint, &sample, is_offline);
        }
        step.recheck(verdict.rechecks);
        if sample.attribution == Some(Attribution::Account) {
            step.recheck(self.siblings_to_recheck(&endpoint, &sample));
        }
        step.record(Record::Sample(Box::new(sample.clone())));
        self.record_revisions(&mut step, revisions);
        for blip in verdict.blips {
            self.state.advisor.remember_brief(&blip);
            step.log(self.detection_cleared(&endpoint, blip));
        }
        let pending = self.state.detector.pending(&self.policies, &endpoint.name);
        if let Some(pending) = pending.filter(|p| pending_before != Some(p.since)) {
            step.log(Fact::DetectionPending {
                endpoint: endpoint.name.clone(),
                provider: endpoint.provider,
                pending,
                fault: sample.fault,
            });
        }
        let location = &self.config.monitor.location;
        step.incidents_changed(changes, at, location, &self.locale());
        self.log_status_changes(&mut step, &before, &self.statuses(shown, at));
        self.advise(&mut step, &endpoint, &sample);
        self.spend(&mut step, &sample);
        // A restarted daemon starts probing from the checkpoint, before it reads later samples. So
        // a pause must be in the checkpoint.
        let pauses = step.pause_until().is_some() || step.pauses().next().is_some();
        if pauses || at.since_ms(self.checkpoint_at).abs() >= CHECKPOINT_EVERY_MS {
            self.checkpoint_at = at;
            step.record(Record::Checkpoint(self.checkpoint()));
        }
        step
    }

    /// Applies to the incidents what the detector found about a sample, and takes back those whose
    /// failures were revised. Returns what changed.
    fn update_incidents(
        &mut self,
        sample: &Sample,
        notes: &[DetectorEvent],
        withdrawn: Vec<&AttributionRevision>,
    ) -> Vec<(Change, Incident)> {
        let mut changes = Vec::new();
        if !notes.is_empty()
            || !withdrawn.is_empty()
            || self.state.incidents.concerns(&sample.endpoint)
        {
            let confirmation = sample
                .fault
                .filter(|_| sample.attribution == Some(Attribution::Provider))
                .and_then(|fault| self.confirmation(sample, fault));
            let context = MonitorContext {
                config: &self.config,
                by_name: &self.by_name,
                recents: &self.recents,
                pages: &self.state.pages,
                without_incidents: self.free_of_incidents(),
                confirmation,
            };
            let incidents = &mut self.state.incidents;
            for revision in withdrawn {
                changes.extend(incidents.take_back(revision, sample.ended_at(), &context));
            }
            changes.extend(incidents.apply(notes, sample, &context));
        }
        for name in self.state.incidents.take_withdrawn() {
            self.state.detector.withdraw(&name);
        }
        changes
    }

    fn log_status_changes(
        &self,
        step: &mut Effects,
        before: &BTreeMap<EndpointName, Status>,
        after: &BTreeMap<EndpointName, Status>,
    ) {
        for (name, now) in after {
            if let Some(was) = before.get(name).filter(|was| *was != now)
                && let Some(endpoint) = self.endpoint(name)
            {
                step.log(Fact::StatusChanged {
                    endpoint: name.clone(),
                    provider: endpoint.provider,
                    was: *was,
                    now: *now,
                });
            }
        }
    }

    /// Announces and logs the advice that follows from a sample.
    fn advise(&mut self, step: &mut Effects, endpoint: &Endpoint, sample: &Sample) {
        let at = sample.ended_at();
        let locale = self.locale();
        let patterns = self.state.detector.patterns(&endpoint.name);
        let advisor = &mut self.state.advisor;
        let mut advice = advisor.consider(endpoint, sample, &locale);
        advice.extend(advisor.consider_patterns(&endpoint.name, &patterns, at, &locale));
        let endpoints = &self.config.endpoints;
        advice.extend(advisor.consider_group(endpoint, sample, endpoints, &locale));
        for advice in advice {
            let only = self.asking_for_advice(&endpoint.name);
            if !only.is_empty() {
                step.announce(Announcement::advice(&advice, only, at));
            }
            step.log(Fact::Advice {
                provider: endpoint.provider,
                advice,
            });
        }
    }

    /// The latest bad samples of an open incident.
    fn bad_samples_of(&self, incident: &Incident) -> Vec<EvidenceSample> {
        let recents = incident.endpoints.iter();
        let recents = recents.filter_map(|name| self.recents.get(name));
        let bad = recents.flat_map(|recent| recent.bad_since(incident.started_at));
        crate::incident::latest(bad.cloned().collect())
    }

    /// Returns a snapshot as of `now`.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let windows = maintenance::active(&self.config, now);
        let pending = self.state.detector.all_pending(&self.policies);
        Snapshot {
            at: now,
            location: self.config.monitor.location.clone(),
            offline_since: self.state.offline.as_ref().map(|b| b.since),
            budget_spent: self.state.spent.over,
            spent_today_usd: if self.state.spent.day == self.local_day(now) {
                self.state.spent.usd
            } else {
                0.0
            },
            last_recorded_at: None,
            store_error: None,
            leaders: BTreeMap::new(),
            locations: Vec::new(),
            partners: Vec::new(),
            differences: Vec::new(),
            alone_since: None,
            spooled: 0,
            endpoints: self
                .config
                .endpoints
                .iter()
                .map(|e| self.view(e, &windows, pending.get(&e.name), now))
                .collect(),
            incidents: self
                .state
                .incidents
                .open()
                .map(|i| {
                    let mut incident = i.clone();
                    let bad = self.bad_samples_of(i);
                    if !bad.is_empty() {
                        incident.evidence.samples = bad;
                    }
                    incident.duration_s = now.since_ms(i.started_at).max(0) as f64 / 1000.0;
                    incident.place(&self.config.monitor.location);
                    message::incident::narrate(&mut incident, &self.locale());
                    incident
                })
                .collect(),
            advice: self.state.advisor.standing().to_vec(),
            shared_fate: self.state.advisor.shared().cloned().collect(),
            silences: Vec::new(),
            annotations: Vec::new(),
            maintenance: windows.iter().map(|w| w.view(&self.config)).collect(),
            outbox: Vec::new(),
            drills: Drills::default(),
            official: self.vendors(),
        }
    }

    /// When this machine went offline, if it is offline.
    pub fn offline_since(&self) -> Option<Timestamp> {
        self.state.offline.as_ref().map(|b| b.since)
    }

    /// Returns the advice that still applies, as sentences.
    pub fn advice(&self) -> Vec<String> {
        let locale = self.locale();
        self.state
            .advisor
            .standing()
            .iter()
            .filter(|a| self.endpoint(&a.endpoint).is_some())
            .map(|a| format!("{}. {}", a.text, locale.say(a.kind.remedy())))
            .collect()
    }

    /// The channels that want advice about the endpoint of this name.
    fn asking_for_advice(&self, name: &str) -> Vec<ChannelName> {
        self.config
            .channels
            .iter()
            .filter(|c| {
                let scope = EndpointScope {
                    endpoints: &c.filters.endpoints,
                    providers: &c.filters.providers,
                    groups: &c.filters.groups,
                };
                wants_type(&c.filters, NoticeKind::Advice) && scope.covers(name, &self.config)
            })
            .map(|c| c.name.clone())
            .collect()
    }

    /// Makes the number of the next incident greater than `last`.
    pub fn number_after(&mut self, last: u64) {
        self.state.incidents.number_after(last);
    }

    /// Returns the end of the probing pause, if today's budget is used up.
    pub fn rest_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.state.spent.over && self.state.spent.day == self.local_day(now))
            .then(|| self.next_midnight(now))
    }

    fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.by_name.get(name)
    }

    /// Returns the status of the endpoint `only`, or of all endpoints.
    fn statuses(&self, only: Option<&str>, at: Timestamp) -> BTreeMap<EndpointName, Status> {
        let windows = maintenance::active(&self.config, at);
        let asked = match only {
            Some(name) => self.endpoint(name).map(std::slice::from_ref),
            None => Some(self.config.endpoints.as_slice()),
        };
        asked
            .unwrap_or_default()
            .iter()
            .map(|e| (e.name.clone(), self.status_of(e, &windows, at).0))
            .collect()
    }

    fn observation(&self, endpoint: &Endpoint, sample: &Sample) -> Observation {
        let interval = endpoint.interval.mul_f64(self.interval_multiplier);
        let has_connectivity_checks = self.config.checks_cover(endpoint);
        let reader = Reader {
            interval,
            limits: &endpoint.slow,
            has_connectivity_checks,
        };
        let mut observation = reader.observe(sample);
        if let ProbeResult::Failed { reason, .. } = &mut observation.result
            && *reason != FailureReason::RateLimited
            && self.is_on_vendor_page(endpoint, observation.end)
        {
            *reason = FailureReason::Admitted;
        }
        observation
    }

    fn free_of_incidents(&self) -> Vec<EndpointName> {
        self.config
            .endpoints
            .iter()
            .filter(|e| self.is_free_of_incidents(&e.name))
            .map(|e| e.name.clone())
            .collect()
    }

    /// Reports whether the endpoint's last probe was answered and no incident concerns it.
    fn is_free_of_incidents(&self, name: &str) -> bool {
        let last = self.recents.get(name).and_then(Recent::last);
        self.state.incidents.of(name).is_none()
            && self.state.incidents.explained(name).is_none()
            && last.is_some_and(|(_, outcome, _)| outcome != Outcome::Failed)
    }

    fn view(
        &self,
        endpoint: &Arc<Endpoint>,
        windows: &[Active<'_>],
        pending: Option<&Pending>,
        now: Timestamp,
    ) -> EndpointView {
        let (status, reason) = self.status_of(endpoint, windows, now);
        let typical = self
            .state
            .detector
            .typical(&self.policies, &endpoint.name)
            .first_token_ms;
        let none = Recent::default();
        let mut view = self
            .recents
            .get(&endpoint.name)
            .unwrap_or(&none)
            .view(endpoint, now, status, reason, typical);
        view.usual_hours = self.state.detector.usual_hours(&endpoint.name);
        view.alert = self.alert_of(&endpoint.name, pending);
        // An endpoint with a pending alert is not reported as healthy.
        if let Some(reason) = message::headline::pending_reason(&view, &self.locale())
            && matches!(view.status, Status::Operational | Status::Unknown)
        {
            view.status = Status::Unknown;
            view.reason = Some(reason);
        }
        view
    }

    /// Returns the firing or pending alert of the endpoint of this name.
    fn alert_of(&self, name: &str, pending: Option<&Pending>) -> AlertView {
        if let Some(incident) = self.state.incidents.of(name) {
            return AlertView {
                state: AlertState::Firing,
                failed: incident.evidence.failed,
                probes: incident.evidence.probes,
                since: Some(incident.started_at),
                earliest_alert_at: None,
                is_slow: incident.cause.is_slow(),
            };
        }
        if self.state.incidents.explained(name).is_some() {
            return AlertView {
                state: AlertState::Firing,
                ..AlertView::default()
            };
        }
        if self.state.offline.is_some() {
            return AlertView::default();
        }
        pending.map_or_else(AlertView::default, |pending| AlertView {
            state: AlertState::Pending,
            failed: pending.failed,
            probes: pending.probes,
            since: Some(pending.since),
            earliest_alert_at: Some(pending.earliest_alert_at),
            is_slow: pending.cause.is_slow(),
        })
    }

    /// Returns the status of an endpoint and a short reason. An endpoint that was not measured is
    /// unknown, not down.
    fn status_of(
        &self,
        endpoint: &Endpoint,
        windows: &[Active<'_>],
        now: Timestamp,
    ) -> (Status, Option<String>) {
        let locale = self.locale();
        let unknown = |why: &'static str| (Status::Unknown, Some(locale.say(why).to_owned()));
        if let Some(window) = windows.iter().find(|w| w.scope().includes(endpoint)) {
            let name = &window.maintenance.name;
            let until = locale.time_short(window.until, now);
            return (
                Status::Maintenance,
                Some(text!(locale, "{name}, until {until}", name, until)),
            );
        }
        if self.state.offline.is_some() {
            return unknown("this machine is offline");
        }
        if let Some(incident) = self.state.incidents.of(&endpoint.name) {
            // A rejected key or a broken resolver says nothing about the provider.
            let measured = incident.attribution == Attribution::Provider;
            return (
                if measured {
                    incident.status
                } else {
                    Status::Unknown
                },
                Some(message::incident::title(incident, &self.locale())),
            );
        }
        if let Some((status, by)) = self.state.incidents.explained(&endpoint.name) {
            let why = match by {
                Some(incident) => {
                    let number = incident.number;
                    text!(locale, "caused by incident {number} (dependency)", number)
                }
                None => locale
                    .say("still failing after its dependency recovered")
                    .to_owned(),
            };
            return (status, Some(why));
        }
        if self.rest_until(now).is_some() {
            return unknown("today's probing budget is used up");
        }
        let excess = self.state.spent.excess.get(&endpoint.name);
        if excess.is_some_and(|e| e.over) && self.state.spent.day == self.local_day(now) {
            return unknown("its own probing budget is used up by implausible usage figures");
        }
        let recent = self.recents.get(&endpoint.name);
        let Some((last, outcome, _)) = recent.and_then(Recent::last) else {
            return unknown("not probed yet");
        };
        if outcome == Outcome::Failed && recent.and_then(Recent::good_at).is_none() {
            return unknown("no good probe yet");
        }
        let patience =
            endpoint.interval.mul_f64(self.interval_multiplier * 3.0) + endpoint.timeouts.total;
        if now > last + patience {
            unknown("no recent probe")
        } else {
            (Status::Operational, None)
        }
    }

    /// Builds the log event of a pending alert that cleared, so that operators can tune the
    /// settings on their own history.
    fn detection_cleared(&self, endpoint: &Endpoint, blip: Blip) -> Fact {
        let mut faults: BTreeMap<Fault, u32> = BTreeMap::new();
        for bad in self
            .recents
            .get(&blip.endpoint)
            .into_iter()
            .flat_map(|r| r.bad_since(blip.started_at))
        {
            if let Some(fault) = bad.fault.filter(|_| bad.started_at <= blip.ended_at) {
                *faults.entry(fault).or_default() += 1;
            }
        }
        Fact::DetectionCleared {
            provider: endpoint.provider,
            blip,
            faults,
        }
    }

    /// Counts the cost of the sample. Announces once when the day's budget is used up.
    fn spend(&mut self, step: &mut Effects, sample: &Sample) {
        let day = self.local_day(sample.started_at);
        let spent = &mut self.state.spent;
        if spent.day != day {
            self.spent_elsewhere = self.spent_elsewhere.map(|_| (0.0, 0));
            let was_over = spent.over;
            *spent = Spent {
                day,
                ..Spent::default()
            };
            if was_over {
                step.announce(self.budget_reset(sample.started_at));
            }
        }
        let (usd, tokens) = self.believable_use(step, sample);
        let spent = &mut self.state.spent;
        spent.usd += usd;
        spent.tokens = spent.tokens.saturating_add(tokens);
        self.judge_budget(step, sample.ended_at());
    }

    /// Pauses probing, and announces it once, if the day's budget is used up.
    fn judge_budget(&mut self, step: &mut Effects, at: Timestamp) {
        if self.state.spent.over || !self.is_budget_used_up() {
            return;
        }
        let until = self.next_midnight(at);
        let spent = &mut self.state.spent;
        spent.over = true;
        let usd = spent.usd;
        let tokens = spent.tokens;
        step.log(Fact::BudgetExhausted { usd, tokens, until });
        step.announce(monitor_notice::budget_exhausted(
            &self.config.monitor.location,
            at,
            &self.locale(),
        ));
        step.push(Effect::PauseProbing { until });
    }

    /// Compares what was spent today with a budget that was reconfigured. Probing resumes if it was
    /// raised.
    fn follow_budget(&mut self, step: &mut Effects, at: Timestamp) {
        if self.state.spent.day != self.local_day(at) {
            return;
        }
        // What the others have spent is not known until the shared store answers.
        let is_known = !self.config.budget.shared || self.spent_elsewhere.is_some();
        if self.state.spent.over && is_known && !self.is_budget_used_up() {
            self.state.spent.over = false;
            step.announce(self.budget_reset(at));
            step.push(Effect::PauseProbing { until: at });
        }
        self.judge_budget(step, at);
    }

    fn is_budget_used_up(&self) -> bool {
        let budget = self.config.budget;
        let spent = &self.state.spent;
        let (usd_elsewhere, tokens_elsewhere) = self.spent_elsewhere.unwrap_or_default();
        let all_usd = spent.usd + usd_elsewhere;
        // Probes that cost nothing may go on where nothing may be spent.
        (all_usd > 0.0 && all_usd >= budget.daily_usd)
            || budget
                .daily_tokens
                .is_some_and(|limit| spent.tokens.saturating_add(tokens_elsewhere) >= limit)
    }

    /// Returns what a sample adds to the shared budget, in US dollars and tokens. If its usage is
    /// implausible, only the expected part counts. The rest counts against the endpoint alone and
    /// may pause it until midnight.
    fn believable_use(&mut self, step: &mut Effects, sample: &Sample) -> (f64, u64) {
        let usd = sample.cost_usd.unwrap_or(0.0);
        let tokens = u64::from(sample.input_tokens.unwrap_or(0))
            .saturating_add(u64::from(sample.output_tokens.unwrap_or(0)));
        if !sample.warnings.contains(&Warning::UsageImplausible) {
            return (usd, tokens);
        }
        let Some(endpoint) = self.endpoint(&sample.endpoint).cloned() else {
            return (0.0, 0);
        };
        let (input, output) = endpoint.expected_tokens;
        let expected_usd = endpoint
            .price
            .map_or(0.0, |p| p.cost(input, output))
            .min(usd);
        let expected = u64::from(input)
            .saturating_add(u64::from(output))
            .min(tokens);
        let asked = endpoint.body.as_deref().unwrap_or(&endpoint.prompt).len() as u64;
        let most = asked
            .saturating_add(u64::from(endpoint.max_tokens))
            .saturating_add(2 * u64::from(MAX_ADDED_TOKENS));
        let budget = self.config.budget;
        let all = &mut self.state.spent.excess;
        let excess = all.entry(sample.endpoint.clone()).or_default();
        excess.usd += usd - expected_usd;
        excess.tokens = excess
            .tokens
            .saturating_add(tokens.min(most).saturating_sub(expected));
        let is_over = excess.usd > 0.0 && excess.usd >= budget.daily_usd
            || budget
                .daily_tokens
                .is_some_and(|limit| excess.tokens >= limit);
        if is_over && !excess.over {
            excess.over = true;
            let excess = *excess;
            self.pause_endpoint(step, sample, excess);
        }
        (expected_usd, expected)
    }

    fn pause_endpoint(&self, step: &mut Effects, sample: &Sample, excess: Excess) {
        let until = self.next_midnight(sample.ended_at());
        let name = &sample.endpoint;
        let usd = excess.usd;
        let tokens = excess.tokens;
        step.log(Fact::EndpointPaused {
            endpoint: name.clone(),
            usd,
            tokens,
            until,
        });
        step.push(Effect::PauseEndpoint {
            endpoint: name.clone(),
            until,
        });
    }

    /// Sets what all daemons of a shared store have spent today, in US dollars and tokens, this one
    /// included.
    pub fn spent_by_all(&mut self, usd: f64, tokens: u64) {
        let spent = &self.state.spent;
        self.spent_elsewhere = Some((
            (usd - spent.usd).max(0.0),
            tokens.saturating_sub(spent.tokens),
        ));
    }

    /// Factor on every interval; 1 or more.
    pub fn interval_multiplier(&self) -> f64 {
        self.interval_multiplier
    }

    /// The endpoints paused because of their own excess usage, and until when.
    pub fn paused(&self, now: Timestamp) -> Vec<(EndpointName, Timestamp)> {
        let spent = &self.state.spent;
        if spent.day != self.local_day(now) {
            return Vec::new();
        }
        let over = spent.excess.iter().filter(|(_, excess)| excess.over);
        over.map(|(name, _)| (name.clone(), self.next_midnight(now)))
            .collect()
    }

    /// Builds the budget-reset announcement for receivers that keep an alert open until it is
    /// resolved. People know when it is midnight.
    fn budget_reset(&self, at: Timestamp) -> Announcement {
        let channels = self.config.channels.iter();
        let keepers = channels
            .filter(|c| requires_explicit_resolve(c) && wants_type(&c.filters, NoticeKind::Budget));
        let only = keepers.map(|c| c.name.clone()).collect();
        monitor_notice::budget_reset(&self.config.monitor.location, only, at, &self.locale())
    }

    /// Locale of this monitor's texts.
    pub fn locale(&self) -> Locale {
        Locale::of(&self.config)
    }

    fn local_day(&self, at: Timestamp) -> NaiveDate {
        at.to_datetime()
            .with_timezone(&self.config.monitor.timezone)
            .date_naive()
    }

    /// Returns the first midnight after `at` in the configured time zone, or the next valid hour if
    /// a clock change skips midnight.
    fn next_midnight(&self, at: Timestamp) -> Timestamp {
        let zone = self.config.monitor.timezone;
        let tomorrow = self.local_day(at).succ_opt().unwrap_or(NaiveDate::MAX);
        (0..3)
            .filter_map(|hour| tomorrow.and_hms_opt(hour, 0, 0))
            .find_map(|t| zone.from_local_datetime(&t).earliest())
            .map_or(Timestamp(at.0 + 86_400_000), |t| {
                Timestamp(t.timestamp_millis())
            })
    }
}

fn by_name(config: &Config) -> HashMap<EndpointName, Arc<Endpoint>> {
    let endpoints = config.endpoints.iter();
    endpoints.map(|e| (e.name.clone(), e.clone())).collect()
}

/// Reports whether a latency is more than `factor` times the typical one.
fn exceeds(now: Option<f64>, typical: Option<f64>, factor: f64) -> bool {
    now.zip(typical)
        .is_some_and(|(now, typical)| now > typical * factor)
}

/// Builds the detection policy of each endpoint of `config`.
fn policies(config: &Config, interval_multiplier: f64) -> BTreeMap<EndpointName, Policy> {
    let mut policies = BTreeMap::new();
    for endpoint in &config.endpoints {
        let interval = endpoint.interval.mul_f64(interval_multiplier);
        let policy = Policy::new(&endpoint.detection, interval, endpoint.domain());
        policies.insert(endpoint.name.clone(), policy);
    }
    policies
}

/// Computes a fingerprint of each endpoint's configuration that does not reveal it.
fn fingerprints(config: &Config) -> BTreeMap<EndpointName, u64> {
    config
        .endpoints
        .iter()
        .map(|e| (e.name.clone(), fingerprint(e)))
        .collect()
}

struct MonitorContext<'a> {
    config: &'a Config,
    by_name: &'a HashMap<EndpointName, Arc<Endpoint>>,
    recents: &'a BTreeMap<EndpointName, Recent>,
    pages: &'a VendorPages,
    without_incidents: Vec<EndpointName>,
    confirmation: Option<Confirmation>,
}

impl IncidentContext for MonitorContext<'_> {
    fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    fn bad_samples(&self, name: &str, from: Timestamp) -> Vec<EvidenceSample> {
        self.recents
            .get(name)
            .map(|r| r.bad_since(from).cloned().collect())
            .unwrap_or_default()
    }

    fn faults(&self, name: &str, from: Timestamp) -> BTreeMap<Fault, u32> {
        self.recents
            .get(name)
            .map(|r| r.faults_since(from))
            .unwrap_or_default()
    }

    fn working(&self) -> Vec<&Endpoint> {
        self.without_incidents
            .iter()
            .filter_map(|name| self.endpoint(name))
            .collect()
    }

    fn size_of(&self, domain: &str) -> usize {
        self.config
            .endpoints
            .iter()
            .filter(|e| e.domain() == domain)
            .count()
    }

    fn has_worked(&self, name: &str) -> bool {
        self.recents.get(name).and_then(Recent::good_at).is_some()
    }

    fn usual(&self, name: &str) -> Usual {
        let (total_ms, tokens_per_second) = self
            .recents
            .get(name)
            .map(Recent::usual)
            .unwrap_or_default();
        Usual {
            total_ms,
            tokens_per_second,
        }
    }

    fn last_fault(&self, name: &str) -> Option<Fault> {
        self.recents.get(name).and_then(Recent::last)?.2
    }

    fn confirmation(&self) -> Option<Confirmation> {
        self.confirmation.clone()
    }

    fn official(&self, incident: &Incident) -> Official {
        let feeds = feeds_about(self.config, incident);
        feeds.map_or_else(
            || incident.official.clone(),
            |feeds| self.pages.about(incident, &feeds),
        )
    }
}

impl ShiftClock for State {
    fn shift_clock(&mut self, by_ms: i64) {
        // The budget, the vendors' pages and the advice follow the calendar.
        let Self {
            detector,
            incidents,
            offline,
            network,
            configured,
            latest,
            spent: _,
            pages: _,
            fingerprints: _,
            advisor: _,
            closes_blind: _,
        } = self;
        detector.shift_clock(by_ms);
        incidents.shift_clock(by_ms);
        offline.shift_clock(by_ms);
        network.shift_clock(by_ms);
        configured.shift_clock(by_ms);
        latest.shift_clock(by_ms);
    }
}
