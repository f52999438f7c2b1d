//! Files of labeled probe traces: a folder with `manifest.json` and one `*.csv.gz` per trace, or a
//! single such file.

use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::files;
use llmwatch_core::model::DetectionPolicy;
use llmwatch_core::report::backtest::{
    Replay, ReplayError, Rows, Trace, describe, parse_manifest, read_rows, replay_one,
};

const MANIFEST: &str = "manifest.json";
/// The size limit of a manifest, in bytes.
const MAX_MANIFEST: u64 = 4 << 20;

/// Reports whether [`replay`] can read `path`: a folder or a CSV file.
pub fn is_trace(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.is_dir() || name.ends_with(".csv") || name.ends_with(".csv.gz")
}

/// Replays the trace in the file `path`, or every trace of the folder, under each of `policies`.
///
/// # Errors
/// When the manifest or a trace cannot be read.
pub fn replay(path: &Path, policies: &[&DetectionPolicy]) -> Result<Vec<Replay>, ReplayError> {
    let mut replays: Vec<_> = policies.iter().map(|_| Replay::default()).collect();
    let mut each = |trace: &Trace, rows: &Rows| {
        for (policy, replay) in policies.iter().zip(&mut replays) {
            replay_one(trace, rows, policy, replay);
        }
    };
    if path.is_dir() {
        let traces = manifest(path)?;
        for (place, trace) in traces.iter().enumerate() {
            if traces.len() > 1 {
                eprintln!(
                    "replaying trace {} of {}: {}",
                    place + 1,
                    traces.len(),
                    trace.file
                );
            }
            each(trace, &load(&path.join(&trace.file))?);
        }
    } else {
        let rows = load(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let known = if folder.join(MANIFEST).exists() {
            manifest(folder)?
                .into_iter()
                .find(|t| path.file_name().is_some_and(|name| name == t.file.as_str()))
        } else {
            None
        };
        each(&known.unwrap_or_else(|| describe(path, &rows)), &rows);
    }
    Ok(replays)
}

fn manifest(folder: &Path) -> Result<Vec<Trace>, ReplayError> {
    let path = folder.join(MANIFEST);
    let text = files::read(&path, MAX_MANIFEST).map_err(|source| ReplayError::Read {
        path: path.clone(),
        source,
    })?;
    parse_manifest(&path, &text)
}

fn load(path: &Path) -> Result<Rows, ReplayError> {
    let file = files::open(path).map_err(|source| ReplayError::Read {
        path: path.to_owned(),
        source,
    })?;
    let plain: Box<dyn Read> = if path.extension().is_some_and(|e| e == "gz") {
        Box::new(GzDecoder::new(file))
    } else {
        Box::new(file)
    };
    read_rows(path, BufReader::new(plain))
}
