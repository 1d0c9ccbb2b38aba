//! What kind of fault an error is.

/// The kind of a fault, of which the HTTP status follows. Domain errors say their kind; the crate
/// `web` alone turns kinds into status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The input breaks a rule (400).
    Invalid,
    /// Nobody has been authenticated (401).
    Unauthenticated,
    /// Somebody has, who may not do this (403).
    Forbidden,
    /// A signed-in user's current password is wrong (403 without a challenge: a client must not refresh
    /// its tokens in response).
    WrongPassword,
    /// A code by mail is wrong or has expired (400).
    WrongCode,
    /// There is no such thing, or not for the caller to know (404).
    Absent,
    /// The request conflicts with existing data (409).
    Conflict,
    /// Too many attempts (429).
    Throttled,
    /// Something we depend on does not answer (503).
    Unavailable,
    /// A defect of the service (500).
    Internal,
}

/// An error that says whether the server could not carry out what was asked (5xx): such a failure is not
/// counted against the caller.
pub trait Outage {
    /// Whether the server failed.
    fn is_outage(&self) -> bool;
}

impl<E: Fault> Outage for E {
    fn is_outage(&self) -> bool {
        matches!(self.kind(), FaultKind::Unavailable | FaultKind::Internal)
    }
}

/// An error that knows what kind of fault it is.
pub trait Fault: std::error::Error {
    /// The kind of this fault.
    fn kind(&self) -> FaultKind;

    /// How long to wait before the same may be tried again, in seconds, where the fault knows.
    fn retry_after(&self) -> Option<u64> {
        None
    }
}
