//! Builds the report of a period: availability, faults, latency, incidents, objectives and cost,
//! per endpoint and per provider. Pure: computed from rollups and incidents.

pub mod backtest;
pub mod chart;
pub mod rollup;
pub mod routing;
pub mod sla;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeZone, Weekday};
use chrono_tz::Tz;
use serde::Serialize;

use crate::config::{self, Config, ReportEvery};
use crate::message::document;
use crate::message::values::{Locale, NONE};
use crate::model::{Block, Document, EndpointName, Evidence, Incident, Timestamp};
use crate::report::rollup::Rollup;
use crate::report::sla::Sla;
use crate::text;

/// The maximum width of a report on a terminal, in columns.
const TERMINAL: usize = 110;
/// The maximum number of request IDs per incident in the report's text.
const IDS: usize = 5;

/// A report. Durations are in milliseconds if the name ends in `_ms`. Ratios are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The location that the daemon probes from.
    pub location: String,
    /// The start of the period, inclusive.
    pub since: Timestamp,
    /// The end of the period, exclusive.
    pub until: Timestamp,
    /// All endpoints, in the order of the configuration.
    pub endpoints: Vec<ReportFigures>,
    /// All failure domains, each with the combined figures of its endpoints.
    pub providers: Vec<ReportFigures>,
    /// The incidents in the period, oldest first.
    pub incidents: Vec<Brief>,
    /// The cost of probing.
    pub cost_usd: f64,
    /// The daily limit on the cost of probing.
    pub daily_budget_usd: f64,
    /// Advice on the figures and advice that is still open at the end of the period, one sentence
    /// each.
    pub advice: Vec<String>,
    /// Additional sections of the text, after the incidents.
    #[serde(skip)]
    pub parts: Vec<Block>,
}

/// The figures of one endpoint or one provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReportFigures {
    /// Its name.
    pub name: String,
    /// The number of probes.
    pub probes: u32,
    /// The share of good probes. Faults of the account and of this machine are excluded.
    pub availability: Option<f64>,
    /// The availability objective, in percent.
    pub slo: Option<f64>,
    /// The availability in the previous period of the same length.
    pub availability_before: Option<f64>,
    /// The remaining share of the error budget; negative when it is overspent.
    pub budget_left: Option<f64>,
    /// Time in outages of the provider, from the first bad probe to the first good probe, in
    /// seconds.
    pub downtime_s: f64,
    /// The result for the requested SLA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla: Option<Sla>,
    /// Probes that failed because of the account.
    pub failed_account: u32,
    /// Probes that failed because of this machine.
    pub failed_local: u32,
    /// The number of failed probes by fault code.
    pub faults: BTreeMap<String, u32>,
    /// Time to first token of the good probes.
    pub first_token_ms: Quantiles,
    /// Total time of the good probes.
    pub total_ms: Quantiles,
    /// The median time to first token in the previous period of the same length.
    pub first_token_ms_p50_before: Option<f64>,
    /// The number of incidents in the period.
    pub incidents: usize,
    /// Tokens of the prompts.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// The cost of probing.
    pub cost_usd: f64,
}

/// Rounds an amount in US dollars to 1e-10, less than any token costs. Sums of floating-point
/// numbers otherwise end in a remainder such as 2.7e-20 where nothing was spent.
pub fn round_usd(usd: f64) -> f64 {
    rounded(usd, 1e10)
}

/// Rounds to a multiple of `1 / steps`.
fn rounded(value: f64, steps: f64) -> f64 {
    // Adding zero makes the negative zero positive.
    (value * steps).round() / steps + 0.0
}

/// Latency quantiles of the probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

impl Quantiles {
    fn of(sketch: &rollup::Sketch) -> Self {
        Self {
            p50: sketch.quantile(0.5),
            p95: sketch.quantile(0.95),
            p99: sketch.quantile(0.99),
        }
    }
}

/// A one-line summary of an incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "as in the incident")]
pub struct Brief {
    pub number: u64,
    pub status: crate::model::Status,
    pub attribution: crate::model::Attribution,
    pub title: String,
    pub endpoints: Vec<EndpointName>,
    pub started_at: Timestamp,
    /// The first good probe of the recovery.
    pub ended_at: Option<Timestamp>,
    pub resolved_at: Option<Timestamp>,
    pub duration_s: f64,
    /// The provider's IDs of failed requests, for a support ticket.
    pub request_ids: Vec<String>,
}

/// One rollup per endpoint for the entire period.
pub type Sums = BTreeMap<EndpointName, Rollup>;

/// What the figures of a report are computed from.
struct ReportPeriod<'a> {
    since: Timestamp,
    /// The end, or now if that is earlier: downtime does not reach into the future.
    until: Timestamp,
    now: &'a Sums,
    before: &'a Sums,
    incidents: &'a [Incident],
}

impl ReportPeriod<'_> {
    /// Returns the figures of the endpoints with these names, taken together.
    fn figures(&self, title: String, names: &[&str], slo: Option<f64>) -> ReportFigures {
        let count = self
            .incidents
            .iter()
            .filter(|i| i.affected().any(|e| names.contains(&e.as_str())))
            .count();
        let span = (self.since, self.until);
        let downtime_s = sla::downtime_s(self.incidents, span, |e| names.contains(&e));
        ReportFigures::new(
            title,
            slo,
            &merged(self.now, names),
            &merged(self.before, names),
            (count, downtime_s),
        )
    }
}

fn merged(all: &Sums, names: &[&str]) -> Rollup {
    let mut sum = Rollup::default();
    for rollup in names.iter().filter_map(|name| all.get(*name)) {
        sum.merge(rollup);
    }
    sum
}

impl Report {
    /// Builds the report from `since` to `until`. `now` holds the sums of the period and `before`
    /// those of the previous period. `incidents` are those that were open in the period, `standing`
    /// is the advice that is still open. An incident that is open at `at` lasts until then.
    pub fn new(
        config: &Config,
        (since, until): (Timestamp, Timestamp),
        at: Timestamp,
        (now, before): (&Sums, &Sums),
        incidents: &[Incident],
        standing: &[String],
    ) -> Self {
        let measured_until = until.min(at);
        let period = ReportPeriod {
            since,
            until: measured_until,
            now,
            before,
            incidents,
        };
        let endpoints: Vec<_> = config
            .endpoints
            .iter()
            .map(|e| period.figures(e.name.to_string(), &[e.name.as_str()], Some(e.slo)))
            .collect();
        let mut domains: Vec<(String, Vec<&str>)> = Vec::new();
        for endpoint in &config.endpoints {
            let title = endpoint.domain_title();
            match domains.iter_mut().find(|(t, _)| *t == title) {
                Some((_, names)) => names.push(&endpoint.name),
                None => domains.push((title, vec![&endpoint.name])),
            }
        }
        Self {
            location: config.monitor.location.clone(),
            since,
            until,
            cost_usd: round_usd(endpoints.iter().map(|e| e.cost_usd).sum()),
            daily_budget_usd: config.budget.daily_usd,
            advice: advice(&endpoints, &Locale::of(config))
                .chain(standing.iter().cloned())
                .collect(),
            providers: domains
                .into_iter()
                .map(|(title, names)| period.figures(title, &names, None))
                .collect(),
            endpoints,
            incidents: incidents
                .iter()
                .map(|i| Brief::of(i, measured_until))
                .collect(),
            parts: Vec::new(),
        }
    }

    /// Adds the SLA result for `objective`, in percent, to each endpoint and provider.
    #[must_use]
    pub fn with_sla(mut self, objective: f64, locale: &Locale) -> Self {
        let length = Duration::from_millis(self.until.since_ms(self.since).max(0).unsigned_abs());
        for figures in self.endpoints.iter_mut().chain(&mut self.providers) {
            let availability = figures.availability;
            let downtime_s = figures.downtime_s;
            figures.sla = Some(Sla::new(objective, availability, downtime_s, length));
        }
        let part = sla_part(objective, &self.providers, &self.endpoints, locale);
        self.parts.extend(part);
        self
    }

    /// Returns a one-line summary.
    pub fn title(&self, locale: &Locale) -> String {
        let worst = self
            .endpoints
            .iter()
            .filter_map(|e| e.availability)
            .reduce(f64::min);
        let worst = match worst {
            None => locale.say("nothing measured").to_owned(),
            Some(share) => {
                let share = locale.percent(share);
                text!(locale, "lowest availability {share}", share)
            }
        };
        let from = locale.date(self.since);
        let to = locale.date(self.until);
        let span = if from == to {
            from
        } else {
            text!(locale, "{from} to {to}", from, to)
        };
        let location = &self.location;
        let n = self.incidents.len();
        let incidents = text!(locale, n => "{n} incident", "{n} incidents"; n);
        format!("{location} {span}: {worst}, {incidents}")
    }

    /// Returns the report as plain text.
    pub fn text(&self, locale: &Locale) -> String {
        document::text(&self.blocks(locale), TERMINAL)
    }

    /// Returns the report as Markdown.
    pub fn markdown(&self, locale: &Locale) -> String {
        let mut blocks = self.blocks(locale);
        blocks.insert(0, Block::Heading(self.title(locale)));
        document::markdown(&blocks)
            .trim_start()
            .replacen("## ", "# ", 1)
    }

    /// Returns a CSV header and one line per endpoint.
    pub fn csv(&self) -> String {
        let mut out = "endpoint,probes,availability,slo,budget_left,failed_account,failed_local,first_token_ms_p50,first_token_ms_p95,\
                       first_token_ms_p99,total_ms_p50,total_ms_p95,total_ms_p99,incidents,input_tokens,output_tokens,cost_usd,\
                       availability_before,first_token_ms_p50_before,downtime_s,sla_objective,sla_allowed_s,sla_missed\n"
            .to_owned();

        for e in &self.endpoints {
            let f = e.first_token_ms;
            let t = e.total_ms;
            let cells = [
                format!("\"{}\"", e.name.replace('"', "\"\"")),
                e.probes.to_string(),
                csv_number(e.availability),
                csv_number(e.slo),
                csv_number(e.budget_left),
                e.failed_account.to_string(),
                e.failed_local.to_string(),
                csv_number(f.p50),
                csv_number(f.p95),
                csv_number(f.p99),
                csv_number(t.p50),
                csv_number(t.p95),
                csv_number(t.p99),
                e.incidents.to_string(),
                e.input_tokens.to_string(),
                e.output_tokens.to_string(),
                e.cost_usd.to_string(),
                csv_number(e.availability_before),
                csv_number(e.first_token_ms_p50_before),
                e.downtime_s.to_string(),
                csv_number(e.sla.map(|s| s.objective)),
                csv_number(e.sla.map(|s| s.allowed_s)),
                e.sla.map(|s| s.missed.to_string()).unwrap_or_default(),
            ];
            out += &format!("{}\n", cells.join(","));
        }
        out
    }

    /// Returns a self-contained HTML page; `charts` is the output of [`chart::html`].
    pub fn html(&self, locale: &Locale, charts: &str) -> String {
        document::page(&self.title(locale), &self.blocks(locale), charts, locale)
    }

    /// Returns the report as a message.
    pub fn document(&self, locale: &Locale) -> Document {
        // Plain data with string keys: serialising cannot fail.
        Document {
            blocks: self.blocks(locale),
            data: serde_json::to_value(self).unwrap_or_default(),
        }
    }

    fn blocks(&self, locale: &Locale) -> Vec<Block> {
        let since = locale.time(self.since);
        let until = locale.time(self.until);
        let n = self
            .endpoints
            .iter()
            .map(|e| u64::from(e.probes))
            .sum::<u64>();
        let probes = locale.number(n);
        let location = &self.location;
        let mut blocks = vec![Block::Text(text!(
            locale,
            n => "From {since} to {until}; {probes} probe from {location}.",
            "From {since} to {until}; {probes} probes from {location}.";
            since, until, probes, location
        ))];
        blocks.extend([
            heading(locale.say("Availability")),
            availability(&self.endpoints, locale),
            heading(locale.say("Availability by provider")),
            availability(&self.providers, locale),
            heading(locale.say("Latency of successful probes (ms)")),
            latency(&self.endpoints, locale),
        ]);
        let faults: Vec<_> = self
            .endpoints
            .iter()
            .filter(|e| !e.faults.is_empty())
            .map(ReportFigures::tally)
            .collect();
        if !faults.is_empty() {
            blocks.push(heading(locale.say("Faults")));
            blocks.push(Block::List(faults));
        }
        let n = self.incidents.len();
        blocks.push(Block::Heading(text!(locale, "Incidents ({n})", n)));
        blocks.push(if self.incidents.is_empty() {
            Block::Text(locale.say("None.").to_owned())
        } else {
            Block::List(self.incidents.iter().map(|i| i.line(locale)).collect())
        });
        blocks.extend(self.parts.iter().cloned());
        blocks.push(heading(locale.say("Cost of probing")));
        let n = self
            .endpoints
            .iter()
            .map(|e| e.input_tokens + e.output_tokens)
            .sum::<u64>();
        let tokens = locale.number(n);
        let spent = locale.money(self.cost_usd);
        let budget = locale.money(self.daily_budget_usd);
        blocks.push(Block::Text(text!(
            locale,
            n => "Probing cost {spent} for {tokens} token; the budget is {budget} a day.",
            "Probing cost {spent} for {tokens} tokens; the budget is {budget} a day.";
            spent, tokens, budget
        )));
        if self.endpoints.len() > 1 {
            blocks.push(cost(&self.endpoints, locale));
        }
        if !self.advice.is_empty() {
            blocks.push(heading(locale.say("Advice")));
            blocks.push(Block::List(self.advice.clone()));
        }
        blocks
    }
}

/// Returns advice on the figures.
fn advice<'a>(
    endpoints: &'a [ReportFigures],
    locale: &'a Locale,
) -> impl Iterator<Item = String> + 'a {
    endpoints.iter().flat_map(move |e| {
        let n = e.failed_account;
        let name = &e.name;
        let overdrawn = e.budget_left.is_some_and(|left| left < 0.0).then(
            || text!(locale, "{name} has used more than its error budget.", name),
        );
        let refused = (n > 0).then(|| {
            text!(
                locale,
                n => "{name}: {n} probe failed because of your account: check key, quota and limits.",
                "{name}: {n} probes failed because of your account: check key, quota and limits.";
                name, n
            )
        });
        overdrawn.into_iter().chain(refused)
    })
}

impl ReportFigures {
    fn new(
        name: String,
        slo: Option<f64>,
        sum: &Rollup,
        before: &Rollup,
        (incidents, downtime_s): (usize, f64),
    ) -> Self {
        let availability = sum.availability();
        let allowed = slo.map(|s| 1.0 - s / 100.0).filter(|a| *a > 0.0);
        let mut faults: BTreeMap<String, u32> = BTreeMap::new();
        for ((fault, _), n) in &sum.faults {
            *faults.entry(fault.to_string()).or_default() += n;
        }
        Self {
            name,
            probes: sum.probes(),
            availability,
            availability_before: before.availability(),
            downtime_s,
            sla: None,
            slo,
            budget_left: availability
                .zip(allowed)
                .map(|(a, allowed)| rounded(1.0 - (1.0 - a) / allowed, 1e9)),
            failed_account: sum.failed_account,
            failed_local: sum.failed_local,
            faults,
            first_token_ms: Quantiles::of(&sum.first_token),
            total_ms: Quantiles::of(&sum.total),
            first_token_ms_p50_before: before.first_token.quantile(0.5),
            incidents,
            input_tokens: sum.input_tokens,
            output_tokens: sum.output_tokens,
            cost_usd: round_usd(sum.cost_usd),
        }
    }
}

impl ReportFigures {
    fn tally(&self) -> String {
        let mut faults: Vec<_> = self.faults.iter().collect();
        faults.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let list: Vec<_> = faults
            .iter()
            .map(|(code, n)| format!("{n} × {code}"))
            .collect();
        format!("{}: {}", self.name, list.join(", "))
    }
}

impl Brief {
    fn line(&self, locale: &Locale) -> String {
        let lasted = if self.resolved_at.is_some() {
            locale.duration(self.duration_s)
        } else {
            locale.duration_so_far(self.duration_s)
        };
        let number = self.number;
        let title = &self.title;
        let from = locale.time(self.started_at);
        let mut line = match self.ended_at.or(self.resolved_at) {
            Some(end) => {
                let to = locale.time(end);
                text!(
                    locale,
                    "#{number} {from} to {to}, {lasted}: {title}",
                    number,
                    from,
                    to,
                    lasted,
                    title
                )
            }
            None => format!("#{number} {from}, {lasted}: {title}"),
        };
        if let ids @ [_, ..] = self.request_ids.as_slice() {
            let ids = ids[..ids.len().min(IDS)].join(", ");
            line += &text!(locale, "; request IDs {ids}", ids);
        }
        line
    }

    fn of(i: &Incident, until: Timestamp) -> Self {
        let end = i.end().unwrap_or(until);
        Self {
            number: i.number,
            status: i.status,
            attribution: i.attribution,
            title: i.title.clone(),
            endpoints: i.affected().cloned().collect(),
            started_at: i.started_at,
            ended_at: i.ended_at,
            resolved_at: i.resolved_at,
            request_ids: i
                .evidence
                .request_ids
                .iter()
                .take(Evidence::MAX_REQUEST_IDS)
                .cloned()
                .collect(),
            duration_s: end.since_ms(i.started_at).max(0) as f64 / 1000.0,
        }
    }
}

/// Returns the period that `[report]` should cover at `now`: the last complete one.
pub fn last_period(
    report: &config::ReportSettings,
    zone: Tz,
    now: Timestamp,
) -> Option<(Timestamp, Timestamp)> {
    let local = now.to_datetime().with_timezone(&zone);

    let today = local.date_naive();
    let mut end = match report.every {
        ReportEvery::Daily => today,
        ReportEvery::Weekly => today.week(Weekday::Mon).first_day(),
        ReportEvery::Monthly => today.with_day(1)?,
    };
    if moment(zone, end, report.at)? > now {
        end = one_period_before(end, report.every)?;
    }
    Some((
        moment(zone, one_period_before(end, report.every)?, report.at)?,
        moment(zone, end, report.at)?,
    ))
}

fn one_period_before(date: NaiveDate, every: ReportEvery) -> Option<NaiveDate> {
    match every {
        ReportEvery::Daily => date.checked_sub_days(Days::new(1)),
        ReportEvery::Weekly => date.checked_sub_days(Days::new(7)),
        ReportEvery::Monthly => date.checked_sub_months(Months::new(1)),
    }
}

/// Parses a month such as `2026-10` and returns its start and end in local time.
pub fn month(text: &str, zone: Tz) -> Option<(Timestamp, Timestamp)> {
    let first = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok()?;
    Some((
        moment(zone, first, 0)?,
        moment(zone, first.checked_add_months(Months::new(1))?, 0)?,
    ))
}

/// Converts a local minute of the day. If a clock change skips that minute, returns an hour later.
fn moment(zone: Tz, date: NaiveDate, minute: u16) -> Option<Timestamp> {
    let time = date.and_hms_opt(u32::from(minute / 60), u32::from(minute % 60), 0)?;
    let found: DateTime<Tz> = zone.from_local_datetime(&time).earliest().or_else(|| {
        zone.from_local_datetime(&(time + Duration::from_hours(1)))
            .earliest()
    })?;
    Some(Timestamp(found.timestamp_millis()))
}

fn availability(all: &[ReportFigures], locale: &Locale) -> Block {
    // Keep the columns few enough for a phone.
    let head = [
        "",
        locale.say("availability"),
        locale.say("previous period"),
        locale.say("SLO"),
        locale.say("budget left"),
        locale.say("downtime"),
        locale.say("incidents"),
    ];
    Block::Table {
        head: head.map(str::to_owned).to_vec(),
        rows: all.iter().map(|f| availability_row(f, locale)).collect(),
    }
}

fn availability_row(f: &ReportFigures, locale: &Locale) -> Vec<String> {
    vec![
        f.name.clone(),
        percent(f.availability, locale),
        percent(f.availability_before, locale),
        f.slo
            .map_or(NONE.to_owned(), |slo| locale.percentage(slo, 3)),
        f.budget_left
            .map_or(NONE.to_owned(), |left| budget(left, locale)),
        minutes(f.downtime_s, locale),
        f.incidents.to_string(),
    ]
}

/// Builds the table of probing costs per endpoint.
fn cost(all: &[ReportFigures], locale: &Locale) -> Block {
    let head = [
        "",
        locale.say("probes"),
        locale.say("tokens in"),
        locale.say("tokens out"),
        locale.say("cost"),
    ];
    Block::Table {
        head: head.map(str::to_owned).to_vec(),
        rows: all.iter().map(|f| cost_row(f, locale)).collect(),
    }
}

fn cost_row(f: &ReportFigures, locale: &Locale) -> Vec<String> {
    vec![
        f.name.clone(),
        locale.number(f.probes),
        locale.number(f.input_tokens),
        locale.number(f.output_tokens),
        locale.money(f.cost_usd),
    ]
}

fn heading(text: &str) -> Block {
    Block::Heading(text.to_owned())
}

fn csv_number(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// Formats downtime in minutes.
fn minutes(seconds: f64, locale: &Locale) -> String {
    if seconds == 0.0 {
        return "0".to_owned();
    }
    format!("{} min", locale.decimal(seconds / 60.0, 1))
}

/// Builds the SLA section, with links to the vendors' own terms.
fn sla_part(
    objective: f64,
    providers: &[ReportFigures],
    endpoints: &[ReportFigures],
    locale: &Locale,
) -> Vec<Block> {
    let head = [
        "",
        locale.say("availability"),
        locale.say("downtime"),
        locale.say("allowed"),
        locale.say("missed"),
    ];
    let rows = providers
        .iter()
        .chain(endpoints)
        .filter_map(|f| sla_row(f, locale))
        .collect();
    let objective = locale.percentage(objective, 3);
    vec![
        Block::Heading(text!(locale, "Commitment of {objective}", objective)),
        Block::Table {
            head: head.map(str::to_owned).to_vec(),
            rows,
        },
        Block::Text(
            locale.say("Downtime counts from the first failed to the first good probe of each outage of the provider. Whether a vendor \
             owes anything is decided by its own terms: Azure https://www.microsoft.com/licensing/docs/view/Service-Level-Agreements-SLA-for-Online-Services, \
             OpenAI https://openai.com/api-scale-tier/, Google https://cloud.google.com/vertex-ai/generative-ai/sla, Amazon \
             https://aws.amazon.com/bedrock/sla/.")
                .to_owned(),
        ),
    ]
}

fn sla_row(f: &ReportFigures, locale: &Locale) -> Option<Vec<String>> {
    let sla = f.sla?;
    let missed = match (sla.missed, sla.excess_s()) {
        (false, _) => locale.say("no").to_owned(),
        (true, 0.0) => locale.say("yes, by availability").to_owned(),
        (true, excess) => {
            let excess = minutes(excess, locale);
            text!(locale, "yes, by {excess}", excess)
        }
    };
    Some(vec![
        f.name.clone(),
        percent(sla.availability, locale),
        minutes(sla.downtime_s, locale),
        minutes(sla.allowed_s, locale),
        missed,
    ])
}

fn latency(all: &[ReportFigures], locale: &Locale) -> Block {
    let head = [
        "",
        locale.say("first token p50"),
        locale.say("previous period"),
        "p95",
        "p99",
        locale.say("total p50"),
    ];
    Block::Table {
        head: head.map(str::to_owned).to_vec(),
        rows: all.iter().map(|f| latency_row(f, locale)).collect(),
    }
}

fn latency_row(f: &ReportFigures, locale: &Locale) -> Vec<String> {
    let t = f.first_token_ms;
    let figures = [
        t.p50,
        f.first_token_ms_p50_before,
        t.p95,
        t.p99,
        f.total_ms.p50,
    ];
    std::iter::once(f.name.clone())
        .chain(figures.map(|v| v.map_or(NONE.to_owned(), |v| locale.number(v.round()))))
        .collect()
}

/// Formats the remaining error budget. If it is overspent, adds how many times it was used.
fn budget(left: f64, locale: &Locale) -> String {
    let percent = (left * 100.0).round();
    let used = 1.0 - left;
    if percent >= 0.0 {
        // Without `abs`, a value between -0.5% and 0 would print as negative zero.
        return locale.percentage(percent.abs(), 0);
    }
    let digits = usize::from(used < 9.95);
    let over = locale.percentage(-percent, 0);
    let times = locale.decimal(used, digits);
    text!(locale, "−{over} (budget used {times}×)", over, times)
}

fn percent(share: Option<f64>, locale: &Locale) -> String {
    share.map_or(NONE.to_owned(), |s| locale.percent(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(every: ReportEvery, now: &str) -> (String, String) {
        let report = config::ReportSettings {
            every,
            at: 8 * 60,
            to: Vec::new(),
        };
        let (from, to) = last_period(
            &report,
            chrono_tz::Europe::Berlin,
            Timestamp::parse(now).unwrap(),
        )
        .unwrap();
        (from.to_string(), to.to_string())
    }

    #[test]
    fn a_period_ends_at_its_local_hour() {
        let of = |every, now, from: &str, to: &str| {
            assert_eq!(
                period(every, now),
                (format!("{from}.000Z"), format!("{to}.000Z"))
            );
        };
        of(
            ReportEvery::Daily,
            "2026-11-25T06:59:00Z",
            "2026-11-23T07:00:00",
            "2026-11-24T07:00:00",
        );
        of(
            ReportEvery::Daily,
            "2026-11-25T07:00:00Z",
            "2026-11-24T07:00:00",
            "2026-11-25T07:00:00",
        );
        of(
            ReportEvery::Weekly,
            "2026-11-25T07:00:00Z",
            "2026-11-16T07:00:00",
            "2026-11-23T07:00:00",
        );
        // Daylight saving time ends in October.
        of(
            ReportEvery::Monthly,
            "2026-11-25T07:00:00Z",
            "2026-10-01T06:00:00",
            "2026-11-01T07:00:00",
        );
    }

    #[test]
    fn faults_of_the_account_and_of_this_machine_are_no_downtime() {
        let sum = Rollup {
            ok: 999,
            failed_provider: 1,
            failed_account: 50,
            failed_local: 7,
            ..Rollup::default()
        };
        let figures = ReportFigures::new(
            "a".to_owned(),
            Some(99.8),
            &sum,
            &Rollup::default(),
            (1, 0.0),
        );
        assert_eq!(figures.availability, Some(0.999));
        assert!(
            (figures.budget_left.unwrap() - 0.5).abs() < 1e-9,
            "{figures:?}"
        );
    }

    #[test]
    fn an_overspent_budget_shows_how_many_times_it_was_used() {
        let of = [1.0, 0.304, 0.0, -0.004, -0.02, -0.5, -86.38]
            .map(|left| budget(left, &Locale::default()));
        assert_eq!(
            of,
            [
                "100%",
                "30%",
                "0%",
                "0%",
                "−2% (budget used 1×)",
                "−50% (budget used 1.5×)",
                "−8,638% (budget used 87×)",
            ]
        );
    }
}
