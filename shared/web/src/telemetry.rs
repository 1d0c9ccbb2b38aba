//! The log: one line of JSON per request, on standard output, where Lambda collects it.
//!
//! A line holds the route, the status, the duration, the request's id and the user's id. It never
//! holds a token, a password, a name, an address or a body.

use std::io;
use std::time::Duration;

use identity::UserId;
use process::metrics::TARGET;
use process::{Metric, Reader};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Problem;
use crate::metrics::{self, Metrics};

/// From `LOG_LEVEL`: `off`, `error`, `warn` or `info`. Not below: there the libraries log the events
/// and items that pass through them, passwords and tokens and all.
pub(crate) fn level(reader: &Reader<'_>) -> Option<LevelFilter> {
    let level = reader.optional("LOG_LEVEL", LevelFilter::INFO)?;
    if level > LevelFilter::INFO {
        reader.fault(
            "LOG_LEVEL",
            "must be `off`, `error`, `warn` or `info`: more verbose levels would log secrets",
        );
    }
    Some(level)
}

/// Starts the log, and metrics if there are to be any.
pub(crate) fn start(level: LevelFilter, metrics: metrics::Config) {
    subscriber(level, metrics, io::stdout).init();
}

fn subscriber<W>(
    level: LevelFilter,
    metrics: metrics::Config,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let metrics = metrics.is_on().then(|| {
        let measurements = filter_fn(|event| event.target() == TARGET);
        // Or the events of the libraries below would be made only to be thrown away.
        let measurements = measurements.with_max_level_hint(LevelFilter::INFO);
        Metrics::new(metrics, writer.clone()).with_filter(measurements)
    });
    let log = filter_fn(move |event| *event.level() <= level && event.target() != TARGET);
    let log = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(writer)
        .with_filter(log.with_max_level_hint(level));
    tracing_subscriber::registry().with(log).with(metrics)
}

/// A duration as the log has it: in milliseconds, to the microsecond. More digits are noise of the division.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// What is known of a request once it has been answered.
pub(crate) struct Record<'a> {
    pub(crate) route: &'static str,
    pub(crate) request_id: &'a str,
    pub(crate) user_id: Option<UserId>,
    pub(crate) status: u16,
    pub(crate) duration: Duration,
    pub(crate) problem: Option<&'a Problem>,
}

impl Record<'_> {
    /// Writes the line, a defect as an error, an outage as a warning, and the metrics of the request.
    pub(crate) fn write(&self) {
        let Self { route, request_id, status, .. } = *self;
        let duration_ms = milliseconds(self.duration);
        Metric::Duration.add(duration_ms);
        match status {
            429 => Metric::Throttled.add(1.0),
            500.. => Metric::ServerErrors.add(1.0),
            _ => {}
        }
        metrics::handled(route);
        let user_id = self.user_id.map(tracing::field::display);
        let code = self.problem.map(Problem::code);
        let reason = self.problem.and_then(Problem::reason);
        let reason = reason.as_deref();
        match status {
            500 => tracing::error!(
                route,
                request_id,
                status,
                duration_ms,
                user_id,
                code,
                reason,
                "request"
            ),
            501.. => tracing::warn!(
                route,
                request_id,
                status,
                duration_ms,
                user_id,
                code,
                reason,
                "request"
            ),
            _ => tracing::info!(
                route,
                request_id,
                status,
                duration_ms,
                user_id,
                code,
                reason,
                "request"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use process::{Clock, Env, SystemClock, SystemRandom};

    use super::*;

    /// What is logged by a log of this level.
    fn logged(level: LevelFilter, log: impl FnOnce()) -> Vec<serde_json::Value> {
        written(level, &Env::default(), log)
    }

    /// The same with metrics, if `env` wants them.
    fn written(level: LevelFilter, env: &Env, log: impl FnOnce()) -> Vec<serde_json::Value> {
        let metrics = env.read(metrics::Config::read).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(File::create(file.path()).unwrap());
        tracing::subscriber::with_default(subscriber(level, metrics, writer), log);
        let text = std::fs::read_to_string(file.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn record(status: u16, user_id: Option<UserId>) -> Record<'static> {
        // 1.5 ms, and a part that the log drops.
        let duration = Duration::from_nanos(1_500_123);
        Record { route: "me", request_id: "the-id", user_id, status, duration, problem: None }
    }

    // One test: `tracing` remembers for the whole process which log wants what, and two tests at the
    // same time would be two logs.
    #[test]
    fn levels_at_which_libraries_log_secrets_are_refused() {
        let read = |text: &str| Env::from_iter([("LOG_LEVEL", text)]).read(level);
        for (text, expected) in [("info", LevelFilter::INFO), ("off", LevelFilter::OFF)] {
            assert_eq!(read(text).unwrap(), expected);
        }
        for text in ["debug", "trace", "TRACE", "5", "loud"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_is_one_line_at_the_level_of_its_status() {
        a_flat_line_of_json();
        the_level_follows_from_the_status();
        metrics_are_a_line_besides();
    }

    fn metrics_are_a_line_besides() {
        let env = Env::from_iter([("STACK_NAME", "mine")]);
        let requests = || {
            Metric::HashTime.add(20.0);
            Metric::HashTime.add(1.5);
            Metric::SigningKeyAge.add(7.0);
            Metric::SigningKeyAge.add(7.0);
            record(503, Some(UserId::new(SystemClock.now(), &SystemRandom))).write();
            record(429, None).write();
        };
        // Whatever is logged.
        let mut lines = written(LevelFilter::OFF, &env, requests);
        for line in &mut lines {
            assert!(line["_aws"]["Timestamp"].take().as_i64() > Some(1_700_000_000_000), "{line}");
        }
        let metrics = |names: &[(&str, &str)]| {
            let metrics =
                names.iter().map(|(name, unit)| serde_json::json!({"Name": name, "Unit": unit}));
            serde_json::json!({
                "Timestamp": null,
                "CloudWatchMetrics": [{
                    "Namespace": "Latchkey",
                    "Dimensions": [["Stack"]],
                    "Metrics": metrics.collect::<Vec<_>>(),
                }],
            })
        };
        // Of the request before nothing is left, and nobody is in it.
        let expected = serde_json::json!([
            {
                "_aws": metrics(&[
                    ("Requests", "Count"),
                    ("ColdStarts", "Count"),
                    ("Duration", "Milliseconds"),
                    ("ServerErrors", "Count"),
                    ("HashTime", "Milliseconds"),
                    ("SigningKeyAge", "Seconds"),
                ]),
                "Stack": "mine", "Route": "me",
                "Requests": 1.0, "ColdStarts": 1.0, "Duration": 1.5, "ServerErrors": 1.0, "HashTime": 21.5,
                "SigningKeyAge": 7.0,
            },
            {
                "_aws": metrics(&[
                    ("Requests", "Count"),
                    ("Duration", "Milliseconds"),
                    ("Throttled", "Count"),
                ]),
                "Stack": "mine", "Route": "me",
                "Requests": 1.0, "Duration": 1.5, "Throttled": 1.0,
            },
        ]);
        assert_eq!(serde_json::Value::from(lines), expected);
        // Beside the log, which has nothing of them.
        let lines = written(LevelFilter::INFO, &env, || record(200, None).write());
        let of_metrics: Vec<_> = lines.iter().map(|line| line.get("_aws").is_some()).collect();
        assert_eq!(of_metrics, [true, false]);
    }

    fn a_flat_line_of_json() {
        let user_id = UserId::new(SystemClock.now(), &SystemRandom);
        let lines = logged(LevelFilter::INFO, || record(200, Some(user_id)).write());
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let mut line = line.clone();
        assert!(line["timestamp"].take().is_string());
        let expected = serde_json::json!({
            "timestamp": null,
            "level": "INFO",
            "message": "request",
            "route": "me",
            "request_id": "the-id",
            "status": 200,
            "duration_ms": 1.5,
            "user_id": user_id,
        });
        assert_eq!(line, expected);
    }

    fn the_level_follows_from_the_status() {
        let levels = |level| -> Vec<_> {
            let write = || {
                for status in [200, 401, 500, 503] {
                    record(status, None).write();
                }
            };
            logged(level, write).iter().map(|line| line["level"].clone()).collect()
        };
        assert_eq!(levels(LevelFilter::INFO), ["INFO", "INFO", "ERROR", "WARN"]);
        assert_eq!(levels(LevelFilter::WARN), ["ERROR", "WARN"]);
        assert!(levels(LevelFilter::OFF).is_empty());
    }
}
