//! Shows the progress of a command: as a bar on a terminal, otherwise as a line from time to time.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use template::ui;

/// How often a line is written if there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// The progress of a command.
pub(super) struct Progress {
    bar: ProgressBar,
    /// When the next line is due, if there is no terminal.
    next_line: Option<Instant>,
}

impl Progress {
    /// Shows the progress of a command that examines about `total` things. `what` names them, in the plural.
    pub(super) fn new(total: u64, what: &str) -> Self {
        let is_terminal = stderr().is_terminal();
        let target =
            if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template =
            format!("{{bar:30}} {{human_pos}} of {{human_len}} {what}, {{per_sec}}, {{eta}} left");
        // The template is valid. If it were not, the default style would be used.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        let next_line = (!is_terminal).then(|| Instant::now() + INTERVAL);
        Self { bar, next_line }
    }

    /// Records that `number` more things were examined.
    pub(super) fn advance(&mut self, number: u64) {
        self.bar.inc(number);
        if self.next_line.is_some_and(|due| Instant::now() >= due) {
            self.next_line = Some(Instant::now() + INTERVAL);
            ui::note(self.line());
        }
    }

    fn line(&self) -> String {
        let bar = &self.bar;
        format!(
            "{} of {}, {:.0} a second, {} left",
            HumanCount(bar.position()),
            HumanCount(bar.length().unwrap_or(0)),
            bar.per_sec(),
            HumanDuration(bar.eta()),
        )
    }

    /// Writes a line to standard output, above the bar.
    pub(super) fn print(&self, line: &str) {
        self.bar.suspend(|| ui::line(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_states_position_rate_and_time_left() {
        let mut progress = Progress::new(20_000, "accounts");
        progress.advance(5_000);
        let line = progress.line();
        assert!(line.starts_with("5,000 of 20,000, "), "{line}");
        assert!(line.contains(" a second, ") && line.ends_with(" left"), "{line}");
    }
}
