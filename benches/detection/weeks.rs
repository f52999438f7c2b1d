//! Worlds that the detector was not tuned in: rush hours, wandering load, heavy tails, level
//! shifts, cold starts, deploys, rate limits at the top of the hour, missing data, long intervals.
//!
//! Like [`world`](crate::world) a pure function of (seed, endpoint, time), of nine endpoints at
//! three providers. Monday is day 0.

use crate::dice::{Dice, Fixed};
use crate::scene::{DAY, HOUR, MINUTE, Outcome, PER_PROVIDER, Probe, Scene};

pub(crate) const PROVIDERS: usize = 3;
pub(crate) const ENDPOINTS: usize = PROVIDERS * PER_PROVIDER;
/// The time between two knots of a wandering load, as a share of its time constant.
const KNOT: f64 = 0.25;

/// What a world is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) days: i64,
    pub(crate) interval_ms: i64,
    /// The range of the spread of first tokens, in logarithms.
    pub(crate) spread: (f64, f64),
    /// The range of the usual first token, in milliseconds.
    pub(crate) first_token_ms: (f64, f64),
    /// How often a probe is a spike, and by how much.
    pub(crate) spikes: (f64, f64),
    /// The wandering load: its spread in logarithms and its time constant.
    pub(crate) wander: f64,
    pub(crate) wander_ms: f64,
    /// The share of background failures.
    pub(crate) background: f64,
    /// How much slower it is between 9 and 17 on weekdays, and how long a ramp takes.
    pub(crate) peak: f64,
    pub(crate) ramp_ms: f64,
    /// Whether the level jumps every twelve days, up or down, by this factor.
    pub(crate) shift: f64,
    /// The share of requests throttled at the top of the hour, and for how long.
    pub(crate) throttled: f64,
    pub(crate) throttled_ms: i64,
    /// The share of requests that fail for two minutes once a week.
    pub(crate) deploy: f64,
    /// The share of scheduled probes that start a cold server, by day and by night.
    pub(crate) cold: (f64, f64),
    /// The share of scheduled probes that are missing, and pauses in 28 days.
    pub(crate) missing: f64,
    pub(crate) pauses: usize,
    pub(crate) first_token_limit_ms: f64,
    pub(crate) total_limit_ms: f64,
    pub(crate) incidents: bool,
    /// Whether `alert_after` is three minutes, as is advised where such deploys are expected.
    pub(crate) is_patient: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            days: 56,
            interval_ms: MINUTE,
            spread: (0.25, 0.45),
            first_token_ms: (350.0, 1500.0),
            spikes: (0.005, 10.0),
            wander: 0.12,
            wander_ms: 20.0 * MINUTE as f64,
            background: 0.003,
            peak: 1.0,
            ramp_ms: 2.0 * HOUR as f64,
            shift: 1.0,
            throttled: 0.0,
            throttled_ms: 90_000,
            deploy: 0.0,
            cold: (0.0, 0.0),
            missing: 0.0,
            pauses: 0,
            first_token_limit_ms: 45_000.0,
            total_limit_ms: 60_000.0,
            incidents: false,
            is_patient: false,
        }
    }
}

/// The worlds by name.
pub(crate) fn worlds() -> Vec<(&'static str, Habits)> {
    let base = Habits::default();
    let season = Habits { peak: 2.0, ..base };
    let self_hosted = Habits {
        first_token_ms: (150.0, 400.0),
        ..base
    };
    let reasoning = Habits {
        first_token_ms: (9_000.0, 14_000.0),
        spread: (0.4, 0.55),
        spikes: (0.005, 3.0),
        total_limit_ms: 120_000.0,
        ..base
    };
    let narrow = Habits {
        spread: (0.03, 0.08),
        wander: 0.03,
        ..base
    };
    let wide = Habits {
        spread: (0.7, 1.0),
        ..base
    };
    let all = Habits {
        peak: 1.8,
        shift: 1.4,
        throttled: 0.12,
        throttled_ms: 60_000,
        deploy: 0.5,
        missing: 0.02,
        pauses: 2,
        ..base
    };
    let every = |habits: Habits, seconds: i64| Habits {
        interval_ms: seconds * 1000,
        ..habits
    };
    let troubled = |habits: Habits| Habits {
        incidents: true,
        ..habits
    };
    vec![
        ("base", base),
        ("rush x2", season),
        (
            "rush x2, steep",
            Habits {
                ramp_ms: 15.0 * MINUTE as f64,
                ..season
            },
        ),
        ("rush x3", Habits { peak: 3.0, ..base }),
        ("level shifts", Habits { shift: 1.4, ..base }),
        (
            "429 at :00",
            Habits {
                throttled: 0.4,
                ..base
            },
        ),
        (
            "429 at :00, heavy",
            Habits {
                throttled: 0.8,
                throttled_ms: 150_000,
                ..base
            },
        ),
        (
            "deploys",
            Habits {
                deploy: 0.9,
                is_patient: true,
                ..base
            },
        ),
        (
            "deploys, half",
            Habits {
                deploy: 0.5,
                is_patient: true,
                ..base
            },
        ),
        (
            "wandering load",
            Habits {
                wander: 0.30,
                wander_ms: 40.0 * MINUTE as f64,
                ..base
            },
        ),
        ("heavy tails", wide),
        ("regular", narrow),
        (
            "cold starts 300 s",
            Habits {
                cold: (0.1, 0.6),
                ..every(self_hosted, 300)
            },
        ),
        (
            "cold starts 60 s",
            Habits {
                cold: (0.02, 0.15),
                ..self_hosted
            },
        ),
        ("reasoning", reasoning),
        (
            "missing data",
            Habits {
                missing: 0.1,
                pauses: 6,
                ..base
            },
        ),
        (
            "2 % errors",
            Habits {
                background: 0.02,
                ..base
            },
        ),
        ("all", all),
        (
            "all, 30 s",
            Habits {
                days: 28,
                ..every(all, 30)
            },
        ),
        ("all, 300 s", every(all, 300)),
        ("all, 900 s", every(all, 900)),
        ("incidents", troubled(base)),
        ("incidents, rush x2", troubled(season)),
        ("incidents, rush x2, 300 s", troubled(every(season, 300))),
        ("incidents, rush x2, 900 s", troubled(every(season, 900))),
        ("incidents, heavy tails", troubled(wide)),
        ("incidents, reasoning", troubled(reasoning)),
        ("incidents, regular", troubled(narrow)),
    ]
}

/// What an incident does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Hard,
    Hard5Min,
    Hang,
    Partial(u8),
    Slow(f64),
    Drip,
    Truncated,
    Throttled,
    HalfThenOk,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Hard,
        Self::Hard5Min,
        Self::Hang,
        Self::Partial(30),
        Self::Partial(15),
        Self::Slow(1.5),
        Self::Slow(2.0),
        Self::Slow(3.0),
        Self::Slow(5.0),
        Self::Drip,
        Self::Truncated,
        Self::Throttled,
        Self::HalfThenOk,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Hard => "hard".to_owned(),
            Self::Hard5Min => "hard, 5 min".to_owned(),
            Self::Hang => "hang".to_owned(),
            Self::Partial(share) => format!("partial {share} %"),
            Self::Slow(factor) => format!("slow x{factor}"),
            Self::Drip => "drip x12".to_owned(),
            Self::Truncated => "truncated 50 %".to_owned(),
            Self::Throttled => "429 at 70 %".to_owned(),
            Self::HalfThenOk => "2 min down, 2 up".to_owned(),
        }
    }
}

/// One incident.
#[derive(Debug, Clone)]
pub(crate) struct Incident {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) kind: Kind,
    pub(crate) endpoints: Vec<usize>,
}

struct Series {
    knots: Vec<f64>,
    spacing_ms: f64,
}

impl Series {
    fn draw(dice: &mut Dice, length: i64, spread: f64, constant_ms: f64) -> Self {
        let spacing_ms = KNOT * constant_ms;
        let count = (length as f64 / spacing_ms) as usize + 3;
        let keep = (-KNOT).exp();
        let mut value = dice.normal();
        let knots = (0..count)
            .map(|_| {
                value = keep * value + (1.0 - keep * keep).sqrt() * dice.normal();
                spread * value
            })
            .collect();
        Self { knots, spacing_ms }
    }

    fn at(&self, t: i64) -> f64 {
        let place = t as f64 / self.spacing_ms;
        let (k, f) = ((place as usize).min(self.knots.len() - 2), place.fract());
        (1.0 - f) * self.knots[k] + f * self.knots[k + 1]
    }
}

struct Endpoint {
    spread: f64,
    first_token_ms: f64,
    token_ms: f64,
    wander: Series,
}

struct Provider {
    zone_ms: i64,
    wander: Series,
    /// When the level jumps, and by what logarithm.
    shifts: Vec<(i64, f64)>,
    deploys: Vec<i64>,
    incidents: Vec<Incident>,
}

/// One world.
pub(crate) struct Weeks {
    habits: Habits,
    pub(crate) length: i64,
    seed: u64,
    endpoints: Vec<Endpoint>,
    providers: Vec<Provider>,
    pauses: Vec<(i64, i64)>,
}

impl Weeks {
    pub(crate) fn new(habits: Habits, seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let length = habits.days * DAY;
        let series =
            |dice: &mut Dice| Series::draw(dice, length, 0.7 * habits.wander, habits.wander_ms);
        let providers = (0..PROVIDERS)
            .map(|p| Provider {
                zone_ms: (dice.below(7) as i64 - 3) * HOUR,
                wander: series(dice),
                shifts: shifts(dice, &habits),
                deploys: deploys(dice, &habits),
                incidents: incidents(dice, &habits, p),
            })
            .collect();
        let endpoints = (0..ENDPOINTS)
            .map(|_| Endpoint {
                spread: dice.between(habits.spread.0, habits.spread.1),
                first_token_ms: dice
                    .between(habits.first_token_ms.0.ln(), habits.first_token_ms.1.ln())
                    .exp(),
                token_ms: dice.between(8.0, 30.0),
                wander: series(dice),
            })
            .collect();
        let pauses = (0..habits.pauses as i64 * habits.days / 28)
            .map(|_| {
                let start = dice.until(length);
                (
                    start,
                    start + (dice.between(0.2, 12.0) * HOUR as f64) as i64,
                )
            })
            .collect();
        Self {
            habits,
            length,
            seed,
            endpoints,
            providers,
            pauses,
        }
    }

    pub(crate) fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.providers.iter().flat_map(|p| &p.incidents)
    }
}

impl Scene for Weeks {
    fn endpoints(&self) -> usize {
        ENDPOINTS
    }

    fn length(&self) -> i64 {
        self.length
    }

    fn is_missing(&self, endpoint: usize, t: i64) -> bool {
        self.pauses.iter().any(|p| p.0 <= t && t < p.1)
            || Fixed::new(self.seed, endpoint, t).u(30) < self.habits.missing
    }

    fn usual_total_ms(&self, endpoint: usize) -> f64 {
        let e = &self.endpoints[endpoint];
        e.first_token_ms + 20.0 * e.token_ms
    }

    fn probe(&self, endpoint: usize, t: i64, scheduled: bool) -> Probe {
        let habits = &self.habits;
        let dice = Fixed::new(self.seed, endpoint, t);
        let own = &self.endpoints[endpoint];
        let provider = &self.providers[endpoint / PER_PROVIDER];
        let incident = provider
            .incidents
            .iter()
            .find(|i| i.start <= t && t < i.end && i.endpoints.contains(&endpoint));
        let failed = |outcome, total_ms| Probe {
            outcome,
            first_token_ms: 0.0,
            total_ms,
        };
        let season = season(habits, t + provider.zone_ms);
        let mut log = season + provider.wander.at(t) + own.wander.at(t);
        log += provider
            .shifts
            .iter()
            .filter(|s| s.0 <= t)
            .map(|s| s.1)
            .sum::<f64>();
        log += own.spread * dice.normals(10).0;
        if dice.u(12) < habits.spikes.0 {
            log += habits.spikes.1.ln() + 0.2 * dice.normals(13).0;
        }
        let mut rest = 20.0 * own.token_ms * (0.5 * season + 0.2 * dice.normals(15).0).exp();
        if let Some(i) = incident {
            let share = dice.u(2);
            match i.kind {
                Kind::Hard | Kind::Hard5Min => return failed(Outcome::Failed, 300.0),
                Kind::Hang => return failed(Outcome::TimedOut, habits.first_token_limit_ms),
                Kind::Partial(percent) if share < f64::from(percent) / 100.0 => {
                    return failed(Outcome::Failed, 300.0);
                }
                Kind::Throttled if share < 0.7 => return failed(Outcome::Throttled, 200.0),
                Kind::HalfThenOk if (t - i.start) / (2 * MINUTE) % 2 == 0 => {
                    return failed(Outcome::Failed, 300.0);
                }
                Kind::Truncated if share < 0.5 => {
                    let first = own.first_token_ms * log.exp();
                    return failed(Outcome::Failed, first + 0.5 * rest);
                }
                Kind::Slow(factor) => {
                    log += factor.ln();
                    rest *= factor.powf(0.7);
                }
                Kind::Drip => rest *= 12.0,
                _ => {}
            }
        }
        if habits.throttled > 0.0
            && t.rem_euclid(HOUR) < habits.throttled_ms
            && dice.u(3) < habits.throttled
        {
            return failed(Outcome::Throttled, 200.0);
        }
        let deploying = |at: &i64| *at <= t && t < at + 2 * MINUTE;
        if provider.deploys.iter().any(deploying) && dice.u(4) < habits.deploy {
            return failed(Outcome::Failed, 300.0);
        }
        if dice.u(5) < habits.background {
            return match dice.u(6) {
                u if u < 0.6 => failed(Outcome::Failed, 300.0),
                u if u < 0.75 => failed(Outcome::TimedOut, habits.first_token_limit_ms),
                u if u < 0.9 => failed(Outcome::Failed, 50.0),
                _ => failed(Outcome::Throttled, 200.0),
            };
        }
        let mut first_token_ms = own.first_token_ms * log.exp();
        let (by_day, by_night) = habits.cold;
        let local = t + provider.zone_ms;
        let share = if is_office(local) { by_day } else { by_night };
        if scheduled && dice.u(7) < share {
            first_token_ms = 1000.0 * (30.0 + 60.0 * dice.u(8));
        }
        let total_ms = first_token_ms + rest;
        if first_token_ms > habits.first_token_limit_ms {
            failed(Outcome::TimedOut, habits.first_token_limit_ms)
        } else if total_ms > habits.total_limit_ms {
            failed(Outcome::TimedOut, habits.total_limit_ms)
        } else {
            Probe {
                outcome: Outcome::Good,
                first_token_ms,
                total_ms,
            }
        }
    }
}

fn is_office(local: i64) -> bool {
    let hour = local.rem_euclid(DAY) / HOUR;
    (9..18).contains(&hour) && local.div_euclid(DAY).rem_euclid(7) < 5
}

/// The logarithm of how much slower it is at a local time.
fn season(habits: &Habits, local: i64) -> f64 {
    if habits.peak <= 1.0 {
        return 0.0;
    }
    let time = local.rem_euclid(DAY) as f64;
    let smooth = |hour: i64| {
        let z = (time - (hour * HOUR) as f64) / habits.ramp_ms + 0.5;
        let z = z.clamp(0.0, 1.0);
        z * z * (3.0 - 2.0 * z)
    };
    let weekend = local.div_euclid(DAY).rem_euclid(7) >= 5;
    habits.peak.ln() * (smooth(9) - smooth(17)) * if weekend { 0.5 } else { 1.0 }
}

fn shifts(dice: &mut Dice, habits: &Habits) -> Vec<(i64, f64)> {
    let mut shifts = Vec::new();
    let mut day = 8;
    while habits.shift > 1.0 && day < habits.days {
        let at = ((day as f64 + dice.between(-2.0, 2.0)) * DAY as f64) as i64;
        let sign = if dice.share() < 0.6 { 1.0 } else { -1.0 };
        shifts.push((at, sign * habits.shift.ln()));
        day += 12;
    }
    shifts
}

fn deploys(dice: &mut Dice, habits: &Habits) -> Vec<i64> {
    (0..habits.days / 7)
        .filter(|_| habits.deploy > 0.0)
        .map(|week| week * 7 * DAY + DAY + 10 * HOUR + dice.until(2 * HOUR))
        .collect()
}

fn incidents(dice: &mut Dice, habits: &Habits, provider: usize) -> Vec<Incident> {
    let mut incidents = Vec::new();
    let (mut at, mut queue) = (8 * DAY, Vec::new());
    while habits.incidents && at < (habits.days - 1) * DAY {
        if queue.is_empty() {
            queue.extend(Kind::ALL);
            dice.shuffle(&mut queue);
        }
        let Some(kind) = queue.pop() else { break };
        let usual = 30.0 * MINUTE as f64 * (0.5 * dice.normal()).exp();
        let mut length = usual.clamp(15.0 * MINUTE as f64, 2.0 * HOUR as f64) as i64;
        if kind == Kind::Hard5Min {
            length = 5 * MINUTE;
        } else if habits.interval_ms >= 5 * MINUTE {
            length *= 2;
        }
        let first = provider * PER_PROVIDER;
        let endpoints = if dice.share() < 0.4 {
            (first..first + PER_PROVIDER).collect()
        } else {
            vec![first + dice.below(PER_PROVIDER)]
        };
        incidents.push(Incident {
            start: at,
            end: at + length,
            kind,
            endpoints,
        });
        at += length + (dice.between(5.0, 9.0) * HOUR as f64) as i64;
    }
    incidents
}
