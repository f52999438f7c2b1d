//! What a stretch of time was like: availability, faults, latency, incidents, objectives and spending, per endpoint and
//! per provider. Pure, from rollups and incidents.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeZone, Weekday};
use chrono_tz::Tz;
use serde::Serialize;

use crate::config::{self, Config, ReportEvery};
use crate::incident::human_duration;
use crate::model::{Document, Incident, Timestamp};
use crate::rollup::Rollup;

/// A report. Durations are in milliseconds where the name ends in `_ms`, shares are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where the daemon probes from.
    pub location: String,
    /// From this moment…
    pub since: Timestamp,
    /// …to before this one.
    pub until: Timestamp,
    /// Each endpoint, in the order of the configuration.
    pub endpoints: Vec<Figures>,
    /// Each failure domain: its endpoints together.
    pub providers: Vec<Figures>,
    /// What went on in this time, oldest first.
    pub incidents: Vec<Brief>,
    /// What probing cost.
    pub cost_usd: f64,
}

/// The figures of one endpoint or one provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Its name.
    pub name: String,
    /// All probes.
    pub probes: u32,
    /// Good probes of those that say something about the provider: faults of the account and of this machine do not.
    pub availability: Option<f64>,
    /// The objective for that, in percent.
    pub slo: Option<f64>,
    /// How much of the error budget is left; negative when it is overdrawn.
    pub budget_left: Option<f64>,
    /// Probes that failed by the account's fault.
    pub failed_account: u32,
    /// Probes that failed by this machine's fault.
    pub failed_local: u32,
    /// The failed ones by their code.
    pub faults: BTreeMap<String, u32>,
    /// First tokens of the good probes.
    pub first_token_ms: Quantiles,
    /// Totals of the good probes.
    pub total_ms: Quantiles,
    /// The median first token in the stretch of the same length before.
    pub first_token_ms_p50_before: Option<f64>,
    /// Incidents in this time.
    pub incidents: usize,
    /// Tokens of the prompts.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// What probing cost.
    pub cost_usd: f64,
}

/// Latencies below which half, 95 and 99 of a hundred probes stayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// One incident in a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "as in the incident")]
pub struct Brief {
    pub number: u64,
    pub status: crate::model::Status,
    pub attribution: crate::model::Attribution,
    pub title: String,
    pub endpoints: Vec<String>,
    pub started_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub duration_s: f64,
}

/// Rollups per endpoint.
pub type Rollups = BTreeMap<String, Vec<Rollup>>;

impl Report {
    /// The report of the time from `since` to `until`: `now` are its rollups, `before` those of as long a time before.
    pub fn new(
        config: &Config,
        (since, until): (Timestamp, Timestamp),
        (now, before): (&Rollups, &Rollups),
        incidents: &[Incident],
    ) -> Self {
        let together = |all: &Rollups, names: &[&str]| {
            let mut sum = Rollup::default();
            names.iter().filter_map(|n| all.get(*n)).flatten().for_each(|r| sum.merge(r));
            sum
        };
        let within = |i: &&Incident| i.started_at < until && i.resolved_at.is_none_or(|at| at >= since);
        let incidents: Vec<_> = incidents.iter().filter(within).collect();
        let figures = |name: String, names: &[&str], slo: Option<f64>| {
            let (sum, earlier) = (together(now, names), together(before, names));
            let count = incidents.iter().filter(|i| i.endpoints.iter().any(|e| names.contains(&e.as_str()))).count();
            Figures::new(name, slo, &sum, &earlier, count)
        };
        let endpoints: Vec<_> =
            config.endpoints.iter().map(|e| figures(e.name.clone(), &[e.name.as_str()], Some(e.slo))).collect();
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
            cost_usd: endpoints.iter().map(|e| e.cost_usd).sum(),
            providers: domains.into_iter().map(|(title, names)| figures(title, &names, None)).collect(),
            endpoints,
            incidents: incidents.iter().map(|i| Brief::of(i, until)).collect(),
        }
    }

    /// One line that says the most of it.
    pub fn title(&self) -> String {
        let worst = self.endpoints.iter().filter_map(|e| e.availability).reduce(f64::min);
        let worst = worst.map_or("nothing measured".to_owned(), |a| format!("availability from {}", percent(Some(a))));
        let n = self.incidents.len();
        format!("report: {worst}, {n} incident{}", if n == 1 { "" } else { "s" })
    }

    /// Plain text.
    pub fn text(&self, zone: Tz) -> String {
        let mut out = format!("From {} to {} at {}\n", when(self.since, zone), when(self.until, zone), self.location);
        for (head, all) in [("ENDPOINTS", &self.endpoints), ("PROVIDERS", &self.providers)] {
            out += &format!("\n{head}\n{}\n", aligned(&rows(all)));
        }
        let faults: Vec<_> = self.endpoints.iter().filter(|e| !e.faults.is_empty()).collect();
        if !faults.is_empty() {
            out += "\nFAULTS\n";
            for e in faults {
                let list: Vec<_> = e.faults.iter().map(|(code, n)| format!("{n} × {code}")).collect();
                out += &format!("  {}: {}\n", e.name, list.join(", "));
            }
        }
        out += &format!("\nINCIDENTS ({})\n", self.incidents.len());
        for i in &self.incidents {
            let lasted = human_duration(i.duration_s);
            let end = if i.resolved_at.is_some() { lasted } else { format!("{lasted} so far") };
            out += &format!("  #{} {}, {end}: {}\n", i.number, when(i.started_at, zone), i.title);
        }
        out += &format!("\nProbing cost {:.4} USD.\n", self.cost_usd);
        for advice in self.advice() {
            out += &format!("{advice}\n");
        }
        out
    }

    /// Markdown.
    pub fn markdown(&self, zone: Tz) -> String {
        let mut out = format!(
            "# {}\n\nFrom {} to {} at {}\n",
            self.title(),
            when(self.since, zone),
            when(self.until, zone),
            self.location
        );
        for (head, all) in [("Endpoints", &self.endpoints), ("Providers", &self.providers)] {
            out += &format!("\n## {head}\n\n");
            for (n, row) in rows(all).iter().enumerate() {
                let cells: Vec<_> = row.iter().map(|c| c.replace('|', "\\|")).collect();
                out += &format!("| {} |\n", cells.join(" | "));
                if n == 0 {
                    out += &format!("|{}\n", " --- |".repeat(row.len()));
                }
            }
        }
        out += "\n## Incidents\n\n";
        for i in &self.incidents {
            out += &format!(
                "- #{} {}, {}: {}\n",
                i.number,
                when(i.started_at, zone),
                human_duration(i.duration_s),
                i.title
            );
        }
        out + &format!("\nProbing cost {:.4} USD.\n", self.cost_usd)
    }

    /// One line an endpoint, with a head.
    pub fn csv(&self) -> String {
        let mut out = "endpoint,probes,availability,slo,budget_left,failed_account,failed_local,first_token_ms_p50,first_token_ms_p95,\
                       first_token_ms_p99,total_ms_p50,total_ms_p95,total_ms_p99,incidents,input_tokens,output_tokens,cost_usd\n"
            .to_owned();
        let number = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
        for e in &self.endpoints {
            let (f, t) = (e.first_token_ms, e.total_ms);
            let cells = [
                format!("\"{}\"", e.name.replace('"', "\"\"")),
                e.probes.to_string(),
                number(e.availability),
                number(e.slo),
                number(e.budget_left),
                e.failed_account.to_string(),
                e.failed_local.to_string(),
                number(f.p50),
                number(f.p95),
                number(f.p99),
                number(t.p50),
                number(t.p95),
                number(t.p99),
                e.incidents.to_string(),
                e.input_tokens.to_string(),
                e.output_tokens.to_string(),
                e.cost_usd.to_string(),
            ];
            out += &format!("{}\n", cells.join(","));
        }
        out
    }

    /// A page of HTML without anything from elsewhere.
    pub fn html(&self, zone: Tz) -> String {
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body>\n<h1>{title}</h1>\n{body}\n</body></html>\n",
            title = escape(&self.title()),
            body = self.fragment(zone)
        )
    }

    /// The report as a message.
    pub fn document(&self, zone: Tz) -> Document {
        // Plain data with string keys: serialising cannot fail.
        let data = serde_json::to_value(self).unwrap_or_default();
        Document { text: self.text(zone), html: self.fragment(zone), data }
    }

    fn fragment(&self, zone: Tz) -> String {
        let mut out = format!(
            "<p>From {} to {} at {}</p>\n",
            when(self.since, zone),
            when(self.until, zone),
            escape(&self.location)
        );
        for (head, all) in [("Endpoints", &self.endpoints), ("Providers", &self.providers)] {
            out += &format!("<h2>{head}</h2>\n<table style=\"border-collapse:collapse\">\n");
            for (n, row) in rows(all).iter().enumerate() {
                let tag = if n == 0 { "th" } else { "td" };
                out += "<tr>";
                for cell in row {
                    let cell = escape(cell);
                    out += &format!("<{tag} style=\"text-align:left;padding:2px 12px 2px 0\">{cell}</{tag}>");
                }
                out += "</tr>\n";
            }
            out += "</table>\n";
        }
        out += &format!("<h2>Incidents ({})</h2>\n<ul>\n", self.incidents.len());
        for i in &self.incidents {
            let line =
                format!("#{} {}, {}: {}", i.number, when(i.started_at, zone), human_duration(i.duration_s), i.title);
            out += &format!("<li>{}</li>\n", escape(&line));
        }
        out += &format!("</ul>\n<p>Probing cost {:.4} USD.</p>\n", self.cost_usd);
        self.advice().iter().for_each(|a| out += &format!("<p>{}</p>\n", escape(a)));
        out
    }

    /// What to do about it.
    fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        for e in &self.endpoints {
            if e.budget_left.is_some_and(|left| left < 0.0) {
                advice.push(format!(
                    "{} has overdrawn its error budget: its faults are evidence for service credits.",
                    e.name
                ));
            }
            if e.failed_account > 0 {
                advice.push(format!(
                    "{}: {} probes failed by the account's fault: look at key, quota and limits.",
                    e.name, e.failed_account
                ));
            }
        }
        advice
    }
}

impl Figures {
    fn new(name: String, slo: Option<f64>, sum: &Rollup, before: &Rollup, incidents: usize) -> Self {
        let quantiles = |s: &crate::rollup::Sketch| Quantiles {
            p50: s.quantile(0.5),
            p95: s.quantile(0.95),
            p99: s.quantile(0.99),
        };
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
            slo,
            budget_left: availability.zip(allowed).map(|(a, allowed)| 1.0 - (1.0 - a) / allowed),
            failed_account: sum.failed_account,
            failed_local: sum.failed_local,
            faults,
            first_token_ms: quantiles(&sum.first_token),
            total_ms: quantiles(&sum.total),
            first_token_ms_p50_before: before.first_token.quantile(0.5),
            incidents,
            input_tokens: sum.input_tokens,
            output_tokens: sum.output_tokens,
            cost_usd: sum.cost_usd,
        }
    }
}

impl Brief {
    fn of(i: &Incident, until: Timestamp) -> Self {
        let end = i.resolved_at.unwrap_or(until);
        Self {
            number: i.number,
            status: i.status,
            attribution: i.attribution,
            title: i.title.clone(),
            endpoints: i.endpoints.clone(),
            started_at: i.started_at,
            resolved_at: i.resolved_at,
            duration_s: end.since_ms(i.started_at).max(0) as f64 / 1000.0,
        }
    }
}

/// The period that `[report]` should have told about as of `now`: the last one that is whole.
pub fn last_period(report: &config::Report, zone: Tz, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let local = now.to_datetime().with_timezone(&zone);
    let back = |date: NaiveDate| match report.every {
        ReportEvery::Daily => date.checked_sub_days(Days::new(1)),
        ReportEvery::Weekly => date.checked_sub_days(Days::new(7)),
        ReportEvery::Monthly => date.checked_sub_months(Months::new(1)),
    };
    let today = local.date_naive();
    let mut end = match report.every {
        ReportEvery::Daily => today,
        ReportEvery::Weekly => today.week(Weekday::Mon).first_day(),
        ReportEvery::Monthly => today.with_day(1)?,
    };
    if moment(zone, end, report.at)? > now {
        end = back(end)?;
    }
    Some((moment(zone, back(end)?, report.at)?, moment(zone, end, report.at)?))
}

/// The month `2026-10` in local time.
pub fn month(text: &str, zone: Tz) -> Option<(Timestamp, Timestamp)> {
    let first = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok()?;
    Some((moment(zone, first, 0)?, moment(zone, first.checked_add_months(Months::new(1))?, 0)?))
}

/// A local minute of a day; where a clock change skips it, an hour later.
fn moment(zone: Tz, date: NaiveDate, minute: u16) -> Option<Timestamp> {
    let time = date.and_hms_opt(u32::from(minute / 60), u32::from(minute % 60), 0)?;
    let found: DateTime<Tz> = zone
        .from_local_datetime(&time)
        .earliest()
        .or_else(|| zone.from_local_datetime(&(time + Duration::from_hours(1))).earliest())?;
    Some(Timestamp(found.timestamp_millis()))
}

fn rows(all: &[Figures]) -> Vec<Vec<String>> {
    let head = [
        "name",
        "availability",
        "budget left",
        "first token p50/p95/p99",
        "before",
        "total p50/p95",
        "probes",
        "incidents",
        "USD",
    ];
    let ms = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.0}"));
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|f| {
        let (t, total) = (f.first_token_ms, f.total_ms);
        vec![
            f.name.clone(),
            percent(f.availability),
            f.budget_left.map_or("-".to_owned(), |v| format!("{:.0} %", v * 100.0)),
            format!("{}/{}/{} ms", ms(t.p50), ms(t.p95), ms(t.p99)),
            f.first_token_ms_p50_before.map_or("-".to_owned(), |v| format!("{v:.0} ms")),
            format!("{}/{} ms", ms(total.p50), ms(total.p95)),
            f.probes.to_string(),
            f.incidents.to_string(),
            format!("{:.4}", f.cost_usd),
        ]
    }));
    rows
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row.iter().enumerate().map(|(c, cell)| format!("{cell:w$}", w = width(c))).collect();
        format!("  {}", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |s| format!("{:.3} %", s * 100.0))
}

fn when(at: Timestamp, zone: Tz) -> String {
    at.to_datetime().with_timezone(&zone).format("%Y-%m-%d %H:%M %:z").to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(every: ReportEvery, now: &str) -> (String, String) {
        let report = config::Report { every, at: 8 * 60, to: Vec::new() };
        let (from, to) = last_period(&report, chrono_tz::Europe::Berlin, Timestamp::parse(now).unwrap()).unwrap();
        (from.to_string(), to.to_string())
    }

    #[test]
    fn a_period_ends_at_its_local_hour() {
        let of = |every, now, from: &str, to: &str| {
            assert_eq!(period(every, now), (format!("{from}.000Z"), format!("{to}.000Z")));
        };
        of(ReportEvery::Daily, "2026-11-25T06:59:00Z", "2026-11-23T07:00:00", "2026-11-24T07:00:00");
        of(ReportEvery::Daily, "2026-11-25T07:00:00Z", "2026-11-24T07:00:00", "2026-11-25T07:00:00");
        of(ReportEvery::Weekly, "2026-11-25T07:00:00Z", "2026-11-16T07:00:00", "2026-11-23T07:00:00");
        // Summer time ends in October.
        of(ReportEvery::Monthly, "2026-11-25T07:00:00Z", "2026-10-01T06:00:00", "2026-11-01T07:00:00");
    }

    #[test]
    fn faults_of_the_account_and_of_this_machine_are_no_downtime() {
        let sum = Rollup { ok: 999, failed_provider: 1, failed_account: 50, failed_local: 7, ..Rollup::default() };
        let figures = Figures::new("a".to_owned(), Some(99.8), &sum, &Rollup::default(), 1);
        assert_eq!(figures.availability, Some(0.999));
        assert!((figures.budget_left.unwrap() - 0.5).abs() < 1e-9, "{figures:?}");
    }
}
