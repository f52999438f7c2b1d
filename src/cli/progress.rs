//! A progress bar on stderr, shown only on a terminal and removed when the work is done.

use std::io::{IsTerminal as _, Write as _};

use llmwatch_core::model::Timestamp;

/// The width of the bar, in columns.
const WIDTH: usize = 30;
/// The number of steps between two redraws.
const EVERY: u64 = 2000;

/// Progress of work on the samples of a time span.
pub(super) struct ProgressLine {
    what: &'static str,
    span: (Timestamp, Timestamp),
    steps: u64,
    is_terminal: bool,
    is_drawn: bool,
}

impl ProgressLine {
    /// Creates the bar for `what`, which processes the samples of `span` in time order.
    pub(super) fn new(what: &'static str, span: (Timestamp, Timestamp)) -> Self {
        Self {
            what,
            span,
            steps: 0,
            is_terminal: std::io::stderr().is_terminal(),
            is_drawn: false,
        }
    }

    /// Counts one processed sample that began at `at`.
    pub(super) fn step(&mut self, at: Timestamp) {
        self.steps += 1;
        if !self.is_terminal || !self.steps.is_multiple_of(EVERY) {
            return;
        }
        let length = self.span.1.since_ms(self.span.0).max(1) as f64;
        let share = (at.since_ms(self.span.0) as f64 / length).clamp(0.0, 1.0);
        let line = bar(self.what, share, self.steps);
        // If the terminal is closed, the work continues.
        drop(write!(std::io::stderr(), "\r{line}\x1b[K"));
        self.is_drawn = true;
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_drawn {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

fn bar(what: &str, share: f64, steps: u64) -> String {
    let filled = (share * WIDTH as f64) as usize;
    format!(
        "{what} [{}{}] {:3.0}%  {steps} samples",
        "#".repeat(filled),
        "-".repeat(WIDTH - filled),
        share * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fits_beside_its_text() {
        assert_eq!(
            bar("reading", 0.5, 2000),
            "reading [###############---------------]  50%  2000 samples"
        );
        assert!(bar("reading samples", 1.0, u64::from(u32::MAX)).len() <= 80);
    }
}
