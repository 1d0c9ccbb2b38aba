//! Metrics, recorded where they are measured. The crate `lambda` reports them to `CloudWatch` once per request.
//!
//! A measurement is a `tracing` event with the target [`TARGET`]. The code that measures therefore does not depend on
//! the code that collects. Without a collector, measurements are discarded.

/// The `tracing` target of all measurements.
pub const TARGET: &str = "latchkey::metrics";

/// A metric, with its name and unit in `CloudWatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Requests and events that were handled.
    Requests,
    /// Requests and events that were the first of their process.
    ColdStarts,
    /// The time from an event to the response, in milliseconds.
    Duration,
    /// Responses with a status of 500 or higher, and events whose handling failed.
    ServerErrors,
    /// Requests and events that were aborted because their deadline had passed.
    DeadlinesPassed,
    /// Responses with the status 429.
    Throttled,
    /// Logins that succeeded.
    LoginsSucceeded,
    /// Logins with wrong credentials.
    LoginsFailed,
    /// Logins that the throttle refused.
    LoginsThrottled,
    /// Sessions that were ended because a superseded refresh token was presented.
    ReuseDetected,
    /// The time spent on hashing passwords, in milliseconds.
    HashTime,
    /// The time spent on database operations, including retries, in milliseconds. The times of concurrent
    /// operations are added up.
    DatabaseTime,
    /// Retries of database operations.
    DatabaseRetries,
    /// The time since the signing key was published, in seconds.
    SigningKeyAge,
    /// Emails that SES accepted.
    MailsSent,
    /// Failed attempts to send an email through SES.
    MailsFailed,
    /// Emails that were abandoned because they could never be sent, and failures to delete the remains of an account that
    /// are permanent or have happened very often.
    MailsGivenUp,
    /// Security events that were not sent to the event bus because they could not be read.
    EventsGivenUp,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 18] = [
        Self::Requests,
        Self::ColdStarts,
        Self::Duration,
        Self::ServerErrors,
        Self::DeadlinesPassed,
        Self::Throttled,
        Self::LoginsSucceeded,
        Self::LoginsFailed,
        Self::LoginsThrottled,
        Self::ReuseDetected,
        Self::HashTime,
        Self::DatabaseTime,
        Self::DatabaseRetries,
        Self::SigningKeyAge,
        Self::MailsSent,
        Self::MailsFailed,
        Self::MailsGivenUp,
        Self::EventsGivenUp,
    ];

    /// The name in `CloudWatch`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "Requests",
            Self::ColdStarts => "ColdStarts",
            Self::Duration => "Duration",
            Self::ServerErrors => "ServerErrors",
            Self::DeadlinesPassed => "DeadlinesPassed",
            Self::Throttled => "Throttled",
            Self::LoginsSucceeded => "LoginsSucceeded",
            Self::LoginsFailed => "LoginsFailed",
            Self::LoginsThrottled => "LoginsThrottled",
            Self::ReuseDetected => "ReuseDetected",
            Self::HashTime => "HashTime",
            Self::DatabaseTime => "DatabaseTime",
            Self::DatabaseRetries => "DatabaseRetries",
            Self::SigningKeyAge => "SigningKeyAge",
            Self::MailsSent => "MailsSent",
            Self::MailsFailed => "MailsFailed",
            Self::MailsGivenUp => "MailsGivenUp",
            Self::EventsGivenUp => "EventsGivenUp",
        }
    }

    /// The unit, as named by `CloudWatch`'s `MetricDatum`.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Duration | Self::HashTime | Self::DatabaseTime => "Milliseconds",
            Self::SigningKeyAge => "Seconds",
            _ => "Count",
        }
    }

    /// Finds the metric with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Combines the request's value so far, `before`, with the new measurement `value`. The values are added, but
    /// a new key age replaces the previous one.
    #[must_use]
    pub fn after(self, before: f64, value: f64) -> f64 {
        match self {
            Self::SigningKeyAge => value,
            _ => before + value,
        }
    }

    /// Records `value` for the current request.
    pub fn add(self, value: f64) {
        tracing::info!(target: TARGET, metric = self.name(), value);
    }
}
