//! `cargo xtask argon2`: measures how long a hash takes on this machine, and estimates how long it takes on Lambda.

use std::time::Duration;

use anyhow::{Context, bail};
use passwords::{Costs, Trial};
use template::ui;

/// The memory, in MB, at which Lambda provides one whole processor (AWS Lambda Developer Guide, "Configure Lambda
/// function memory"). With less memory, a function gets a share of a processor. With more, it gets a second processor,
/// which a hash with one lane does not use.
pub const WHOLE_PROCESSOR_MB: u32 = 1_769;

/// The parameters that the OWASP Password Storage Cheat Sheet calls equivalent, all with one lane.
const CHOICES: [Costs; 5] = [
    Costs { memory_kib: 47_104, passes: 1 },
    Costs { memory_kib: 19_456, passes: 2 },
    Costs { memory_kib: 12_288, passes: 3 },
    Costs { memory_kib: 9_216, passes: 4 },
    Costs { memory_kib: 7_168, passes: 5 },
];

/// The commands for password hashing.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Argon2Command {
    /// Measure how long a hash takes on one processor of this machine, and estimate the time on Lambda
    Calibrate {
        /// Memory of the Lambda function, in MB
        #[arg(long, default_value_t = WHOLE_PROCESSOR_MB, value_parser = clap::value_parser!(u32).range(128..=10_240))]
        memory_size: u32,
        /// Longest acceptable time for a hash on Lambda, in milliseconds
        #[arg(long, default_value_t = 100)]
        target_ms: u32,
        /// Number of hashes to measure for each choice of parameters
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(4..))]
        hashes: u32,
    },
}

/// Runs a command.
///
/// # Errors
/// When argon2 refuses the parameters.
pub fn run(command: &Argon2Command) -> anyhow::Result<()> {
    let Argon2Command::Calibrate { memory_size, target_ms, hashes } = *command;
    if cfg!(debug_assertions) {
        ui::note("(this is a debug build, but the hashing crate is optimized)");
    }
    let header = ["memory", "passes", "median here", "quartiles", "on Lambda", ""];
    let mut rows = vec![header.map(str::to_owned)];
    for costs in CHOICES {
        let mut trial = Trial::new(costs).context("argon2 refuses these costs")?;
        // The first hash is not measured: it is slower, because its memory is newly allocated.
        trial.hash()?;
        let mut times = (0..hashes).map(|_| trial.hash()).collect::<Result<Vec<_>, _>>()?;
        times.sort_unstable();
        let [low, median, high] = quartiles(&times)?;
        let estimate = on_lambda(median, memory_size);
        let fits = fits(costs, estimate, memory_size, target_ms);
        let ours = if costs == Costs::OURS { ", current" } else { "" };
        rows.push([
            format!("{} KiB", costs.memory_kib),
            costs.passes.to_string(),
            format!("{:.1} ms", millis(median)),
            format!("{:.1} to {:.1} ms", millis(low), millis(high)),
            format!("{:.0} ms", millis(estimate)),
            format!("{}{ours}", fits.as_str()),
        ]);
    }
    for row in ui::columns(&rows) {
        ui::line(row);
    }
    ui::line(format_args!(
        "\nThe time on Lambda is an estimate: the median here, divided by {:.2}, the share of a processor that a \
         function with {memory_size} MB gets. Lambda's processors differ from this one; the metric HashTime shows \
         the actual time.",
        share(memory_size)
    ));
    Ok(())
}

/// Whether a function can hash with given costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Fits,
    TooSlow,
    /// Argon2 needs more than half of the function's memory. The other half is for everything else.
    TooLarge,
}

impl Fit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::TooSlow => "too slow",
            Self::TooLarge => "too large",
        }
    }
}

fn fits(costs: Costs, time: Duration, memory_mb: u32, target_ms: u32) -> Fit {
    if costs.memory_kib / 1_024 * 2 > memory_mb {
        Fit::TooLarge
    } else if time > Duration::from_millis(target_ms.into()) {
        Fit::TooSlow
    } else {
        Fit::Fits
    }
}

/// The share of a processor that a hash can use in a function with this memory.
#[must_use]
pub fn share(memory_mb: u32) -> f64 {
    (f64::from(memory_mb) / f64::from(WHOLE_PROCESSOR_MB)).min(1.0)
}

fn on_lambda(here: Duration, memory_mb: u32) -> Duration {
    here.div_f64(share(memory_mb))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The quartiles of sorted times.
fn quartiles(sorted: &[Duration]) -> anyhow::Result<[Duration; 3]> {
    let at = |n: usize| sorted.get(sorted.len() * n / 4).copied();
    match (at(1), at(2), at(3)) {
        (Some(low), Some(median), Some(high)) => Ok([low, median, high]),
        _ => bail!("nothing was measured"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_takes_longer_with_less_memory_and_a_second_processor_does_not_help() {
        let here = Duration::from_millis(20);
        assert_eq!(on_lambda(here, 1_769), here);
        assert_eq!(on_lambda(here, 3_538), here);
        assert_eq!(on_lambda(here, 1_769 / 4).as_millis(), 80);
    }

    #[test]
    fn costs_fit_if_they_are_fast_and_small_enough() {
        let (costs, time) = (Costs::OURS, Duration::from_millis(50));
        assert_eq!(fits(costs, time, 1_769, 50), Fit::Fits);
        assert_eq!(fits(costs, time, 1_769, 49), Fit::TooSlow);
        assert_eq!(fits(costs, time, 37, 50), Fit::TooLarge);
        assert_eq!(fits(costs, time, 38, 50), Fit::Fits);
    }

    #[test]
    fn all_choices_are_valid_and_include_the_current_costs() {
        assert!(CHOICES.contains(&Costs::OURS));
        for costs in CHOICES {
            assert!(Trial::new(costs).is_ok(), "{costs:?}");
        }
    }

    #[test]
    fn quartiles_split_sorted_times() {
        let times: Vec<_> = (1..=8).map(Duration::from_millis).collect();
        assert_eq!(quartiles(&times).unwrap(), [3, 5, 7].map(Duration::from_millis));
        assert!(quartiles(&[]).is_err());
    }
}
