//! The log: one line of JSON per request, on standard output, where Lambda collects it.
//!
//! A line holds the route, the status, the duration, the request's id and the user's id. It never
//! holds a token, a password, a name, an address or a body.

use std::time::Duration;

use auth::UserId;
use tracing::level_filters::LevelFilter;

use crate::Problem;

/// Starts the log.
pub(crate) fn start(level: LevelFilter) {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(level)
        .init();
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
    /// Writes the line: a defect as an error, an outage as a warning.
    pub(crate) fn write(&self) {
        let Self { route, request_id, status, .. } = *self;
        let duration_ms = self.duration.as_secs_f64() * 1e3;
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
