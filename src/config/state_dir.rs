//! The directory of the store.

use std::path::{Path, PathBuf};

use super::raw::{Sink, Value};

/// Returns the configured `state_dir`; otherwise the directory given by systemd, XDG or the home
/// directory.
pub(super) fn read(written: Option<Value<'_>>, sink: &Sink<'_>) -> PathBuf {
    let given = written.and_then(|v| Some((v.span.start, checked(&v)?)));
    match given {
        Some((at, text)) => sink.sources.directory(at).join(text),
        None => default(sink),
    }
}

fn checked(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if text == "~" || text.starts_with("~/") {
        return value.error(
            "only a shell knows `~`",
            format!("write `\"${{HOME}}{}\"`", &text[1..]),
        );
    }
    Some(text)
}

fn default(sink: &Sink<'_>) -> PathBuf {
    let set = |name| sink.surroundings.vars.get(name).filter(|d| !d.is_empty());
    // systemd passes a list if a unit has several; the first is ours.
    let given = set("STATE_DIRECTORY")
        .and_then(|d| d.split(':').next())
        .map(PathBuf::from);
    // The XDG specification says to ignore paths that are not absolute.
    let xdg = || {
        set("XDG_STATE_HOME")
            .map(|d| Path::new(d).join("llmwatch"))
            .filter(|d| d.is_absolute())
    };
    given
        .or_else(xdg)
        .or_else(|| set("HOME").map(|d| Path::new(d).join(".local/state/llmwatch")))
        .unwrap_or_else(|| {
            sink.warn(
                "neither `state_dir` nor $HOME is set: the store is in the current directory",
            );
            PathBuf::from(".")
        })
}
