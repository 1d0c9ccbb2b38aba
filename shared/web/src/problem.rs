//! Problems: every answer that is not what was asked for (RFC 9457).

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use auth::{Fault, FaultKind};
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

/// How long a client should wait when something we depend on does not answer, in seconds.
const UNAVAILABLE_SECONDS: u64 = 2;

/// The challenge of RFC 6750 §3, by what is to be said of the token.
const CHALLENGE: &str = r#"Bearer realm="latchkey""#;
const CHALLENGE_INVALID: &str = r#"Bearer realm="latchkey", error="invalid_token""#;
const CHALLENGE_SCOPE: &str = r#"Bearer realm="latchkey", error="insufficient_scope""#;

/// A field of the input that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The member of the body.
    pub field: &'static str,
    /// Which rule, for a program. Stable.
    pub code: &'static str,
    /// The same, for a person.
    pub detail: String,
}

/// A problem: what the client is told, and, apart from it, what only the log is told.
///
/// | status | code | when |
/// |---|---|---|
/// | 400 | `invalid_request` | the body is not JSON or not of the shape |
/// | 400 | `invalid_input` | a field breaks a rule |
/// | 401 | `missing_token` | no credentials |
/// | 401 | `invalid_token` | a token that does not count |
/// | 401 | `invalid_credentials` | a wrong name or password, or a wrong code by mail |
/// | 403 | `insufficient_role` | a role is missing |
/// | 403 | `registration_closed`, `invalid_invite` | nobody may register, or not without an invitation |
/// | 404 | `not_found` | no such thing, or not the caller's to know |
/// | 409 | `already_exists` | a name that is taken |
/// | 413 | `too_large` | a body that is too large |
/// | 415 | `unsupported_media_type` | a body that is not JSON by its content type |
/// | 429 | `too_many_attempts` | too many attempts |
/// | 500 | `internal` | a defect |
/// | 503 | `unavailable` | something we depend on does not answer |
#[derive(Debug)]
pub struct Problem(Box<Parts>);

/// Boxed, so that a `Result` is not as large as the worst that can happen.
#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    header: Option<(HeaderName, HeaderValue)>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The body as it is sent.
#[derive(Serialize)]
struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            header: None,
            source: None,
        }))
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The body is not JSON or not of the shape (400). `detail` must not quote what was sent.
    #[must_use]
    pub fn invalid_request(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", "Invalid request", detail)
    }

    /// Fields break rules (400).
    #[must_use]
    pub fn invalid_input(errors: Vec<FieldError>) -> Self {
        let detail = "Some of the input breaks a rule; see errors.";
        let mut problem =
            Self::new(StatusCode::BAD_REQUEST, "invalid_input", "Invalid input", detail);
        problem.0.errors = errors;
        problem
    }

    /// No credentials were sent (401).
    #[must_use]
    pub fn missing_token() -> Self {
        let detail = "This route needs an access token in the Authorization header.";
        Self::new(StatusCode::UNAUTHORIZED, "missing_token", "Unauthorized", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
    }

    /// A token was sent that does not count (401).
    #[must_use]
    pub fn invalid_token() -> Self {
        let detail = "The token is malformed, expired or no longer valid.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_token", "Unauthorized", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE_INVALID))
    }

    /// A wrong name or password (401): one answer, whichever it was.
    #[must_use]
    pub fn invalid_credentials() -> Self {
        let detail = "The name or the password is wrong.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "Unauthorized", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
    }

    /// A wrong code by mail, or one that does not count any more (401): one answer, whichever it was.
    #[must_use]
    pub fn wrong_code() -> Self {
        let detail = "The code is wrong, or does not count any more.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "Unauthorized", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
    }

    /// A role is missing (403).
    #[must_use]
    pub fn insufficient_role() -> Self {
        let detail = "Your account does not have the role that this route needs.";
        Self::new(StatusCode::FORBIDDEN, "insufficient_role", "Forbidden", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE_SCOPE))
    }

    /// Nobody may register (403).
    #[must_use]
    pub fn registration_closed() -> Self {
        let detail = "Registration is closed.";
        Self::new(StatusCode::FORBIDDEN, "registration_closed", "Forbidden", detail)
    }

    /// Registering takes an invitation, and this is none that counts (403).
    #[must_use]
    pub fn invalid_invite() -> Self {
        let detail = "Registration takes an invitation that has not been used and has not expired.";
        Self::new(StatusCode::FORBIDDEN, "invalid_invite", "Forbidden", detail)
    }

    /// There is no such thing, or not for the caller to know (404).
    #[must_use]
    pub fn not_found() -> Self {
        let detail = "There is no such thing.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// A name is taken (409).
    #[must_use]
    pub fn already_exists(detail: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "already_exists", "Already exists", detail)
    }

    /// The body is too large (413).
    #[must_use]
    pub fn too_large() -> Self {
        let detail = "The body must not be larger than 16 KiB.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large", detail)
    }

    /// The body is not JSON by its content type (415).
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        let detail = "The body must be application/json, in no further encoding.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", "Unsupported media type", detail)
    }

    /// Too many attempts (429).
    #[must_use]
    pub fn too_many_attempts(retry_after_seconds: u64) -> Self {
        let detail = "Too many attempts; wait as long as Retry-After says.";
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "too_many_attempts", "Too many attempts", detail)
            .with(RETRY_AFTER, retry_after_seconds.into())
    }

    /// Something we depend on does not answer (503).
    #[must_use]
    pub fn unavailable() -> Self {
        let detail = "The service cannot answer at present; try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", detail)
            .with(RETRY_AFTER, UNAVAILABLE_SECONDS.into())
    }

    /// A defect of ours (500).
    #[must_use]
    pub fn internal() -> Self {
        let detail = "Something went wrong on our side.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// Adds what the log is told, and the client is not. It must not hold a secret.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The code, for a program.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What led to it, from the outside in, for the log.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.source.as_deref().map(|source| reason(source))
    }

    pub(crate) fn body(&self, request_id: &str) -> String {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.0.title,
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            code: self.0.code,
            request_id,
            errors: &self.0.errors,
        };
        serde_json::to_string(&body).expect("a problem is JSON")
    }

    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some((name, value)) = &self.0.header {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// An error and what led to it, from the outside in.
pub(crate) fn reason(error: &dyn Error) -> String {
    let mut next = error;
    let mut reason = next.to_string();
    while let Some(source) = next.source() {
        next = source;
        reason.push_str(": ");
        reason.push_str(&next.to_string());
    }
    reason
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.status.as_u16(), self.0.code)
    }
}

/// The one place where kinds of fault become answers.
impl<E: Fault + Send + Sync + 'static> From<E> for Problem {
    fn from(fault: E) -> Self {
        let problem = match fault.kind() {
            FaultKind::Invalid => Self::invalid_request("The request breaks a rule."),
            FaultKind::Unauthenticated => Self::invalid_token(),
            FaultKind::Forbidden => Self::insufficient_role(),
            FaultKind::Absent => Self::not_found(),
            FaultKind::Conflict => Self::already_exists("What you ask for is taken."),
            FaultKind::Throttled => {
                Self::too_many_attempts(fault.retry_after().unwrap_or(UNAVAILABLE_SECONDS))
            }
            FaultKind::Unavailable => Self::unavailable(),
            FaultKind::Internal => Self::internal(),
        };
        problem.because(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the inside story")]
    struct Broken(FaultKind);

    impl Fault for Broken {
        fn kind(&self) -> FaultKind {
            self.0
        }
    }

    #[test]
    fn every_kind_has_its_status() {
        let status = |kind| Problem::from(Broken(kind)).status().as_u16();
        assert_eq!(status(FaultKind::Invalid), 400);
        assert_eq!(status(FaultKind::Unauthenticated), 401);
        assert_eq!(status(FaultKind::Forbidden), 403);
        assert_eq!(status(FaultKind::Absent), 404);
        assert_eq!(status(FaultKind::Conflict), 409);
        assert_eq!(status(FaultKind::Throttled), 429);
        assert_eq!(status(FaultKind::Unavailable), 503);
        assert_eq!(status(FaultKind::Internal), 500);
    }

    #[test]
    fn the_inside_story_stays_inside() {
        let problem = Problem::from(Broken(FaultKind::Internal));
        assert!(!problem.body("id").contains("inside"));
        assert_eq!(problem.reason().as_deref(), Some("the inside story"));
    }

    #[test]
    fn the_status_stands_in_the_body_too() {
        let body: serde_json::Value =
            serde_json::from_str(&Problem::not_found().body("the-id")).unwrap();
        assert_eq!(body["status"], 404);
        assert_eq!(body["request_id"], "the-id");
        assert_eq!(body.get("errors"), None);
    }
}
