//! Progress on stderr, shown only on a terminal and removed when the work is done: a bar, or a
//! count where the end is not known.

use std::io::{IsTerminal as _, Write as _};

use llmwatch_core::model::Timestamp;

/// The width of the bar, in columns.
const WIDTH: usize = 30;
/// The number of steps between two redraws.
const EVERY: u64 = 2000;

/// A line on the terminal that is redrawn every few steps.
struct StatusLine {
    steps: u64,
    is_terminal: bool,
    is_drawn: bool,
}

impl StatusLine {
    fn new() -> Self {
        Self {
            steps: 0,
            is_terminal: std::io::stderr().is_terminal(),
            is_drawn: false,
        }
    }

    /// Counts a step. Returns the number of steps if the line is to be drawn again.
    fn step(&mut self) -> Option<u64> {
        self.steps += 1;
        (self.is_terminal && self.steps.is_multiple_of(EVERY)).then_some(self.steps)
    }

    fn draw(&mut self, line: &str) {
        // If the terminal is closed, the work continues.
        drop(write!(std::io::stderr(), "\r{line}\x1b[K"));
        self.is_drawn = true;
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.is_drawn {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

/// A count of rows, for work of unknown extent.
pub(super) struct CountLine {
    what: &'static str,
    line: StatusLine,
}

impl CountLine {
    /// Creates the count for `what`.
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            line: StatusLine::new(),
        }
    }

    /// Counts one processed row of `table`.
    pub(super) fn step(&mut self, table: &str) {
        if let Some(rows) = self.line.step() {
            let what = self.what;
            self.line
                .draw(&format!("{what} {table}: {rows} rows so far"));
        }
    }
}

/// Progress of work on the samples of a time span.
pub(super) struct ProgressLine {
    what: &'static str,
    span: (Timestamp, Timestamp),
    line: StatusLine,
}

impl ProgressLine {
    /// Creates the bar for `what`, which processes the samples of `span` in time order.
    pub(super) fn new(what: &'static str, span: (Timestamp, Timestamp)) -> Self {
        Self {
            what,
            span,
            line: StatusLine::new(),
        }
    }

    /// Counts one processed sample that began at `at`.
    pub(super) fn step(&mut self, at: Timestamp) {
        let Some(steps) = self.line.step() else {
            return;
        };
        let length = self.span.1.since_ms(self.span.0).max(1) as f64;
        let share = (at.since_ms(self.span.0) as f64 / length).clamp(0.0, 1.0);
        self.line.draw(&bar(self.what, share, steps));
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
