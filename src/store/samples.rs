//! Samples in and out of their table.

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, named_params, params};
use serde::de::DeserializeOwned;

use super::{Store, StoreError};
use crate::model::{Attribution, Fault, Outcome, Sample, Timestamp};

/// Which samples.
#[derive(Debug, Clone, Copy, Default)]
pub struct SampleQuery {
    /// Recorded after the sample with this number.
    pub after_seq: i64,
    /// Begun at or after this moment.
    pub since: Option<Timestamp>,
    /// Begun before this moment.
    pub until: Option<Timestamp>,
}

/// A page of one endpoint's samples, newest first.
#[derive(Debug, Clone, Copy)]
pub struct SamplePage<'a> {
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// Recorded before the sample with this number; `None` begins with the newest.
    pub before_seq: Option<i64>,
    /// Begun at or after this moment.
    pub since: Option<Timestamp>,
    /// Begun before this moment.
    pub until: Option<Timestamp>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// At most so many.
    pub limit: u32,
}

impl Store {
    /// The samples of `page` with their numbers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn samples(&self, page: SamplePage<'_>) -> Result<Vec<(i64, Sample)>, StoreError> {
        self.run(|c| {
            // Newest first from each series' end of the index, so the cost is that of the page and not of the history.
            let mut statement = c.prepare_cached(
                "SELECT * FROM sample JOIN series ON series.id = sample.series
                 WHERE sample.series = ?1 AND seq < ?2 AND started_at >= ?3 AND started_at < ?4
                    AND (?5 IS NULL OR outcome = ?5) ORDER BY seq DESC LIMIT ?6",
            )?;
            let before = page.before_seq.unwrap_or(i64::MAX);
            let since = page.since.map_or(i64::MIN, |t| t.0);
            let until = page.until.map_or(i64::MAX, |t| t.0);
            let outcome = page.outcome.map(Outcome::as_str);
            let series: Vec<i64> = c
                .prepare_cached("SELECT id FROM series WHERE endpoint = ?1")?
                .query_map([page.endpoint], |r| r.get(0))?
                .collect::<Result<_, _>>()?;
            let mut found = Vec::new();
            for id in series {
                let mut rows =
                    statement.query(params![id, before, since, until, outcome, page.limit])?;
                while let Some(row) = rows.next()? {
                    found.push((row.get("seq")?, read(row)?));
                }
            }
            found.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
            found.truncate(page.limit as usize);
            Ok(found)
        })
    }

    /// Hands every sample of `query` to `each`, in the order in which they were recorded, with its number.
    /// Rows are read one by one: the whole history never stands in memory.
    ///
    /// # Errors
    /// When the store cannot be read, or as `each` says.
    pub fn each_sample<E: From<StoreError>>(
        &self,
        query: SampleQuery,
        mut each: impl FnMut(i64, Sample) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stopped = None;
        self.run(|c| {
            let mut statement = c.prepare_cached(
                "SELECT * FROM sample JOIN series ON series.id = sample.series
                 WHERE seq > ?1 AND started_at >= ?2 AND started_at < ?3 ORDER BY seq",
            )?;
            let since = query.since.map_or(i64::MIN, |t| t.0);
            let until = query.until.map_or(i64::MAX, |t| t.0);
            let mut rows = statement.query(params![query.after_seq, since, until])?;
            while let Some(row) = rows.next()? {
                if let Err(error) = each(row.get("seq")?, read(row)?) {
                    stopped = Some(error);
                    break;
                }
            }
            Ok(())
        })?;
        stopped.map_or(Ok(()), Err)
    }
}

/// The number of the sample's series, made if it is new.
pub(super) fn series(tx: &Transaction<'_>, s: &Sample) -> rusqlite::Result<i64> {
    let series = params![
        s.endpoint,
        s.provider.as_str(),
        s.api.as_str(),
        s.model.as_deref().unwrap_or(""),
        s.location
    ];
    let known = tx
        .prepare_cached(
            "SELECT id FROM series WHERE endpoint = ?1 AND provider = ?2 AND api = ?3 AND model = ?4 AND location = ?5",
        )?
        .query_row(series, |r| r.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    tx.prepare_cached(
        "INSERT INTO series (endpoint, provider, api, model, location) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(series)?;
    Ok(tx.last_insert_rowid())
}

pub(super) fn insert(tx: &Transaction<'_>, series: i64, s: &Sample) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO sample (id, series, scheduled_at, started_at, cause, outcome, fault, attribution, http_status,
            auth_us, dns_us, tcp_us, tls_us, headers_us, first_event_us, first_token_us, first_any_token_us, max_gap_us, tpot_us,
            total_us, schedule_lag_us, events, input_tokens, output_tokens, reasoning_tokens, cost_usd, finish_reason,
            response_model, system_fingerprint, request_id, server_us, edge, ratelimit_remaining_requests,
            ratelimit_remaining_tokens, retry_after_us, remote_addr, http_version, tls_expires_at,
            model_retires_at, ratelimit_headroom, load_us, error, answer)
         VALUES (:id, :series, :scheduled_at, :started_at, :cause, :outcome, :fault, :attribution, :http_status,
            :auth, :dns, :tcp, :tls, :headers, :first_event, :first_token, :first_any_token, :max_gap, :tpot,
            :total, :schedule_lag, :events, :input_tokens, :output_tokens, :reasoning_tokens, :cost_usd, :finish_reason,
            :response_model, :system_fingerprint, :request_id, :server, :edge, :ratelimit_remaining_requests,
            :ratelimit_remaining_tokens, :retry_after, :remote_addr, :http_version, :tls_expires_at,
            :model_retires_at, :ratelimit_headroom, :load, :error, :answer)",
    )?
    .execute(named_params! {
        ":id": s.id,
        ":series": series,
        ":scheduled_at": s.scheduled_at.0,
        ":started_at": s.started_at.0,
        ":cause": s.trigger.as_str(),
        ":outcome": s.outcome.as_str(),
        ":fault": s.fault.map(Fault::as_str),
        ":attribution": s.attribution.map(Attribution::as_str),
        ":http_status": s.http_status,
        ":auth": us(s.auth_ms),
        ":dns": us(s.dns_ms),
        ":tcp": us(s.tcp_ms),
        ":tls": us(s.tls_ms),
        ":headers": us(s.headers_ms),
        ":first_event": us(s.first_event_ms),
        ":first_token": us(s.first_token_ms),
        ":first_any_token": us(s.first_any_token_ms),
        ":max_gap": us(s.max_gap_ms),
        ":tpot": us(s.tpot_ms),
        ":total": us(s.total_ms),
        ":schedule_lag": us(Some(s.schedule_lag_ms)),
        ":events": s.events,
        ":input_tokens": s.input_tokens,
        ":output_tokens": s.output_tokens,
        ":reasoning_tokens": s.reasoning_tokens,
        ":cost_usd": s.cost_usd,
        ":finish_reason": s.finish_reason,
        ":response_model": s.response_model,
        ":system_fingerprint": s.system_fingerprint,
        ":request_id": s.request_id,
        ":server": us(s.server_ms),
        ":edge": s.edge,
        ":ratelimit_remaining_requests": s.ratelimit_remaining_requests,
        ":ratelimit_remaining_tokens": s.ratelimit_remaining_tokens,
        ":retry_after": us(s.retry_after_ms),
        ":remote_addr": s.remote_addr,
        ":http_version": s.http_version,
        ":tls_expires_at": s.tls_expires_at.map(|t| t.0),
        ":model_retires_at": s.model_retires_at.map(|t| t.0),
        ":ratelimit_headroom": s.ratelimit_headroom,
        ":load": us(s.load_ms),
        ":error": s.error,
        ":answer": s.answer,
    })?;
    Ok(tx.last_insert_rowid())
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Sample> {
    Ok(Sample {
        id: row.get("id")?,
        endpoint: row.get("endpoint")?,
        provider: word(row, "provider")?,
        api: word(row, "api")?,
        model: Some(row.get::<_, String>("model")?).filter(|m| !m.is_empty()),
        location: row.get("location")?,
        scheduled_at: Timestamp(row.get("scheduled_at")?),
        started_at: Timestamp(row.get("started_at")?),
        trigger: word(row, "cause")?,
        outcome: word(row, "outcome")?,
        fault: word(row, "fault")?,
        attribution: word(row, "attribution")?,
        http_status: row.get("http_status")?,
        auth_ms: ms(row, "auth_us")?,
        dns_ms: ms(row, "dns_us")?,
        tcp_ms: ms(row, "tcp_us")?,
        tls_ms: ms(row, "tls_us")?,
        headers_ms: ms(row, "headers_us")?,
        first_event_ms: ms(row, "first_event_us")?,
        first_token_ms: ms(row, "first_token_us")?,
        first_any_token_ms: ms(row, "first_any_token_us")?,
        max_gap_ms: ms(row, "max_gap_us")?,
        tpot_ms: ms(row, "tpot_us")?,
        total_ms: ms(row, "total_us")?,
        schedule_lag_ms: ms(row, "schedule_lag_us")?.unwrap_or(0.0),
        events: row.get("events")?,
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        reasoning_tokens: row.get("reasoning_tokens")?,
        cost_usd: row.get("cost_usd")?,
        finish_reason: row.get("finish_reason")?,
        response_model: row.get("response_model")?,
        system_fingerprint: row.get("system_fingerprint")?,
        request_id: row.get("request_id")?,
        server_ms: ms(row, "server_us")?,
        edge: row.get("edge")?,
        ratelimit_remaining_requests: row.get("ratelimit_remaining_requests")?,
        ratelimit_remaining_tokens: row.get("ratelimit_remaining_tokens")?,
        retry_after_ms: ms(row, "retry_after_us")?,
        remote_addr: row.get("remote_addr")?,
        http_version: row.get("http_version")?,
        tls_expires_at: row.get::<_, Option<i64>>("tls_expires_at")?.map(Timestamp),
        model_retires_at: row
            .get::<_, Option<i64>>("model_retires_at")?
            .map(Timestamp),
        ratelimit_headroom: row.get("ratelimit_headroom")?,
        load_ms: ms(row, "load_us")?,
        error: row.get("error")?,
        answer: row.get("answer")?,
    })
}

fn us(ms: Option<f64>) -> Option<i64> {
    ms.map(|ms| (ms * 1000.0).round() as i64)
}

fn ms(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<f64>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(|us| us as f64 / 1000.0))
}

/// A column that holds one word of a closed set (or NULL), through the set's own serde names.
pub(super) fn word<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let word: Option<String> = row.get(column)?;
    serde_json::from_value(word.map_or(serde_json::Value::Null, serde_json::Value::String))
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))
}
