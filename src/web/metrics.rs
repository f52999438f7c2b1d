//! `/metrics`: the counters, the snapshot, and what the operating system says about this process.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;

use super::View;
use crate::metrics::Process;
use crate::metrics::text::{Format, render};
use crate::model::Timestamp;

pub(super) async fn metrics(State(view): State<View>, request: HeaderMap) -> impl IntoResponse {
    let accept = request.get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    let format = Format::asked_by(accept);
    let snapshot = view.snapshot.borrow().clone();
    let process = process(view.started_at);
    let text = render(&snapshot, &view.counters.read(), &process, env!("LLMWATCH_VERSION"), format);
    ([(header::CONTENT_TYPE, format.content_type())], text)
}

/// Reads `/proc/self` (`proc_pid_stat(5)`); what cannot be read is 0.
fn process(started_at: Timestamp) -> Process {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let stat = read("stat");
    // The name in brackets may hold spaces; the fields behind it begin with the third.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let max_fds = read("limits")
        .lines()
        .find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    Process {
        cpu_seconds: (field(14) + field(15)) as f64 / ticks,
        virtual_bytes: field(23),
        resident_bytes: field(24) * rustix::param::page_size() as u64,
        open_fds: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_fds,
        started_s: started_at.0 as f64 / 1000.0,
    }
}
