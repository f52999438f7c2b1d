//! A world to be watched: what any probe of any endpoint returns at any millisecond.
//!
//! A pure function of (seed, endpoint, time): nothing is drawn while a rule runs, so every rule
//! meets the same world, however often and whenever it probes. First tokens are log-normal with
//! rare spikes, a day and a week, and random swings of load; failures have a background rate. On
//! top lie nuisances that must not alert (error bursts of up to a minute and a half, congestion of
//! a few minutes) and, in a world with incidents, what a user would want to be notified of.

use std::f64::consts::PI;

use crate::dice::{Dice, Fixed};
use crate::scene::{DAY, HOUR, MINUTE, Outcome, PER_PROVIDER, Probe, Scene};

/// Limits of a probe.
const FIRST_TOKEN_LIMIT_MS: f64 = 15_000.0;
const TOTAL_LIMIT_MS: f64 = 30_000.0;
const TOKENS: f64 = 20.0;
pub(crate) const PROVIDERS: usize = 2;
pub(crate) const ENDPOINTS: usize = PROVIDERS * PER_PROVIDER;

/// What an incident does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hard,
    Hang,
    Partial20,
    Partial40,
    Partial60,
    Slow2,
    Slow3,
    Slow5,
    Slow10,
    Drip,
    Truncated,
    Storm,
    Flapping,
    Brownout,
    RampErrors,
    RampSlow,
    Local,
}

impl Kind {
    pub(crate) const ALL: [Self; 17] = [
        Self::Hard,
        Self::Hang,
        Self::Partial20,
        Self::Partial40,
        Self::Partial60,
        Self::Slow2,
        Self::Slow3,
        Self::Slow5,
        Self::Slow10,
        Self::Drip,
        Self::Truncated,
        Self::Storm,
        Self::Flapping,
        Self::Brownout,
        Self::RampErrors,
        Self::RampSlow,
        Self::Local,
    ];

    /// The name as labels have it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard_5xx",
            Self::Hang => "hard_hang",
            Self::Partial20 => "partial_20",
            Self::Partial40 => "partial_40",
            Self::Partial60 => "partial_60",
            Self::Slow2 => "latency_x2",
            Self::Slow3 => "latency_x3",
            Self::Slow5 => "latency_x5",
            Self::Slow10 => "latency_x10",
            Self::Drip => "slow_drip",
            Self::Truncated => "truncated",
            Self::Storm => "storm_429",
            Self::Flapping => "flapping",
            Self::Brownout => "brownout",
            Self::RampErrors => "ramp_errors",
            Self::RampSlow => "ramp_latency",
            Self::Local => "local_net",
        }
    }

    /// How long one lasts, in milliseconds, and how bad it is.
    fn draw(self, dice: &mut Dice) -> (i64, f64) {
        let minutes = |dice: &mut Dice, median: f64, spread: f64, least: f64, most: f64| {
            ((median * (spread * dice.normal()).exp()).clamp(least, most) * MINUTE as f64) as i64
        };
        match self {
            Self::Hard | Self::Hang => (minutes(dice, 20.0, 0.7, 6.0, 120.0), 1.0),
            Self::Partial20 => (minutes(dice, 40.0, 0.5, 20.0, 120.0), 0.2),
            Self::Partial40 => (minutes(dice, 30.0, 0.5, 15.0, 120.0), 0.4),
            Self::Partial60 => (minutes(dice, 30.0, 0.5, 15.0, 120.0), 0.6),
            Self::Slow2 => (minutes(dice, 35.0, 0.5, 15.0, 120.0), 2.0),
            Self::Slow3 => (minutes(dice, 35.0, 0.5, 15.0, 120.0), 3.0),
            Self::Slow5 => (minutes(dice, 35.0, 0.5, 15.0, 120.0), 5.0),
            Self::Slow10 => (minutes(dice, 35.0, 0.5, 15.0, 120.0), 10.0),
            Self::Drip => (
                minutes(dice, 20.0, 0.7, 6.0, 120.0),
                dice.between(8.0, 40.0),
            ),
            Self::Truncated => (minutes(dice, 20.0, 0.7, 6.0, 120.0), dice.between(0.3, 1.0)),
            Self::Storm => (
                minutes(dice, 20.0, 0.7, 6.0, 120.0),
                dice.between(0.5, 0.95),
            ),
            Self::Flapping => ((dice.between(30.0, 90.0) * MINUTE as f64) as i64, 1.0),
            Self::Brownout => (minutes(dice, 35.0, 0.5, 15.0, 120.0), 0.15),
            Self::RampErrors => ((dice.between(30.0, 90.0) * MINUTE as f64) as i64, 0.7),
            Self::RampSlow => ((dice.between(40.0, 90.0) * MINUTE as f64) as i64, 5.0),
            Self::Local => (minutes(dice, 4.0, 0.8, 1.0, 30.0), 1.0),
        }
    }
}

/// Something that really was wrong.
#[derive(Debug, Clone)]
pub(crate) struct Incident {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) kind: Kind,
    pub(crate) scope: &'static str,
    pub(crate) endpoints: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Effect {
    start: i64,
    end: i64,
    kind: Kind,
    size: f64,
}

#[derive(Debug, Clone, Copy)]
struct Nuisance {
    start: i64,
    end: i64,
    /// The share of failures, or how much slower it is.
    size: f64,
    fails: bool,
}

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy)]
struct Habit {
    first_token_ms: f64,
    spread: f64,
    spikes: f64,
    spike: f64,
    day: f64,
    day_phase: f64,
    weekend: f64,
    swing: f64,
    swing_ms: i64,
    background: f64,
    token_ms: f64,
    token_spread: f64,
}

/// Two providers with three endpoints each, and everything that happens to them.
pub(crate) struct World {
    seed: u64,
    pub(crate) length: i64,
    habits: Vec<Habit>,
    swings: Vec<Vec<f64>>,
    nuisances: Vec<Vec<Nuisance>>,
    effects: Vec<Vec<Effect>>,
    pub(crate) incidents: Vec<Incident>,
}

impl World {
    /// A healthy world with this share of background failures.
    pub(crate) fn healthy(seed: u64, background: f64, days: i64) -> Self {
        let mut dice = Dice::new(seed);
        let length = days * DAY;
        let habits: Vec<_> = (0..ENDPOINTS)
            .map(|_| Habit::draw(&mut dice, background))
            .collect();
        let swings = (0..ENDPOINTS).map(|_| {
            (0..=length / (15 * MINUTE) + 1)
                .map(|_| dice.normal())
                .collect()
        });
        let swings = swings.collect();
        let nuisances = nuisances(&mut dice, length);
        let effects = vec![Vec::new(); ENDPOINTS];
        Self {
            seed,
            length,
            habits,
            swings,
            nuisances,
            effects,
            incidents: Vec::new(),
        }
    }

    /// The same with an incident every seven hours or so after the first `warm` days: every kind in
    /// turn, half of them on one endpoint and half on all of a provider.
    pub(crate) fn troubled(seed: u64, background: f64, days: i64, warm: i64) -> Self {
        let mut world = Self::healthy(seed, background, days);
        let mut dice = Dice::new(seed ^ 0x5eed);
        let mut queue: Vec<Kind> = Vec::new();
        let mut t = warm * DAY + (dice.between(0.0, 7.0) * HOUR as f64) as i64;
        loop {
            if queue.is_empty() {
                queue.extend(Kind::ALL);
                dice.shuffle(&mut queue);
            }
            let Some(kind) = queue.pop() else { break };
            let (length, size) = kind.draw(&mut dice);
            if t + length + 2 * HOUR > world.length {
                break;
            }
            world.happen(&mut dice, t, length, kind, size);
            t += length + (7.0 * HOUR as f64 * dice.between(0.7, 1.3)) as i64;
        }
        world
    }

    fn happen(&mut self, dice: &mut Dice, start: i64, length: i64, kind: Kind, size: f64) {
        let provider = dice.below(PROVIDERS);
        let all_of_it = provider * PER_PROVIDER..(provider + 1) * PER_PROVIDER;
        let (scope, endpoints): (_, Vec<usize>) = match kind {
            Kind::Local => ("monitor", (0..ENDPOINTS).collect()),
            _ if dice.share() < 0.5 => ("provider", all_of_it.collect()),
            _ => (
                "endpoint",
                vec![provider * PER_PROVIDER + dice.below(PER_PROVIDER)],
            ),
        };
        let mut end = start + length;
        if kind == Kind::Flapping {
            let mut t = start;
            while t < start + length {
                let down = (dice.between(2.0, 5.0) * MINUTE as f64) as i64;
                end = (t + down).min(start + length);
                for e in &endpoints {
                    self.effects[*e].push(Effect {
                        start: t,
                        end,
                        kind: Kind::Hard,
                        size: 1.0,
                    });
                }
                t += down + (dice.between(2.0, 5.0) * MINUTE as f64) as i64;
            }
        } else {
            for e in &endpoints {
                self.effects[*e].push(Effect {
                    start,
                    end,
                    kind,
                    size,
                });
            }
        }
        self.incidents.push(Incident {
            start,
            end,
            kind,
            scope,
            endpoints,
        });
    }

    /// What a probe of `endpoint` shows that begins at `t`.
    pub(crate) fn probe(&self, endpoint: usize, t: i64) -> Probe {
        let dice = Fixed::new(self.seed, endpoint, t);
        let habit = &self.habits[endpoint];
        let effect = find(&self.effects[endpoint], t, |e| (e.start, e.end));
        let nuisance = find(&self.nuisances[endpoint], t, |n| (n.start, n.end));
        let failed = |outcome, total_ms| Probe {
            outcome,
            first_token_ms: 0.0,
            total_ms,
        };
        let (mut share, mut slower, mut drip) = (0.0, 0.0, 1.0);
        let mut kind = Kind::Hard;
        if let Some(e) = effect {
            kind = e.kind;
            let ramp = |minutes: i64| ((t - e.start) as f64 / (minutes * MINUTE) as f64).min(1.0);
            match e.kind {
                Kind::Local => {
                    return failed(
                        Outcome::Offline,
                        if dice.u(1) < 0.6 { 30.0 } else { 5000.0 },
                    );
                }
                Kind::Hard | Kind::Hang | Kind::Flapping => share = 1.0,
                Kind::Partial20
                | Kind::Partial40
                | Kind::Partial60
                | Kind::Truncated
                | Kind::Storm => share = e.size,
                Kind::Slow2 | Kind::Slow3 | Kind::Slow5 | Kind::Slow10 => slower = e.size.ln(),
                Kind::Drip => drip = e.size,
                Kind::Brownout => (slower, share) = (2.0_f64.ln(), e.size),
                Kind::RampErrors => share = e.size * ramp(20),
                Kind::RampSlow => slower = e.size.ln() * ramp(30),
            }
        }
        let burst = nuisance
            .filter(|n| n.fails)
            .is_some_and(|n| dice.u(3) < n.size);
        let truncated = share > 0.0 && dice.u(2) < share && kind == Kind::Truncated;
        if !truncated {
            let style = if share > 0.0 && dice.u(2) < share {
                Some((kind, [0.8, 0.92, 1.0]))
            } else if burst {
                Some((Kind::Hard, [0.8, 0.92, 1.0]))
            } else {
                (dice.u(4) < habit.background).then_some((Kind::Hard, [0.6, 0.75, 0.9]))
            };
            if let Some((kind, shares)) = style {
                let u = dice.u(20);
                let quick = 100.0 + 900.0 * dice.u(22) * dice.u(23);
                return match kind {
                    Kind::Hang => failed(Outcome::TimedOut, FIRST_TOKEN_LIMIT_MS),
                    Kind::Storm => failed(Outcome::Throttled, quick),
                    _ if u < shares[0] => failed(Outcome::Failed, quick),
                    _ if u < shares[1] => failed(Outcome::TimedOut, FIRST_TOKEN_LIMIT_MS),
                    _ if u < shares[2] => failed(
                        Outcome::Failed,
                        if dice.u(21) < 0.7 { 50.0 } else { 5000.0 },
                    ),
                    _ => failed(Outcome::Throttled, quick),
                };
            }
        }
        if let Some(n) = nuisance.filter(|n| !n.fails) {
            slower += n.size.ln();
        }
        self.answer(endpoint, t, dice, slower, drip, truncated)
    }

    fn answer(
        &self,
        endpoint: usize,
        t: i64,
        dice: Fixed,
        slower: f64,
        drip: f64,
        truncated: bool,
    ) -> Probe {
        let habit = &self.habits[endpoint];
        let load = self.load(endpoint, t);
        let (a, b) = dice.normals(10);
        let mut log = load + slower + habit.spread * a;
        if dice.u(12) < habit.spikes {
            log += habit.spike + 0.45 * dice.normals(13).0;
        }
        let first_token_ms = habit.first_token_ms * log.exp();
        let rest = TOKENS
            * habit.token_ms
            * drip
            * (0.5 * load + 0.7 * slower + habit.token_spread * b).exp();
        let end = first_token_ms + rest;
        let (outcome, total_ms) = if first_token_ms > FIRST_TOKEN_LIMIT_MS {
            (Outcome::TimedOut, FIRST_TOKEN_LIMIT_MS)
        } else if truncated {
            (
                Outcome::Failed,
                (first_token_ms + rest * dice.u(24)).min(TOTAL_LIMIT_MS),
            )
        } else if end > TOTAL_LIMIT_MS {
            (Outcome::TimedOut, TOTAL_LIMIT_MS)
        } else {
            (Outcome::Good, end)
        };
        Probe {
            outcome,
            first_token_ms,
            total_ms,
        }
    }

    /// The logarithm of how much slower than usual it is at `t`: day, week, and a slow random
    /// swing.
    fn load(&self, endpoint: usize, t: i64) -> f64 {
        let habit = &self.habits[endpoint];
        let mut load = habit.day * (2.0 * PI * (t as f64 / DAY as f64 - habit.day_phase)).sin();
        if (t / DAY) % 7 >= 5 {
            load -= habit.weekend;
        }
        let k = (t / habit.swing_ms) as usize;
        let f = (t % habit.swing_ms) as f64 / habit.swing_ms as f64;
        let f = f * f * (3.0 - 2.0 * f);
        let swings = &self.swings[endpoint];
        load + habit.swing
            * ((1.0 - f) * swings[k % swings.len()] + f * swings[(k + 1) % swings.len()])
    }

    /// The usual total of an endpoint: what a person would write a limit against.
    pub(crate) fn usual_total_ms(&self, endpoint: usize) -> f64 {
        self.habits[endpoint].first_token_ms + TOKENS * self.habits[endpoint].token_ms
    }
}

impl Habit {
    fn draw(dice: &mut Dice, background: f64) -> Self {
        Self {
            first_token_ms: dice.between(300.0_f64.ln(), 1600.0_f64.ln()).exp(),
            spread: dice.between(0.15, 0.45),
            spikes: dice.between(0.005, 0.05),
            spike: dice.between(3.0, 5.0).ln(),
            day: dice.between(0.05, 0.30),
            day_phase: dice.share(),
            weekend: dice.between(0.0, 0.12),
            swing: dice.between(0.05, 0.14),
            swing_ms: dice.between(15.0 * MINUTE as f64, 60.0 * MINUTE as f64) as i64,
            background,
            token_ms: dice.between(8.0, 30.0),
            token_spread: dice.between(0.1, 0.3),
        }
    }
}

/// Per endpoint and month: four short bursts of errors, one of 61 to 95 s (two failed probes in a
/// row), eight congestions of one to four minutes; per provider and month one short burst on all of
/// its endpoints.
fn nuisances(dice: &mut Dice, length: i64) -> Vec<Vec<Nuisance>> {
    let months = length as f64 / (30 * DAY) as f64;
    let mut all: Vec<Vec<Nuisance>> = vec![Vec::new(); ENDPOINTS];
    let mut add = |e: usize, start: i64, ms: f64, size: f64, fails: bool| {
        all[e].push(Nuisance {
            start,
            end: start + ms as i64,
            size,
            fails,
        });
    };
    for e in 0..ENDPOINTS {
        for _ in 0..dice.poisson(4.0 * months) {
            add(
                e,
                dice.until(length),
                (15_000.0 * (0.9 * dice.normal()).exp()).min(90_000.0),
                0.9,
                true,
            );
        }
        for _ in 0..dice.poisson(months) {
            add(
                e,
                dice.until(length),
                dice.between(61_000.0, 95_000.0),
                0.95,
                true,
            );
        }
        for _ in 0..dice.poisson(8.0 * months) {
            add(
                e,
                dice.until(length),
                dice.between(60_000.0, 240_000.0),
                dice.between(1.4, 2.2),
                false,
            );
        }
    }
    for provider in 0..PROVIDERS {
        for _ in 0..dice.poisson(months) {
            let (start, ms) = (
                dice.until(length),
                (12_000.0 * (0.8 * dice.normal()).exp()).min(60_000.0),
            );
            (provider * PER_PROVIDER..(provider + 1) * PER_PROVIDER)
                .for_each(|e| add(e, start, ms, 0.9, true));
        }
    }
    for list in &mut all {
        list.sort_by_key(|n| n.start);
        let mut end = i64::MIN;
        list.retain(|n| {
            let free = n.start > end;
            end = if free { n.end } else { end };
            free
        });
    }
    all
}

/// The one of `sorted`, disjoint, that holds `t`.
fn find<T: Copy>(sorted: &[T], t: i64, span: impl Fn(&T) -> (i64, i64)) -> Option<T> {
    let next = sorted.partition_point(|x| span(x).1 <= t);
    sorted.get(next).filter(|x| span(x).0 <= t).copied()
}

impl Scene for World {
    fn endpoints(&self) -> usize {
        ENDPOINTS
    }

    fn length(&self) -> i64 {
        self.length
    }

    fn probe(&self, endpoint: usize, t: i64, _scheduled: bool) -> Probe {
        self.probe(endpoint, t)
    }

    fn is_missing(&self, _endpoint: usize, _t: i64) -> bool {
        false
    }

    fn usual_total_ms(&self, endpoint: usize) -> f64 {
        self.usual_total_ms(endpoint)
    }
}
