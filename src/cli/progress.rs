//! A bar on stderr that shows how far long work is: on a terminal only, and gone when the work is done.

use std::io::{IsTerminal as _, Write as _};

use llmwatch_core::model::Timestamp;

/// The columns of the bar.
const WIDTH: usize = 30;
/// Steps after which it is worth drawing.
const EVERY: u64 = 2000;

/// How far work on the samples of a span of time is.
pub(super) struct ProgressLine {
    what: &'static str,
    span: (Timestamp, Timestamp),
    steps: u64,
    is_terminal: bool,
    is_drawn: bool,
}

impl ProgressLine {
    /// For `what`, which goes through the samples of `span` in the order of time.
    pub(super) fn new(what: &'static str, span: (Timestamp, Timestamp)) -> Self {
        Self {
            what,
            span,
            steps: 0,
            is_terminal: std::io::stderr().is_terminal(),
            is_drawn: false,
        }
    }

    /// One more sample, begun at `at`, is done.
    pub(super) fn step(&mut self, at: Timestamp) {
        self.steps += 1;
        if !self.is_terminal || !self.steps.is_multiple_of(EVERY) {
            return;
        }
        let length = self.span.1.since_ms(self.span.0).max(1) as f64;
        let share = (at.since_ms(self.span.0) as f64 / length).clamp(0.0, 1.0);
        let line = bar(self.what, share, self.steps);
        // A closed terminal shows nothing; the work continues.
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
