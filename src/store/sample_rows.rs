//! Conversion between samples and their rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use llmwatch_core::model::{
    Attribution, EndpointName, Fault, Outcome, Sample, Timestamp, Trigger, Warning,
};

/// The maximum number of profiles. Beyond it a provider whose responses always differ costs more
/// bytes per sample, but no table grows without limit.
const MAX_PROFILES: usize = 10_000;

/// Replaces a profile that was lost.
const LOST_PROFILE: &str = r#"{"trigger":"schedule"}"#;

/// The fields that many samples have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Profile {
    trigger: Trigger,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attribution: Option<Attribution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edge: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote_addr: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_retires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_successor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
}

impl Profile {
    fn of(s: &Sample) -> Self {
        Self {
            trigger: s.trigger,
            fault: s.fault,
            attribution: s.attribution,
            http_status: s.http_status,
            finish_reason: s.finish_reason.clone(),
            response_model: s.response_model.clone(),
            system_fingerprint: s.system_fingerprint.clone(),
            edge: s.edge.clone(),
            remote_addr: s.remote_addr.clone(),
            http_version: s.http_version.clone(),
            tls_expires_at: s.tls_expires_at.map(|t| t.0),
            model_retires_at: s.model_retires_at.map(|t| t.0),
            model_successor: s.model_successor.clone(),
            organization: s.organization.clone(),
        }
    }
}

/// The fields that few samples have.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Extra {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attributed_first: Option<Attribution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credit_left: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credit_currency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

impl Extra {
    fn of(s: &Sample, profile: Option<Profile>) -> Option<String> {
        let extra = Self {
            profile,
            attributed_first: s.attributed_first,
            auth_us: us(s.auth_ms),
            load_us: us(s.load_ms),
            proxy_us: us(s.proxy_ms),
            warnings: s.warnings.clone(),
            retry_after_us: us(s.retry_after_ms),
            credit_left: s.credit_left,
            credit_currency: s.credit_currency.clone(),
            reasoning_tokens: s.reasoning_tokens,
            error: s.error.clone(),
            answer: s.answer.clone(),
        };
        // Plain data with string keys: serializing cannot fail.
        (extra != Self::default()).then(|| serde_json::to_string(&extra).unwrap_or_default())
    }
}

/// Known IDs of series and profiles. Only committed ones are in here.
#[derive(Debug, Default)]
pub(super) struct KnownSeries {
    series: HashMap<SeriesKey, i64>,
    profiles: HashMap<Profile, i64>,
}

type SeriesKey = (
    EndpointName,
    &'static str,
    &'static str,
    Option<String>,
    String,
);

/// Writes samples in one transaction.
pub(super) struct SampleWriter<'a> {
    c: &'a Connection,
    known: &'a KnownSeries,
    added: KnownSeries,
}

impl<'a> SampleWriter<'a> {
    pub(super) fn new(c: &'a Connection, known: &'a KnownSeries) -> Self {
        Self {
            c,
            known,
            added: KnownSeries::default(),
        }
    }

    /// Returns the new IDs, to be kept once the transaction is committed.
    pub(super) fn finish(self) -> KnownSeries {
        self.added
    }

    /// Returns the ID of the sample's series, inserting it if it is new.
    pub(super) fn series(&mut self, s: &Sample) -> rusqlite::Result<i64> {
        let key: SeriesKey = (
            s.endpoint.clone(),
            s.provider.as_str(),
            s.api.as_str(),
            s.model.clone(),
            s.location.clone(),
        );
        let known = self.known.series.get(&key).or(self.added.series.get(&key));
        if let Some(id) = known {
            return Ok(*id);
        }
        let model = s.model.as_deref().unwrap_or("");
        let values = params![s.endpoint.as_str(), key.1, key.2, model, s.location];
        let stored = self
            .c
            .prepare_cached(
                "SELECT id FROM series WHERE endpoint = ?1 AND provider = ?2 AND api = ?3 AND model = ?4
                    AND location = ?5",
            )?
            .query_row(values, |r| r.get(0))
            .optional()?;
        let id = match stored {
            Some(id) => id,
            None => self
                .c
                .prepare_cached(
                    "INSERT INTO series (endpoint, provider, api, model, location)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .insert(values)?,
        };
        self.added.series.insert(key, id);
        Ok(id)
    }

    /// Returns the ID of a profile, inserting it if it is new; `None` when there are too many.
    fn profile(&mut self, profile: &Profile) -> rusqlite::Result<Option<i64>> {
        let known = self.known.profiles.get(profile);
        if let Some(id) = known.or(self.added.profiles.get(profile)) {
            return Ok(Some(*id));
        }
        let data = serde_json::to_string(profile).unwrap_or_default();
        let stored = self
            .c
            .prepare_cached("SELECT id FROM profile WHERE data = ?1")?
            .query_row([&data], |r| r.get(0))
            .optional()?;
        let id = match stored {
            Some(id) => id,
            None if self.profiles()? >= MAX_PROFILES => return Ok(None),
            None => self
                .c
                .prepare_cached("INSERT INTO profile (data) VALUES (?1)")?
                .insert([&data])?,
        };
        self.added.profiles.insert(profile.clone(), id);
        Ok(Some(id))
    }

    fn profiles(&self) -> rusqlite::Result<usize> {
        // Profiles are numbered from 1 and never deleted.
        self.c
            .prepare_cached("SELECT coalesce(max(id), 0) FROM profile")?
            .query_row([], |r| r.get::<_, i64>(0))
            .map(|n| usize::try_from(n).unwrap_or(0))
    }

    /// Replaces the outcome of the sample with the number `seq`: whose fault it was.
    pub(super) fn replace(&mut self, seq: i64, s: &Sample) -> rusqlite::Result<()> {
        let profile = Profile::of(s);
        let number = self.profile(&profile)?;
        let extra = Extra::of(s, number.is_none().then_some(profile));
        self.c
            .prepare_cached("UPDATE sample SET profile = ?2, extra = ?3 WHERE seq = ?1")?
            .execute(params![seq, number, extra])
            .map(drop)
    }

    /// Writes a sample under the number `seq`.
    pub(super) fn insert(&mut self, seq: i64, series: i64, s: &Sample) -> rusqlite::Result<()> {
        let profile = Profile::of(s);
        let number = self.profile(&profile)?;
        let extra = Extra::of(s, number.is_none().then_some(profile));
        let first_any_token = match s.first_any_token_ms {
            same if same.is_some() && same == s.first_token_ms => Some(0),
            other => us(other),
        };
        self.c
            .prepare_cached(
                "INSERT INTO sample VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                    ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)",
            )?
            .execute(params![
                seq,
                s.id,
                series,
                number,
                s.started_at.0,
                s.started_at.since_ms(s.scheduled_at),
                outcome_code(s.outcome),
                us(s.dns_ms),
                us(s.tcp_ms),
                us(s.tls_ms),
                us(s.headers_ms),
                us(s.first_event_ms),
                us(s.first_token_ms),
                first_any_token,
                us(s.max_gap_ms),
                us(s.tpot_ms),
                us(s.total_ms),
                us(Some(s.schedule_lag_ms)),
                us(s.server_ms),
                s.events,
                s.input_tokens,
                s.output_tokens,
                s.cost_usd,
                s.request_id,
                s.ratelimit_remaining_requests,
                s.ratelimit_remaining_tokens,
                s.ratelimit_headroom,
                extra,
            ])
            .map(drop)
    }
}

impl KnownSeries {
    pub(super) fn extend(&mut self, added: Self) {
        self.series.extend(added.series);
        if self.profiles.len() + added.profiles.len() > MAX_PROFILES {
            self.profiles.clear();
        }
        self.profiles.extend(added.profiles);
    }
}

/// The labels of a series.
struct SeriesLabels {
    endpoint: EndpointName,
    provider: llmwatch_core::model::Provider,
    api: llmwatch_core::model::Api,
    model: Option<String>,
    location: String,
}

/// Reads rows of the table, caching profiles and series.
#[derive(Default)]
pub(super) struct SampleReader {
    profiles: HashMap<i64, Profile>,
    series: HashMap<i64, SeriesLabels>,
}

impl SampleReader {
    /// Returns the sample with this number, if it still exists.
    pub(super) fn at(&mut self, c: &Connection, seq: i64) -> rusqlite::Result<Option<Sample>> {
        let mut row = c.prepare_cached("SELECT * FROM sample WHERE seq = ?1")?;
        let mut row = row.query([seq])?;
        match row.next()? {
            Some(row) => self.read(c, row).map(|(_, sample)| Some(sample)),
            None => Ok(None),
        }
    }

    /// Reads a row: its number and the sample.
    pub(super) fn read(
        &mut self,
        c: &Connection,
        row: &Row<'_>,
    ) -> rusqlite::Result<(i64, Sample)> {
        let extra = match row
            .get_ref(27)?
            .as_str_or_null()
            .map_err(rusqlite::Error::from)?
        {
            Some(json) => parse::<Extra>(json)?,
            None => Extra::default(),
        };
        let profile = match (row.get::<_, Option<i64>>(3)?, extra.profile) {
            (Some(id), _) => self.profile(c, id)?,
            (None, Some(profile)) => profile,
            (None, None) => return Err(rusqlite::Error::InvalidColumnIndex(3)),
        };
        let series = self.series(c, row.get(2)?)?;
        let started_at = Timestamp(row.get(4)?);
        let first_token_ms = ms(row, 12)?;
        let sample = Sample {
            id: row.get(1)?,
            endpoint: series.endpoint.clone(),
            provider: series.provider,
            api: series.api,
            model: series.model.clone(),
            location: series.location.clone(),
            scheduled_at: Timestamp(started_at.0.saturating_sub(row.get(5)?)),
            started_at,
            trigger: profile.trigger,
            outcome: outcome_of(row.get(6)?),
            fault: profile.fault,
            attribution: profile.attribution,
            attributed_first: extra.attributed_first,
            http_status: profile.http_status,
            auth_ms: extra.auth_us.map(|us| us as f64 / 1000.0),
            dns_ms: ms(row, 7)?,
            tcp_ms: ms(row, 8)?,
            tls_ms: ms(row, 9)?,
            headers_ms: ms(row, 10)?,
            first_event_ms: ms(row, 11)?,
            first_token_ms,
            first_any_token_ms: match row.get::<_, Option<i64>>(13)? {
                Some(0) => first_token_ms,
                other => other.map(|us| us as f64 / 1000.0),
            },
            max_gap_ms: ms(row, 14)?,
            tpot_ms: ms(row, 15)?,
            total_ms: ms(row, 16)?,
            schedule_lag_ms: ms(row, 17)?.unwrap_or(0.0),
            server_ms: ms(row, 18)?,
            events: row.get(19)?,
            input_tokens: row.get(20)?,
            output_tokens: row.get(21)?,
            reasoning_tokens: extra.reasoning_tokens,
            cost_usd: row.get(22)?,
            finish_reason: profile.finish_reason,
            response_model: profile.response_model,
            system_fingerprint: profile.system_fingerprint,
            request_id: row.get(23)?,
            edge: profile.edge,
            ratelimit_remaining_requests: row.get(24)?,
            ratelimit_remaining_tokens: row.get(25)?,
            retry_after_ms: extra.retry_after_us.map(|us| us as f64 / 1000.0),
            remote_addr: profile.remote_addr,
            http_version: profile.http_version,
            tls_expires_at: profile.tls_expires_at.map(Timestamp),
            model_retires_at: profile.model_retires_at.map(Timestamp),
            model_successor: profile.model_successor,
            credit_left: extra.credit_left,
            credit_currency: extra.credit_currency,
            ratelimit_headroom: row.get(26)?,
            organization: profile.organization,
            load_ms: extra.load_us.map(|us| us as f64 / 1000.0),
            proxy_ms: extra.proxy_us.map(|us| us as f64 / 1000.0),
            warnings: extra.warnings,
            error: extra.error,
            answer: extra.answer,
        };
        Ok((row.get(0)?, sample))
    }

    fn profile(&mut self, c: &Connection, id: i64) -> rusqlite::Result<Profile> {
        if let Some(profile) = self.profiles.get(&id) {
            return Ok(profile.clone());
        }
        let data: Option<String> = c
            .prepare_cached("SELECT data FROM profile WHERE id = ?1")?
            .query_row([id], |r| r.get(0))
            .optional()?;
        // A profile that a repair could not rescue: the rest of the sample is still valid.
        let profile: Profile = parse(data.as_deref().unwrap_or(LOST_PROFILE))?;
        self.profiles.insert(id, profile.clone());
        Ok(profile)
    }

    fn series(&mut self, c: &Connection, id: i64) -> rusqlite::Result<&SeriesLabels> {
        if let Entry::Vacant(entry) = self.series.entry(id) {
            let series = c
                .prepare_cached(
                    "SELECT endpoint, provider, api, model, location FROM series WHERE id = ?1",
                )?
                .query_row([id], |row| {
                    Ok(SeriesLabels {
                        endpoint: row.get::<_, String>(0)?.into(),
                        provider: named(row, "provider")?,
                        api: named(row, "api")?,
                        model: Some(row.get::<_, String>(3)?).filter(|m| !m.is_empty()),
                        location: row.get(4)?,
                    })
                })?;
            entry.insert(series);
        }
        Ok(&self.series[&id])
    }
}

/// Reads a sample of release 0.1, joined with its series.
pub(super) fn read_version_1(row: &Row<'_>) -> rusqlite::Result<Sample> {
    let us = |column: &str| {
        let us: Option<i64> = row.get(column)?;
        Ok::<_, rusqlite::Error>(us.map(|us| us as f64 / 1000.0))
    };
    let time = |column: &str| {
        let at: Option<i64> = row.get(column)?;
        Ok::<_, rusqlite::Error>(at.map(Timestamp))
    };
    Ok(Sample {
        id: row.get("id")?,
        endpoint: row.get::<_, String>("endpoint")?.into(),
        provider: named(row, "provider")?,
        api: named(row, "api")?,
        model: Some(row.get::<_, String>("model")?).filter(|m| !m.is_empty()),
        location: row.get("location")?,
        scheduled_at: Timestamp(row.get("scheduled_at")?),
        started_at: Timestamp(row.get("started_at")?),
        trigger: named(row, "cause")?,
        outcome: named(row, "outcome")?,
        fault: named(row, "fault")?,
        attribution: named(row, "attribution")?,
        attributed_first: None,
        http_status: row.get("http_status")?,
        auth_ms: us("auth_us")?,
        dns_ms: us("dns_us")?,
        tcp_ms: us("tcp_us")?,
        tls_ms: us("tls_us")?,
        headers_ms: us("headers_us")?,
        first_event_ms: us("first_event_us")?,
        first_token_ms: us("first_token_us")?,
        first_any_token_ms: us("first_any_token_us")?,
        max_gap_ms: us("max_gap_us")?,
        tpot_ms: us("tpot_us")?,
        total_ms: us("total_us")?,
        schedule_lag_ms: us("schedule_lag_us")?.unwrap_or(0.0),
        events: row.get("events")?,
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        reasoning_tokens: row.get("reasoning_tokens")?,
        cost_usd: row.get("cost_usd")?,
        finish_reason: row.get("finish_reason")?,
        response_model: row.get("response_model")?,
        system_fingerprint: row.get("system_fingerprint")?,
        request_id: row.get("request_id")?,
        server_ms: us("server_us")?,
        edge: row.get("edge")?,
        ratelimit_remaining_requests: row.get("ratelimit_remaining_requests")?,
        ratelimit_remaining_tokens: row.get("ratelimit_remaining_tokens")?,
        retry_after_ms: us("retry_after_us")?,
        remote_addr: row.get("remote_addr")?,
        http_version: row.get("http_version")?,
        tls_expires_at: time("tls_expires_at")?,
        model_retires_at: time("model_retires_at")?,
        model_successor: None,
        credit_left: None,
        credit_currency: None,
        ratelimit_headroom: row.get("ratelimit_headroom")?,
        organization: None,
        load_ms: us("load_us")?,
        proxy_ms: None,
        warnings: Vec::new(),
        error: row.get("error")?,
        answer: row.get("answer")?,
    })
}

pub(super) fn outcome_code(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Ok => 0,
        Outcome::Slow => 1,
        Outcome::Failed => 2,
    }
}

fn outcome_of(code: i64) -> Outcome {
    match code {
        0 => Outcome::Ok,
        1 => Outcome::Slow,
        _ => Outcome::Failed,
    }
}

fn us(ms: Option<f64>) -> Option<i64> {
    ms.map(|ms| (ms * 1000.0).round() as i64)
}

fn ms(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<f64>> {
    let us: Option<i64> = row.get(column)?;
    Ok(us.map(|us| us as f64 / 1000.0))
}

fn parse<T: DeserializeOwned>(json: &str) -> rusqlite::Result<T> {
    serde_json::from_str(json)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))
}

/// Reads a column that holds an enum value (or NULL), by its serde name.
pub(super) fn named<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let name: Option<String> = row.get(column)?;
    serde_json::from_value(name.map_or(serde_json::Value::Null, serde_json::Value::String))
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))
}
