//! Metrics in `CloudWatch`'s embedded metric format: one line of JSON per request on standard output, from
//! which `CloudWatch` creates metrics without an API call.
//!
//! The only dimension is the stack, because every additional dimension value is billed as another metric. The log
//! contains the details per function and user. The format is specified in the Amazon `CloudWatch` User Guide,
//! "Specification: Embedded metric format".

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use process::metrics::TARGET;
use process::{Clock, Metric, Reader, Settings, SystemClock};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Latchkey";

/// The name of the field that marks the end of a request. An event with this field causes the request's metrics to be
/// written.
pub(crate) const HANDLED: &str = "handled";

/// The stack that metrics belong to. Without a stack, as in local development, no metrics are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    stack: String,
}

impl Config {
    /// Whether metrics are written.
    pub(crate) fn is_on(&self) -> bool {
        !self.stack.is_empty()
    }
}

impl Settings for Config {
    /// Reads `STACK_NAME`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        Some(Self { stack: reader.optional("STACK_NAME", String::new())? })
    }
}

/// Collects measurements, and writes them when a request has been handled. A function handles one request at a time.
pub(crate) struct Metrics<W> {
    config: Config,
    writer: W,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    measured: BTreeMap<Metric, f64>,
    /// The number of requests handled so far.
    handled: u64,
}

impl<W> Metrics<W> {
    pub(crate) fn new(config: Config, writer: W) -> Self {
        Self { config, writer, state: Mutex::default() }
    }

    /// The next line, with all measurements since the previous one.
    fn line(&self, route: &str) -> Value {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut measured = std::mem::take(&mut state.measured);
        measured.insert(Metric::Requests, 1.0);
        if state.handled == 0 {
            measured.insert(Metric::ColdStarts, 1.0);
        }
        state.handled += 1;
        drop(state);
        let metrics: Vec<_> = measured
            .keys()
            .map(|metric| json!({"Name": metric.name(), "Unit": metric.unit()}))
            .collect();
        let mut line = json!({
            "_aws": {
                "Timestamp": SystemClock.now().as_millisecond(),
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": [["Stack"]],
                    "Metrics": metrics,
                }],
            },
            "Stack": self.config.stack,
            "Route": route,
        });
        for (metric, value) in measured {
            line[metric.name()] = value.into();
        }
        line
    }
}

/// The fields of one event.
#[derive(Default)]
struct Fields {
    metric: Option<Metric>,
    value: Option<f64>,
    route: Option<String>,
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "value" {
            self.value = Some(value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "metric" => self.metric = Metric::of_name(value),
            HANDLED => self.route = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S, W> Layer<S> for Metrics<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let (Some(metric), Some(value)) = (fields.metric, fields.value) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let measured = state.measured.entry(metric).or_default();
            *measured = metric.after(*measured, value);
        }
        if let Some(route) = fields.route {
            let line = format!("{}\n", self.line(&route));
            // One write per line, so that lines of different threads do not interleave. A failure to write cannot be
            // reported anywhere.
            let _ = self.writer.make_writer().write_all(line.as_bytes());
        }
    }
}

/// Marks the end of a request, so that its measurements are written.
pub(crate) fn handled(route: &'static str) {
    tracing::info!(target: TARGET, handled = route);
}
