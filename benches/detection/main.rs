//! How early, how rarely: llmwatch's detector beside the rules that other monitors use, in
//! simulated worlds.
//!
//! `cargo bench --bench detection` prints the figures of docs/detection.md. After `--`, `--months N`
//! is how many endpoint-months without any incident llmwatch watches for the false alerts, and
//! about as many with an incident every seven hours for the delays (800; the other rules watch a
//! quarter of them). `--interval S` is the time between two probes of these worlds, `--seed N` draws
//! other worlds, `--only` leaves out the other rules and the table of `alert_after`, and
//! `--alert-after S`, `--sensitivity W` and `--slow-factor F` change the detector's settings.

mod dice;
mod rules;
mod scene;
mod speed;
mod weeks;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use llmwatch_core::model::{DetectionPolicy, Sensitivity};
use llmwatch_core::report::backtest::{Label, Replay, ReplayedTrace, Score, ScoreFigures};

use self::rules::{Consecutive, Rule, Run, name};
use self::scene::{DAY, PER_PROVIDER};
use self::weeks::Weeks;
use self::world::{ENDPOINTS, World};

/// Shares of background failures; the worlds have them in turn.
const BACKGROUNDS: [f64; 3] = [0.001, 0.003, 0.01];
/// A healthy world is watched for so many days, and its alerts count after the first few.
const HEALTHY_DAYS: i64 = 60;
const WARM_DAYS: i64 = 3;
/// A world with incidents, and how long it is quiet before they begin.
const TROUBLED_DAYS: i64 = 40;
const QUIET_DAYS: i64 = 7;
/// `alert_after` in the worlds in which deploys of two minutes are all that happens.
const DEPLOY_ALERT_AFTER: Duration = Duration::from_mins(3);
/// The share of the endpoint-months that the other rules and settings watch.
const REST: f64 = 0.25;

fn main() {
    let args = Args::read();
    println!(
        "probed every {} s; seconds are median / p95",
        args.interval / 1000
    );
    let rows: Vec<_> = rules(&args)
        .iter()
        .map(|(title, rule)| {
            let part = if matches!(rule, Rule::Meter(_)) {
                1.0
            } else {
                REST
            };
            row(&args, part * args.months, title, rule)
        })
        .collect();
    print(&rows);
    if !args.only {
        print_alert_after(&args);
    }
    print_weeks(&args);
    speed::print();
}

/// Lets a rule watch worlds of the first family.
fn row(args: &Args, wanted: f64, title: &'static str, rule: &Rule) -> Row {
    let months = |days: i64| days as f64 / 30.0 * ENDPOINTS as f64;
    let worlds = |days: i64| (wanted / months(days)).ceil().max(3.0) as u64;
    let (healthy, troubled) = (worlds(HEALTHY_DAYS - WARM_DAYS), worlds(TROUBLED_DAYS));
    println!(
        "{title}: {:.0} endpoint-months without incidents, {:.0} with",
        healthy as f64 * months(HEALTHY_DAYS - WARM_DAYS),
        troubled as f64 * months(TROUBLED_DAYS - QUIET_DAYS),
    );
    let quiet = in_parallel(healthy, |seed| {
        let background = BACKGROUNDS[seed as usize % 3];
        let world = World::healthy(args.seed + 5000 + seed, background, HEALTHY_DAYS);
        let run = rule.watch(&world, "", args.interval);
        let alerts = run
            .said
            .iter()
            .filter(|s| s.notify && s.event != "resolved");
        let alerts = alerts
            .filter(|s| s.t_ms >= WARM_DAYS * DAY)
            .map(|s| s.cause.clone())
            .collect::<Vec<_>>();
        let planned = ENDPOINTS as f64 * world.length as f64 / args.interval as f64;
        (alerts, run.probes as f64 / planned - 1.0)
    });
    let noise: Vec<_> = (0..3)
        .map(|b| noise(&quiet, b, months(HEALTHY_DAYS - WARM_DAYS)))
        .collect();
    let replay = in_parallel(troubled, |seed| {
        let trace = seed.to_string();
        let background = BACKGROUNDS[seed as usize % 3];
        let seed = args.seed + 6000 + seed;
        let world = World::troubled(seed, background, TROUBLED_DAYS, QUIET_DAYS);
        let run = rule.watch(&world, &trace, args.interval);
        (watched(&trace, args.interval), labels(&trace, &world), run)
    });
    Row::new(title, &replay, &quiet, &noise)
}

/// What other values of `alert_after` would change.
fn print_alert_after(args: &Args) {
    let llmwatch = Rule::Meter(args.policy.clone());
    let with = |seconds| {
        let rule = llmwatch.with_alert_after(Duration::from_secs(seconds));
        row(args, REST * args.months, "alert_after", &rule)
    };
    let rows: Vec<_> = [0, 30, 60, 90, 120].map(|s| (s, with(s))).into();
    println!(
        "alert_after: false alerts per endpoint-month; {}",
        DELAYS[0].0
    );
    for (seconds, row) in rows {
        println!("  {seconds:>4} s {:>6} {:>18}", row.noise[0], row.delays[0]);
    }
    println!();
}

/// The second family: false alerts in the first two weeks and after them, and what was caught.
fn print_weeks(args: &Args) {
    println!(
        "weeks: false alerts per endpoint-month, first two weeks / later; caught, median / p95 s\n"
    );
    let worlds = weeks::worlds();
    for (title, rule) in rules(args).iter().take(3) {
        println!("{title}");
        let lines = in_parallel(worlds.len() as u64, |i| {
            let (name, habits) = &worlds[i as usize];
            let world = Weeks::new(*habits, args.seed + 9000 + i);
            let patient = rule.with_alert_after(DEPLOY_ALERT_AFTER);
            let rule = if habits.is_patient { &patient } else { rule };
            let run = rule.watch(&world, "", habits.interval_ms);
            weeks_line(name, &world, habits, &run)
        });
        for line in lines {
            println!("{line}");
        }
        println!();
    }
}

fn weeks_line(title: &str, world: &Weeks, habits: &weeks::Habits, run: &Run) -> String {
    const EARLY: i64 = 14 * DAY;
    let labels: Vec<Label> = world
        .incidents()
        .map(|i| Label {
            trace: String::new(),
            start_ms: i.start,
            end_ms: i.end,
            kind: i.kind.name(),
            scope: if i.endpoints.len() > 1 {
                "provider".to_owned()
            } else {
                "endpoint".to_owned()
            },
            endpoints: i.endpoints.iter().map(|e| name(*e).into()).collect(),
        })
        .collect();
    let is_false = |s: &&llmwatch_core::report::backtest::ReplayEvent| {
        s.notify
            && s.event != "resolved"
            && !labels.iter().any(|l| {
                l.endpoints.contains(&s.endpoint)
                    && l.start_ms <= s.t_ms
                    && s.t_ms <= l.end_ms + 600_000
            })
    };
    let times: Vec<i64> = run.said.iter().filter(is_false).map(|s| s.t_ms).collect();
    let early = times.iter().filter(|t| **t < EARLY).count();
    let month = 30.0 * DAY as f64 / weeks::ENDPOINTS as f64;
    let mut line = format!(
        "  {title:28} {:7.2} / {:6.2}",
        early as f64 * month / EARLY as f64,
        (times.len() - early) as f64 * month / (world.length - EARLY) as f64
    );
    if habits.incidents {
        let replay = Replay {
            traces: vec![ReplayedTrace {
                trace: String::new(),
                interval_ms: habits.interval_ms,
                days: habits.days as f64,
                endpoints: (0..weeks::ENDPOINTS)
                    .map(|e| (name(e).into(), format!("p{}", e / PER_PROVIDER).into()))
                    .collect(),
            }],
            events: run.said.clone(),
            blips: Vec::new(),
        };
        for kind in Score::new(&replay, &labels).kinds {
            line += &format!(
                "\n      {:20} {:9} {}",
                kind.kind,
                kind.scope,
                delay(&kind.figures)
            );
        }
    }
    line
}

/// What the command line says.
struct Args {
    months: f64,
    interval: i64,
    only: bool,
    /// Where the seeds of the worlds begin.
    seed: u64,
    policy: DetectionPolicy,
}

impl Args {
    fn read() -> Self {
        let mut args = Self {
            months: 800.0,
            interval: 60_000,
            only: false,
            seed: 0,
            policy: DetectionPolicy::default(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || {
                words
                    .next()
                    .and_then(|n| n.parse::<f64>().ok())
                    .unwrap_or_else(|| usage(&word))
            };
            match word.as_str() {
                "--months" => args.months = number(),
                "--interval" => args.interval = (number() * 1000.0) as i64,
                "--alert-after" => {
                    args.policy.alert_after = Some(Duration::from_secs_f64(number()));
                }
                "--seed" => args.seed = number() as u64,
                "--slow-factor" => args.policy.slow_factor = number(),
                "--only" => args.only = true,
                "--sensitivity" => {
                    args.policy.sensitivity = match words.next().as_deref() {
                        Some("high") => Sensitivity::High,
                        Some("normal") => Sensitivity::Normal,
                        Some("low") => Sensitivity::Low,
                        _ => usage(&word),
                    }
                }
                // cargo says so itself.
                "--bench" => {}
                _ => usage(&word),
            }
        }
        args
    }
}

fn usage<T>(word: &str) -> T {
    eprintln!("detection: what is meant by `{word}`? See the head of benches/detection/main.rs");
    std::process::exit(64)
}

/// The defaults of Gatus, with and without a condition on the response time (three times what is
/// usual), and of Uptime Kuma; Kuma with three retries every 20 s; two quick retries after 5 s; and
/// two confirmations at twice the rate with three good ones to recover, as updown.io does.
fn rules(args: &Args) -> Vec<(&'static str, Rule)> {
    let plain = Consecutive {
        failures: 3,
        successes: 2,
        retry_ms: 0,
        recover_ms: 0,
        slow: 0.0,
    };
    let half = args.interval / 2;
    let mut rules = vec![("llmwatch", Rule::Meter(args.policy.clone()))];
    if !args.only {
        rules.extend(
            [
                ("Gatus 3/2", plain),
                ("Gatus, time<3x", Consecutive { slow: 3.0, ..plain }),
                (
                    "Kuma",
                    Consecutive {
                        failures: 1,
                        successes: 1,
                        ..plain
                    },
                ),
                (
                    "Kuma 3 @ 20 s",
                    Consecutive {
                        failures: 4,
                        successes: 1,
                        retry_ms: 20_000,
                        ..plain
                    },
                ),
                (
                    "2 quick retries",
                    Consecutive {
                        successes: 1,
                        retry_ms: 5_000,
                        ..plain
                    },
                ),
                (
                    "as updown",
                    Consecutive {
                        successes: 3,
                        retry_ms: half,
                        recover_ms: half,
                        ..plain
                    },
                ),
            ]
            .map(|(title, rule)| (title, Rule::Consecutive(rule))),
        );
    }
    rules
}

/// Does `work` for each number below `n` on all cores; the results are in order.
fn in_parallel<T: Send>(n: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(u64, T)> = std::thread::scope(|scope| {
        let one = || {
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed) as u64;
                if i >= n {
                    return done;
                }
                done.push((i, work(i)));
            }
        };
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(one)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap_or_default())
            .collect()
    });
    assert_eq!(done.len() as u64, n, "a worker has panicked");
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, t)| t).collect()
}

fn watched(trace: &str, interval_ms: i64) -> ReplayedTrace {
    let endpoints = (0..ENDPOINTS)
        .map(|e| (name(e).into(), format!("p{}", e / PER_PROVIDER).into()))
        .collect();
    ReplayedTrace {
        trace: trace.to_owned(),
        interval_ms,
        days: (TROUBLED_DAYS - QUIET_DAYS) as f64,
        endpoints,
    }
}

fn labels(trace: &str, world: &World) -> Vec<Label> {
    let label = |i: &world::Incident| Label {
        trace: trace.to_owned(),
        start_ms: i.start,
        end_ms: i.end,
        kind: i.kind.as_str().to_owned(),
        scope: i.scope.to_owned(),
        endpoints: i.endpoints.iter().map(|e| name(*e).into()).collect(),
    };
    world.incidents.iter().map(label).collect()
}

/// Alerts per endpoint-month in the healthy worlds of one background.
fn noise(quiet: &[(Vec<String>, f64)], background: usize, months: f64) -> f64 {
    let own: Vec<_> = quiet
        .iter()
        .skip(background)
        .step_by(3)
        .map(|(alerts, _)| alerts.len())
        .collect();
    own.iter().sum::<usize>() as f64 / (own.len() as f64 * months)
}

/// One rule's line of the tables.
struct Row {
    title: &'static str,
    delays: Vec<String>,
    noise: Vec<String>,
}

/// The columns of the first two tables: kind and scope.
const DELAYS: [(&str, &str); 20] = [
    ("hard_5xx", "endpoint"),
    ("hard_hang", "endpoint"),
    ("partial_60", "endpoint"),
    ("partial_40", "endpoint"),
    ("partial_20", "endpoint"),
    ("storm_429", "endpoint"),
    ("truncated", "endpoint"),
    ("ramp_errors", "endpoint"),
    ("latency_x2", "endpoint"),
    ("latency_x3", "endpoint"),
    ("latency_x5", "endpoint"),
    ("slow_drip", "endpoint"),
    ("brownout", "endpoint"),
    ("hard_5xx", "provider"),
    ("hard_hang", "provider"),
    ("partial_40", "provider"),
    ("partial_20", "provider"),
    ("latency_x2", "provider"),
    ("latency_x3", "provider"),
    ("flapping", "provider"),
];
const NOISE: [&str; 10] = [
    "false/month",
    ".1 %",
    ".3 %",
    "1 %",
    "extra probes",
    "hard, provider",
    "partial 40, endpoint",
    "flapping, endpoint",
    "flapping, provider",
    "own network lost",
];

impl Row {
    fn new(
        title: &'static str,
        seen: &[(ReplayedTrace, Vec<Label>, Run)],
        quiet: &[(Vec<String>, f64)],
        noise: &[f64],
    ) -> Self {
        let mut replay = Replay::default();
        let mut labels = Vec::new();
        for (watched, own, run) in seen {
            replay.traces.push(watched.clone());
            replay.events.extend(run.said.iter().cloned());
            labels.extend(own.iter().cloned());
        }
        let score = Score::new(&replay, &labels);
        let of = |kind: &str, scope: &str| {
            score
                .kinds
                .iter()
                .find(|k| k.kind == kind && k.scope == scope)
        };
        let delays = DELAYS
            .iter()
            .map(|(k, s)| of(k, s).map_or_else(|| "–".to_owned(), |k| delay(&k.figures)));
        let notes = |kind, scope| {
            of(kind, scope).map_or_else(|| "–".to_owned(), |k| format!("{:.1}", k.figures.notes))
        };
        let extra = quiet.iter().map(|(_, extra)| extra).sum::<f64>() / quiet.len() as f64;
        let mut line = vec![format!(
            "{:.2}",
            noise.iter().sum::<f64>() / noise.len() as f64
        )];
        line.extend(noise.iter().map(|n| format!("{n:.2}")));
        line.push(format!("{:.1} %", 100.0 * extra));
        line.push(notes("hard_5xx", "provider"));
        line.push(notes("partial_40", "endpoint"));
        line.push(notes("flapping", "endpoint"));
        line.push(notes("flapping", "provider"));
        line.push(notes("local_net", "monitor"));
        let mut causes: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        quiet
            .iter()
            .flat_map(|(alerts, _)| alerts)
            .for_each(|c| *causes.entry(c).or_default() += 1);
        if causes.keys().any(|c| !c.is_empty()) {
            eprintln!("{title}: false alerts by cause {causes:?}");
        }
        Self {
            title,
            delays: delays.collect(),
            noise: line,
        }
    }
}

fn delay(f: &ScoreFigures) -> String {
    let seconds = |s: Option<f64>| s.map_or_else(|| "–".to_owned(), |s| format!("{s:.0}"));
    let share = 100.0 * f.caught;
    match f.median_s {
        None => format!("{share:.0} %"),
        Some(_) => format!("{share:.0} % {}/{}", seconds(f.median_s), seconds(f.p95_s)),
    }
}

fn print(rows: &[Row]) {
    let short = |k: &str| k.replace("latency_", "slow_").replace('_', " ");
    let head = |i: usize| format!("{}, {}", short(DELAYS[i].0), DELAYS[i].1);
    table("caught, and how soon", rows, 0..13, head, |r| &r.delays);
    table("an entire provider", rows, 13..20, head, |r| &r.delays);
    table(
        "noise: false alerts per endpoint-month (by background failures), then mails per incident",
        rows,
        0..NOISE.len(),
        |i| NOISE[i].to_owned(),
        |r| &r.noise,
    );
}

fn table(
    title: &str,
    rows: &[Row],
    columns: std::ops::Range<usize>,
    head: impl Fn(usize) -> String,
    cells: impl Fn(&Row) -> &Vec<String>,
) {
    println!("{title}");
    print!("  {:22}", "");
    for row in rows {
        print!("{:>17}", row.title);
    }
    println!();
    for i in columns {
        print!("  {:22}", head(i));
        for row in rows {
            print!("{:>17}", cells(row)[i]);
        }
        println!();
    }
    println!();
}
