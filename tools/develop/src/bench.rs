//! `cargo xtask bench`: measures figures that no test can assert, because they depend on the machine.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use process::{Random, SystemRandom};
use serde_json::json;
use template::project::Project;
use template::state::DevState;
use template::ui;

use crate::shipping::{self, Link};

/// What to measure.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Measure the sizes of the functions. Builds all of them as they are shipped, which takes about
    /// ten minutes on two processors
    Binaries {
        /// Use fat link-time optimization, for comparison. Takes half an hour
        #[arg(long)]
        fat: bool,
    },
    /// Test if the time taken to refuse a login reveals whether the username exists. Needs a running dev
    /// server, started with `--env THROTTLE_PAIR_FREE=100000 --env THROTTLE_NAME_FREE=100000 --env
    /// THROTTLE_NETWORK_FREE=100000`
    LoginTiming {
        /// Number of logins of each kind: with a wrong password, and with an unknown username
        #[arg(long, default_value_t = 300)]
        tries: usize,
    },
}

/// The number of logins of each kind before the measurement, to warm up.
const WARM_UP: usize = 20;

/// Runs a command.
///
/// # Errors
/// When a build fails, a function is too large, no dev server is running, or the server gives an
/// unexpected answer. The message is one line.
pub async fn run(project: &Project, command: BenchCommand) -> anyhow::Result<()> {
    let tries = match command {
        BenchCommand::LoginTiming { tries } => tries,
        BenchCommand::Binaries { fat } => {
            let link = if fat { Link::Fat } else { Link::Shipped };
            if !shipping::build(project, link).await? {
                bail!("a function is too large");
            }
            return Ok(());
        }
    };
    let state = DevState::of_running(project)?
        .context("no dev server is running: start one with cargo xtask dev")?;
    let api = Api { url: state.url, client: Client::builder(TokioExecutor::new()).build_http() };
    let tag = u64::from_le_bytes((&SystemRandom as &dyn Random).bytes());
    let (name, nobody) = (format!("timing-{tag:016x}"), format!("nobody-{tag:016x}"));
    let password = "a long walk by the river";
    let body = json!({"username": name, "password": password});
    let registered = api.post("/auth/register", &body).await?.0;
    if registered != StatusCode::CREATED {
        bail!("registering {name} returned {registered}");
    }
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    for n in 0..tries + WARM_UP {
        // Alternate the two kinds of login, so that other load on the machine affects both.
        let kinds = [(&name, &mut wrong), (&nobody, &mut unknown)];
        for (who, times) in kinds {
            let body = json!({"username": who, "password": "another long walk"});
            let (status, time) = api.post("/auth/login", &body).await?;
            if status != StatusCode::UNAUTHORIZED {
                bail!("a login returned {status}: raise the limits as --help describes");
            }
            if n >= WARM_UP {
                times.push(time);
            }
        }
    }
    for (kind, times) in [("wrong password", &wrong), ("unknown name", &unknown)] {
        let [low, median, high] = [1, 2, 3].map(|n| quantile(times, n, 4).as_secs_f64() * 1e3);
        ui::line(format_args!("{kind:14}  {median:.2} ms (quartiles {low:.2}, {high:.2})"));
    }
    let p = mann_whitney(&wrong, &unknown);
    ui::line(format_args!("Mann-Whitney p = {p:.3}, {tries} of each"));
    Ok(())
}

struct Api {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    /// Returns the answer's status and the time until the answer was complete.
    async fn post(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<(StatusCode, Duration)> {
        let request = Request::post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(Full::new(body.to_string().into()))?;
        let started = Instant::now();
        let answer =
            self.client.request(request).await.context("the dev server does not answer")?;
        let status = answer.status();
        answer.into_body().collect().await.context("the dev server does not answer")?;
        Ok((status, started.elapsed()))
    }
}

/// The `n`th of the quantiles that divide `times` into `of` parts.
fn quantile(times: &[Duration], n: usize, of: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * n / of).copied().unwrap_or_default()
}

/// The two-sided p-value of the Mann-Whitney test: how likely two samples from the same distribution are to differ by
/// at least this much. Uses the normal approximation, which is accurate for samples of more than twenty
/// values.
fn mann_whitney(left: &[Duration], right: &[Duration]) -> f64 {
    let count = |times: &[Duration]| u32::try_from(times.len()).map_or(f64::MAX, f64::from);
    let wins: f64 = left
        .iter()
        .flat_map(|one| right.iter().map(move |other| one.cmp(other)))
        .map(|order| match order {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 1.0,
        })
        .sum();
    let (lefts, rights) = (count(left), count(right));
    let deviation = (lefts * rights * (lefts + rights + 1.0) / 12.0).sqrt();
    let score = (wins - lefts * rights / 2.0).abs() / deviation;
    libm::erfc(score / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(times: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        times.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn samples_from_different_distributions_are_distinguished() {
        let one = millis((0..300).map(|n| n * 7 % 300));
        let same = millis((0..300).map(|n| n * 11 % 300));
        let later = millis((0..300).map(|n| n * 11 % 300 + 40));
        assert!(mann_whitney(&one, &same) > 0.9);
        assert!(mann_whitney(&one, &later) < 0.001);
    }

    /// The expected value was computed in Python with the normal approximation, without continuity correction.
    #[test]
    fn the_p_value_agrees_with_the_formula() {
        let p = mann_whitney(&millis(0..20), &millis(3..23));
        assert!((p - 0.133_283_170_7).abs() < 1e-9, "{p}");
    }

    #[test]
    fn quantiles_do_not_depend_on_the_order_of_values() {
        let times = millis([5, 1, 4, 2, 3]);
        assert_eq!(quantile(&times, 2, 4), Duration::from_millis(3));
        assert_eq!(quantile(&[], 1, 2), Duration::ZERO);
    }
}
