//! The log: one line of JSON per request, on standard output, where Lambda collects it.
//!
//! A line contains the route, the status, the duration, the request's id and the user's id. It never contains
//! a token, a password, a name, an address or a body.

use std::error::Error;
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

use crate::metrics::{self, Metrics};

/// Reads `LOG_LEVEL`: `off`, `error`, `warn` or `info`. More verbose levels are refused, because libraries would log
/// whole events and items, including passwords and tokens.
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

/// Starts the log, and the metrics if they are configured.
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
        // Without the hint, libraries would create events of all levels, and this layer would drop them.
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

/// A duration in milliseconds, rounded to microseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A request that has been answered.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The name of the route.
    pub route: &'static str,
    /// The gateway's id for the request.
    pub request_id: &'a str,
    /// The caller's id, if the caller has been identified.
    pub user_id: Option<UserId>,
    /// The status of the response.
    pub status: u16,
    /// The time that the function took to answer.
    pub duration: Duration,
    /// The code of the problem, if the response is a problem.
    pub code: Option<&'static str>,
    /// The cause of the problem, which is not sent to the client.
    pub reason: Option<String>,
}

impl Record<'_> {
    /// Writes the log line and the metrics of the request. A 500 is logged as an error, any other 5xx as a warning.
    pub fn write(&self) {
        let duration_ms = milliseconds(self.duration);
        // `tracing` needs the level of an event at compile time, so each level has its own event.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    route = self.route,
                    request_id = self.request_id,
                    status = self.status,
                    duration_ms,
                    user_id = self.user_id.map(tracing::field::display),
                    code = self.code,
                    reason = self.reason.as_deref(),
                    "request"
                )
            };
        }
        Metric::Duration.add(duration_ms);
        match self.status {
            429 => Metric::Throttled.add(1.0),
            500.. => Metric::ServerErrors.add(1.0),
            _ => {}
        }
        metrics::handled(self.route);
        match self.status {
            500 => event!(error),
            501.. => event!(warn),
            _ => event!(info),
        }
    }
}

/// An error and its sources, outermost first.
#[must_use]
pub fn reason(error: &dyn Error) -> String {
    let mut next = error;
    let mut reason = next.to_string();
    while let Some(source) = next.source() {
        next = source;
        reason.push_str(": ");
        reason.push_str(&next.to_string());
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use process::{Clock, Env, SystemClock, SystemRandom};

    use super::*;

    /// The lines that a log at this level writes.
    fn logged(level: LevelFilter, log: impl FnOnce()) -> Vec<serde_json::Value> {
        written(level, &Env::default(), log)
    }

    /// The lines that a log at this level writes, and the metrics if `env` configures them.
    fn written(level: LevelFilter, env: &Env, log: impl FnOnce()) -> Vec<serde_json::Value> {
        let metrics = env.settings::<metrics::Config>().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(File::create(file.path()).unwrap());
        tracing::subscriber::with_default(subscriber(level, metrics, writer), log);
        let text = std::fs::read_to_string(file.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn record(status: u16, user_id: Option<UserId>) -> Record<'static> {
        // 1.5 ms and a fraction that is rounded away.
        let duration = Duration::from_nanos(1_500_123);
        let (code, reason) = (None, None);
        Record { route: "me", request_id: "the-id", user_id, status, duration, code, reason }
    }

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

    // These checks are one test, because `tracing` caches for the whole process which events are enabled: concurrent
    // tests with different logs would affect each other.
    #[test]
    fn a_record_is_one_line_at_the_level_of_its_status() {
        a_record_is_one_flat_json_object();
        the_status_determines_the_level();
        metrics_are_a_separate_line();
    }

    fn metrics_are_a_separate_line() {
        let env = Env::from_iter([("STACK_NAME", "mine")]);
        let requests = || {
            Metric::HashTime.add(20.0);
            Metric::HashTime.add(1.5);
            Metric::SigningKeyAge.add(7.0);
            Metric::SigningKeyAge.add(7.0);
            record(503, Some(UserId::new(SystemClock.now(), &SystemRandom))).write();
            record(429, None).write();
        };
        // The log level does not affect metrics.
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
        // Measurements do not carry over to the next request, and no line contains a user id.
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
        // The log line itself contains no metrics.
        let lines = written(LevelFilter::INFO, &env, || record(200, None).write());
        let are_metrics: Vec<_> = lines.iter().map(|line| line.get("_aws").is_some()).collect();
        assert_eq!(are_metrics, [true, false]);
    }

    fn a_record_is_one_flat_json_object() {
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

    fn the_status_determines_the_level() {
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
