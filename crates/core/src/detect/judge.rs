//! Judges one observation about the provider: an alert of the endpoint opens, becomes worse or
//! ends, alone or together with others of its failure domain.

use super::events::{EventSink, NoteFigures};
use super::judged::Judged;
use super::recheck::FIRST_RECHECK_MS;
use super::recovery::Alert;
use super::slowness::{Steps, worst};
use super::{
    AlertKind, Cleared, DetectedCause, Detector, DetectorEventKind, EndpointState, FailureReason,
    Observation, PROVIDER_SLOW_MS, Pair, Policy, Probe, ProbeResult, Shared, Verdict,
};

/// How an alert opens.
struct OpeningPlan {
    event: DetectorEventKind,
    /// Whether it is part of an incident of the failure domain.
    is_grouped: bool,
    shared: Option<Shared>,
}

impl OpeningPlan {
    const ALONE: Self = Self {
        event: DetectorEventKind::Open,
        is_grouped: false,
        shared: None,
    };

    fn grouped(event: DetectorEventKind) -> Self {
        Self {
            event,
            is_grouped: true,
            shared: None,
        }
    }
}

impl DetectedCause {
    fn alert_kind(self) -> AlertKind {
        if self.is_slow() {
            AlertKind::Slow
        } else {
            AlertKind::Errors
        }
    }
}

impl Detector {
    /// Updates the meters and the alert, and decides when the endpoint is probed next.
    pub(super) fn judge(
        &mut self,
        judged: Judged<'_>,
        own: &mut EndpointState,
        verdict: &mut Verdict,
    ) {
        let policy = judged.policy;
        if Self::is_cold_start(policy, own, judged.seen) {
            return;
        }
        let steps = own
            .slow
            .compare(policy, judged.end(), judged.reading().as_ref());
        let is_brief = self.may_be_brief(judged, own);
        let was_open = own.alert.is_some();
        let is_down = errors_are_due(judged, own, verdict) && !is_brief;
        let mut lagging = false;
        if was_open {
            if is_down {
                self.turn_to_errors(judged, own, verdict);
            }
            self.end_if_recovered(judged, own, steps, verdict);
        } else {
            lagging = is_lagging(judged, own, steps, verdict);
            let cause = if is_down {
                Some(DetectedCause::Errors)
            } else if lagging && own.slow.is_due(policy, judged.end()) {
                Some(DetectedCause::Slow)
            } else if policy.siblings {
                self.confirmed_by_siblings(judged, own, lagging)
                    .filter(|cause| cause.is_slow() || !is_brief)
            } else {
                None
            };
            if let Some(cause) = cause {
                self.open(judged, own, cause, verdict);
            }
        }
        if own
            .alert
            .as_ref()
            .is_some_and(|a| a.why == AlertKind::Errors)
        {
            let domain = self.domains.entry(policy.domain.clone()).or_default();
            domain.brief.alert(judged.start());
        }
        own.learn(policy, judged.end(), judged.reading(), judged.failed());
        self.schedule_recheck(judged, own, lagging, verdict);
    }

    /// Reports whether the probe is held back because the server may have been cold. Counts the
    /// previous one if that turns out to be something else.
    fn is_cold_start(policy: &Policy, own: &mut EndpointState, seen: &Observation) -> bool {
        let start = seen.start.0;
        let end = seen.end.0;
        let first_token_ms = match seen.result {
            ProbeResult::Good(reading) => reading.map(|r| r.first_token_ms),
            _ => None,
        };
        let probe = Probe {
            start,
            end,
            after_pause: start >= own.tick,
            failed: matches!(seen.result, ProbeResult::Failed { .. }),
            timed_out: matches!(
                seen.result,
                ProbeResult::Failed {
                    reason: FailureReason::TimedOut,
                    ..
                }
            ),
            first_token_ms,
            typical_ms: own.slow.typical(policy, None).first_token_ms,
        };
        own.tick = seen.next_tick.0;
        match own.cold.judge_first(policy, &probe) {
            Pair::Other(Some(first)) if first.failed && own.alert.is_none() => {
                own.errors.observe(
                    policy,
                    first.start,
                    first.end,
                    Some(FailureReason::TimedOut),
                    false,
                );
            }
            _ => {}
        }
        let held = own.alert.is_none() && own.cold.holds(policy, &probe);
        if held {
            let want = end + FIRST_RECHECK_MS;
            own.rechecks.next_start = want.min(seen.next_tick.0).max(end + 1);
        }
        held
    }

    /// Reports whether this may be a recurring brief outage of the failure domain, which is not
    /// reported yet. Once an outage turns out to be another one, its failures count.
    fn may_be_brief(&mut self, judged: Judged<'_>, own: &mut EndpointState) -> bool {
        let domain = self
            .domains
            .entry(judged.policy.domain.clone())
            .or_default();
        domain.brief.observe(
            &judged.seen.endpoint,
            (judged.start(), judged.end()),
            judged.failed(),
        );
        let until = domain.brief.explains_until(judged.policy);
        let is_brief = until.is_some_and(|until| judged.end() < until);
        let was_held = std::mem::replace(&mut own.held, is_brief);
        if was_held && !is_brief && until.is_some() {
            own.errors.hold_back(judged.policy);
        }
        is_brief
    }

    /// Turns an alert about slowness into one about errors.
    fn turn_to_errors(
        &mut self,
        judged: Judged<'_>,
        own: &mut EndpointState,
        verdict: &mut Verdict,
    ) {
        let Some(alert) = own.alert.as_mut() else {
            return;
        };
        alert.turn_to_errors(&own.errors, judged.end());
        let domain = self
            .domains
            .entry(judged.policy.domain.clone())
            .or_default();
        let is_join = alert.grouped.is_some() && std::mem::replace(&mut domain.down, true);
        let event = if is_join {
            DetectorEventKind::Join
        } else {
            DetectorEventKind::Escalate
        };
        let figures = NoteFigures {
            was_slow: true,
            ..own.figures(judged.policy, AlertKind::Errors, judged.reading())
        };
        judged
            .events(&mut verdict.notes)
            .push(event, DetectedCause::Errors, figures);
    }

    fn end_if_recovered(
        &mut self,
        judged: Judged<'_>,
        own: &mut EndpointState,
        steps: Steps,
        verdict: &mut Verdict,
    ) {
        let times = (judged.start(), judged.end());
        let failed = judged.failed();
        let reading = judged.reading();
        let recovered = own.recover(judged.policy, times, failed, worst(steps), reading);
        let Some((why, new_normal)) = recovered else {
            return;
        };
        let ended = own.alert.as_ref().and_then(Alert::good_since);
        let cause = if why == AlertKind::Slow {
            DetectedCause::Slow
        } else {
            DetectedCause::Errors
        };
        let figures = NoteFigures {
            new_normal,
            ended: ended.filter(|_| !new_normal),
            ..own.figures(judged.policy, why, reading)
        };
        judged
            .events(&mut verdict.notes)
            .push(DetectorEventKind::Resolved, cause, figures);
        if let Some(domain) = own.close(judged.end()) {
            self.leave(&domain);
        }
    }

    /// Returns the cause if siblings confirm what would not yet be an alert alone.
    fn confirmed_by_siblings(
        &self,
        judged: Judged<'_>,
        own: &EndpointState,
        lagging: bool,
    ) -> Option<DetectedCause> {
        let policy = judged.policy;
        let failed = judged.failed();
        let end = judged.end();
        let h = policy.evidence;
        let is_suspicious = lagging && own.slow.evidence() >= 0.5 * h;
        if !failed && !is_suspicious {
            // Nearly every probe: the siblings, which may be thousands, are not looked at.
            return None;
        }
        let domain: Vec<_> = self
            .siblings(judged.policies, &policy.domain)
            .map(|(_, sibling)| sibling)
            .chain([own])
            .collect();
        if failed {
            let group: Vec<_> = domain.iter().filter(|m| m.fails_with_others(end)).collect();
            let convinced = group.iter().filter(|m| m.errors.failures() >= 2).count();
            let evidence: f64 = group.iter().map(|m| m.errors.evidence()).sum();
            let since = group.iter().filter_map(|m| m.errors.since()).min();
            if group.len() >= 2
                && convinced >= 2
                && evidence >= h
                && since.is_some_and(|since| end - since >= policy.provider_alert_after_ms)
            {
                return Some(DetectedCause::ProviderErrors);
            }
        }
        if is_suspicious {
            let group: Vec<_> = domain
                .iter()
                .filter(|m| m.lags_with_others(end, h))
                .collect();
            let evidence: f64 = group.iter().map(|m| m.slow.evidence()).sum();
            let since = group.iter().filter_map(|m| m.slow.since()).min();
            if group.len() >= 2
                && evidence >= 1.2 * h
                && since.is_some_and(|since| end - since >= PROVIDER_SLOW_MS)
            {
                return Some(DetectedCause::ProviderSlow);
            }
        }
        if self.domains.get(&policy.domain).is_some_and(|d| d.open > 0) {
            if failed && own.errors.failures() >= 2 {
                return Some(DetectedCause::JoinErrors);
            }
            if is_suspicious {
                return Some(DetectedCause::JoinSlow);
            }
        }
        None
    }

    /// Opens the alert that `cause` calls for, alone or with the others of the failure domain.
    fn open(
        &mut self,
        judged: Judged<'_>,
        own: &mut EndpointState,
        cause: DetectedCause,
        verdict: &mut Verdict,
    ) {
        let why = cause.alert_kind();
        let figures = own.figures(judged.policy, why, judged.reading());
        let opening = match cause {
            DetectedCause::ProviderErrors | DetectedCause::ProviderSlow => {
                self.open_for_all(judged, cause, &figures, verdict)
            }
            DetectedCause::JoinErrors | DetectedCause::JoinSlow => {
                let domain = self
                    .domains
                    .entry(judged.policy.domain.clone())
                    .or_default();
                domain.open += 1;
                OpeningPlan::grouped(DetectorEventKind::Join)
            }
            _ if judged.policy.siblings => self.open_beside_others(judged),
            _ => OpeningPlan::ALONE,
        };
        own.open(judged.policy, judged.end(), why, opening.is_grouped);
        let figures = NoteFigures {
            shared: opening.shared,
            ..figures
        };
        judged
            .events(&mut verdict.notes)
            .push(opening.event, cause, figures);
    }

    /// Opens the alerts of all siblings that fail, or are slow, with this endpoint.
    fn open_for_all(
        &mut self,
        judged: Judged<'_>,
        cause: DetectedCause,
        figures: &NoteFigures,
        verdict: &mut Verdict,
    ) -> OpeningPlan {
        let why = cause.alert_kind();
        let end = judged.end();
        let siblings: Vec<_> = self
            .siblings(judged.policies, &judged.policy.domain)
            .map(|(name, _)| name.clone())
            .collect();
        let domain = self
            .domains
            .entry(judged.policy.domain.clone())
            .or_default();
        domain.escalated = true;
        domain.open += 1;
        let mut all = Shared {
            k: figures.k,
            n: figures.n,
            endpoints: 1,
            of: siblings.len() + 1,
        };
        for name in &siblings {
            let (Some(sibling), Some(policy)) =
                (self.endpoints.get_mut(name), judged.policies.get(name))
            else {
                continue;
            };
            let joins = match why {
                AlertKind::Errors => sibling.fails_with_others(end),
                AlertKind::Slow => sibling.lags_with_others(end, policy.evidence),
            };
            if !joins {
                continue;
            }
            let figures = sibling.figures(policy, why, None);
            all.k += figures.k;
            all.n += figures.n;
            all.endpoints += 1;
            sibling.open(policy, end, why, true);
            domain.open += 1;
            let mut note = EventSink {
                endpoint: name,
                end: judged.seen.end,
                notes: &mut verdict.notes,
            };
            note.push(DetectorEventKind::Join, cause, figures);
        }
        OpeningPlan {
            shared: Some(all),
            ..OpeningPlan::grouped(DetectorEventKind::Open)
        }
    }

    /// Joins the alert with open ones of the failure domain into an incident of the domain.
    fn open_beside_others(&mut self, judged: Judged<'_>) -> OpeningPlan {
        let open: Vec<_> = self
            .siblings(judged.policies, &judged.policy.domain)
            .filter(|(_, m)| m.alert.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        if open.is_empty() {
            return OpeningPlan::ALONE;
        }
        let domain = self
            .domains
            .entry(judged.policy.domain.clone())
            .or_default();
        let event = if domain.escalated {
            DetectorEventKind::Join
        } else {
            DetectorEventKind::Escalate
        };
        domain.escalated = true;
        domain.open += 1;
        for name in open {
            let alert = self.endpoints.get_mut(&name).and_then(|m| m.alert.as_mut());
            if let Some(alert) = alert.filter(|a| a.grouped.is_none()) {
                alert.grouped = Some(judged.policy.domain.clone());
                domain.open += 1;
            }
        }
        OpeningPlan::grouped(event)
    }
}

/// Reports whether failures open an alert. A slow endpoint may fail later, so they count during an
/// alert about slowness as well.
fn errors_are_due(judged: Judged<'_>, own: &mut EndpointState, verdict: &mut Verdict) -> bool {
    if own
        .alert
        .as_ref()
        .is_some_and(|a| a.why == AlertKind::Errors)
    {
        return false;
    }
    let was_open = own.alert.is_some();
    let reason = judged.failure();
    let (due, passed) = own.errors.observe(
        judged.policy,
        judged.start(),
        judged.end(),
        reason,
        was_open,
    );
    verdict.blips.extend(passed.map(|e| {
        e.blip(
            &judged.seen.endpoint,
            DetectedCause::Errors,
            Cleared::Recovered,
        )
    }));
    due
}

/// Reports whether the endpoint has been slow for a while, but not long enough for an alert.
fn is_lagging(
    judged: Judged<'_>,
    own: &mut EndpointState,
    steps: Steps,
    verdict: &mut Verdict,
) -> bool {
    let (lagging, passed) =
        own.slow
            .observe(judged.start(), judged.end(), steps, judged.policy.evidence);
    verdict.blips.extend(passed.map(|e| {
        e.blip(
            &judged.seen.endpoint,
            DetectedCause::Slow,
            Cleared::Recovered,
        )
    }));
    lagging
}
