//! Measurements by the code that makes them; `lambda` reports them to `CloudWatch` once per request.
//!
//! A measurement is an event of `tracing` with its own target. So code that measures does not depend on
//! code that collects, and nothing is kept if nothing collects.

/// The target of the events.
pub const TARGET: &str = "latchkey::metrics";

/// What is measured. Names and units are those in `CloudWatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Requests and events that were handled.
    Requests,
    /// Of these, the first of their process.
    ColdStarts,
    /// How long one took, from its event to its answer, in milliseconds.
    Duration,
    /// Answers from 500 on, and events whose handling failed.
    ServerErrors,
    /// Requests and events that were aborted because their deadline had passed.
    DeadlinesPassed,
    /// Answers 429.
    Throttled,
    /// Logins that succeeded.
    LoginsSucceeded,
    /// Logins with credentials that are not right.
    LoginsFailed,
    /// Logins that had to wait.
    LoginsThrottled,
    /// Refresh tokens that came after their successor had been used, so that the session was ended.
    ReuseDetected,
    /// How long hashing passwords took, in milliseconds.
    HashTime,
    /// How long operations of the database took, retries included, in milliseconds: the sum, although some
    /// of them run concurrently.
    DatabaseTime,
    /// Attempts of such operations after their first ones.
    DatabaseRetries,
    /// How long ago the key that signs was published, in seconds.
    SigningKeyAge,
    /// Mails that SES took.
    MailsSent,
    /// Mails that it did not take, each time.
    MailsFailed,
    /// Mails that were given up because they could never be sent.
    MailsGivenUp,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 17] = [
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
    ];

    /// Its name.
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
        }
    }

    /// Its unit, by the names of `CloudWatch`'s `MetricDatum`.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Duration | Self::HashTime | Self::DatabaseTime => "Milliseconds",
            Self::SigningKeyAge => "Seconds",
            _ => "Count",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The value for a request that had `before` and now measures `value`: the sum, except for an age,
    /// which does not grow with the number of measurements.
    #[must_use]
    pub fn after(self, before: f64, value: f64) -> f64 {
        match self {
            Self::SigningKeyAge => value,
            _ => before + value,
        }
    }

    /// Measures `value` in the request in hand.
    pub fn add(self, value: f64) {
        tracing::info!(target: TARGET, metric = self.name(), value);
    }
}
