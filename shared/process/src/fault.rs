//! Faults: errors that state their kind and their code.

/// The kind of a fault, which determines the HTTP status. Domain errors state their kind; only the crate `web`
/// turns kinds into status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The input breaks a rule (400).
    Invalid,
    /// The caller is not authenticated (401).
    Unauthenticated,
    /// The caller may not do this (403).
    Forbidden,
    /// The resource does not exist, or the caller may not know that it exists (404).
    Absent,
    /// The request conflicts with existing data (409).
    Conflict,
    /// The client has made too many attempts (429).
    Throttled,
    /// A dependency does not answer (503).
    Unavailable,
    /// A defect in the service (500).
    Internal,
}

impl FaultKind {
    /// The default code of faults of this kind.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request",
            Self::Unauthenticated => "invalid_token",
            Self::Forbidden => "forbidden",
            Self::Absent => "not_found",
            Self::Conflict => "already_exists",
            Self::Throttled => "too_many_attempts",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// An error that states whether the server failed (5xx). Such a failure is not counted against the caller.
pub trait Outage {
    /// Whether the server failed.
    fn is_outage(&self) -> bool;
}

impl<E: Fault> Outage for E {
    fn is_outage(&self) -> bool {
        matches!(self.kind(), FaultKind::Unavailable | FaultKind::Internal)
    }
}

/// An error that states its kind and its code.
pub trait Fault: std::error::Error {
    /// The kind of this fault, which determines the HTTP status.
    fn kind(&self) -> FaultKind;

    /// The code of this fault, for programs. It is part of the API and never changes. An error that wraps a
    /// fault returns the code of that fault.
    fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// A sentence for the client, if the code does not say enough. It must not reveal a secret.
    fn detail(&self) -> Option<&'static str> {
        None
    }

    /// The number of seconds after which the client may try again, if known.
    fn retry_after(&self) -> Option<u64> {
        None
    }

    /// If the user must authenticate again (RFC 9470): the longest permitted time since the last authentication, in
    /// seconds.
    fn max_age(&self) -> Option<u32> {
        None
    }
}
