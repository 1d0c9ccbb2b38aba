//! Problems: the answers to failed requests (RFC 9457).

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};

use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use process::{Fault, FaultKind, Outage};
use serde::Serialize;

use crate::shape::{MemberError, MemberErrors};

/// How many seconds a client should wait before it retries if a dependency does not answer.
const UNAVAILABLE_SECONDS: u64 = 2;

/// The maximum length of a value's name in an answer, in characters. Longer names are truncated.
const MAX_NAME_CHARS: usize = 64;

/// The challenges of RFC 6750 §3, in this order: for a missing token, for a refused token, and for a missing role.
const CHALLENGE: &str = r#"Bearer realm="latchkey""#;
const CHALLENGE_INVALID: &str = r#"Bearer realm="latchkey", error="invalid_token""#;
const CHALLENGE_SCOPE: &str = r#"Bearer realm="latchkey", error="insufficient_scope""#;

/// A field of the input that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The name of the body's member or of the parameter.
    pub field: &'static str,
    /// The rule's stable, machine-readable code.
    pub code: &'static str,
    /// A human-readable explanation of the rule.
    pub detail: String,
}

/// An error answer for the client, and its cause for the log.
///
/// | status | code | cause |
/// |---|---|---|
/// | 400 | `invalid_request` | the body is not JSON, or a member, parameter or header is missing or has the wrong type |
/// | 400 | `invalid_input` | a field breaks a rule |
/// | 400 | `invalid_code` | an emailed code is wrong or has expired |
/// | 401 | `missing_token` | the request has no credentials |
/// | 401 | `invalid_token` | the token is invalid or has expired, or its session has ended |
/// | 401 | `insufficient_user_authentication` | the user must authenticate again |
/// | 401 | `invalid_credentials` | the name or password at login is wrong |
/// | 403 | `forbidden` | the request did not come through the trusted edge |
/// | 403 | `wrong_password` | the current password of a signed-in user is wrong |
/// | 403 | `insufficient_role` | the caller lacks the required role |
/// | 403 | `registration_closed`, `invalid_invite` | registration is closed, or requires a valid invitation |
/// | 404 | `not_found` | the resource does not exist, or the caller must not learn that it exists |
/// | 409 | `already_exists` | a username or address is taken |
/// | 409 | `last_super_admin` | the account is the last active `super_admin` |
/// | 412 | `precondition_failed` | the resource has changed since the client read it |
/// | 428 | `precondition_required` | `If-Match` is missing |
/// | 413 | `too_large` | the body is too large |
/// | 415 | `unsupported_media_type` | the content type is not JSON in UTF-8 |
/// | 429 | `too_many_attempts` | the client has made too many attempts |
/// | 500 | `internal` | a defect |
/// | 503 | `unavailable` | a dependency does not answer |
#[derive(Debug)]
pub struct Problem(Box<Parts>);

/// The content of a [`Problem`], which boxes it to keep every `Result` small.
#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<ErrorEntry>,
    max_age: Option<u32>,
    header: Option<(HeaderName, HeaderValue)>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The body of the answer.
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
    errors: &'a [ErrorEntry],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u32>,
}

/// An entry of the member `errors`.
#[derive(Debug, Serialize)]
struct ErrorEntry {
    field: Cow<'static, str>,
    code: &'static str,
    detail: Cow<'static, str>,
}

impl FieldError {
    /// Creates an error for a rule that `field` breaks. `subject` names the field in the explanation: the
    /// subject "address" and the fault "is too long" give "The address is too long."
    pub fn new(field: &'static str, subject: &str, fault: &impl Fault) -> Self {
        Self { field, code: fault.code(), detail: format!("The {subject} {fault}.") }
    }
}

impl From<FieldError> for ErrorEntry {
    fn from(error: FieldError) -> Self {
        Self { field: error.field.into(), code: error.code, detail: error.detail.into() }
    }
}

/// A part of a request that consists of named values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The members of a JSON body.
    Body,
    /// The parameters of the query string.
    Query,
    /// The parameters of the path.
    Path,
    /// The headers.
    Headers,
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
            max_age: None,
            header: None,
            source: None,
        }))
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The request is malformed: its body is not JSON, or a value has the wrong type (400). `detail` must not quote
    /// the request.
    #[must_use]
    pub fn invalid_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", "Invalid request", detail)
    }

    /// The body contains neither the member `field` nor an alternative to it (400). `detail` states the
    /// alternatives.
    #[must_use]
    pub fn missing_member(field: &'static str, detail: &'static str) -> Self {
        let mut problem = Self::invalid_request(detail);
        let code = MemberError::Missing.code();
        problem.0.errors = vec![ErrorEntry { field: field.into(), code, detail: detail.into() }];
        problem
    }

    /// Named values of the request are missing or have the wrong type (400, or 404 for the path).
    pub(crate) fn wrong_shape(part: Part, errors: MemberErrors) -> Self {
        let (whole, one, noun) = match part {
            Part::Body => ("The body", "A member of the body", "member"),
            Part::Query => ("The query string", "A parameter of the query string", "parameter"),
            // No resource can have this path.
            Part::Path => return Self::not_found(),
            Part::Headers => ("The request", "A header", "header"),
        };
        let mut problem = Self::invalid_request(if errors.is_empty() {
            format!("{whole} does not have the required {noun}s.")
        } else {
            format!("{one} is missing or has the wrong type; see errors.")
        });
        let entry = |(name, error): (String, MemberError)| {
            let detail = match error {
                MemberError::Missing => format!("The {noun} is required."),
                MemberError::WrongType => format!("The {noun} has the wrong type."),
            };
            // If the values are bound to a map, the name comes from the request, so its length is limited.
            let field: String = name.chars().take(MAX_NAME_CHARS).collect();
            ErrorEntry { field: field.into(), code: error.code(), detail: detail.into() }
        };
        problem.0.errors = errors.into_iter().map(entry).collect();
        problem
    }

    /// One or more fields break a rule (400).
    #[must_use]
    pub fn invalid_input(errors: Vec<FieldError>) -> Self {
        let detail = "One or more fields are invalid; see errors.";
        let mut problem =
            Self::new(StatusCode::BAD_REQUEST, "invalid_input", "Invalid input", detail);
        problem.0.errors = errors.into_iter().map(ErrorEntry::from).collect();
        problem
    }

    /// The request has no credentials (401).
    #[must_use]
    pub fn missing_token() -> Self {
        let detail = "This route requires an access token in the Authorization header.";
        Self::new(StatusCode::UNAUTHORIZED, "missing_token", "Unauthorized", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
    }

    /// The token is invalid or has expired, or its session has ended (401).
    #[must_use]
    pub fn invalid_token() -> Self {
        let detail = "The token is invalid or has expired, or its session has ended.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_token", "Unauthorized", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE_INVALID))
    }

    /// The name or password at login is wrong (401). The answer does not say which.
    #[must_use]
    pub fn invalid_credentials() -> Self {
        let detail = "The username, email address or password is wrong.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "Unauthorized", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
    }

    /// The token is valid, but the user must have authenticated within the last `max_age` seconds (401, RFC 9470).
    #[must_use]
    pub fn insufficient_user_authentication(max_age: Option<u32>) -> Self {
        let detail = "The user must authenticate again: log in, or use POST /auth/step-up.";
        let code = "insufficient_user_authentication";
        let mut challenge = format!(r#"{CHALLENGE}, error="{code}""#);
        if let Some(max_age) = max_age {
            let _ = write!(challenge, ", max_age={max_age}");
        }
        let challenge = HeaderValue::try_from(challenge).expect("the challenge is ASCII");
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, code, "Unauthorized", detail)
            .with_header(WWW_AUTHENTICATE, challenge);
        problem.0.max_age = max_age;
        problem
    }

    /// An emailed code is wrong or has expired (400). The answer does not say which.
    #[must_use]
    pub fn invalid_code() -> Self {
        let detail = "The code is wrong or has expired.";
        Self::new(StatusCode::BAD_REQUEST, "invalid_code", "Invalid code", detail)
    }

    /// The request did not come through the trusted edge (403).
    #[must_use]
    pub fn forbidden() -> Self {
        let detail = "This API answers only requests to its public address.";
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }

    /// The current password of a signed-in user is wrong (403). The answer has no challenge, because the token is
    /// valid: after a challenge, a client would refresh the token and repeat the wrong password.
    #[must_use]
    pub fn wrong_password() -> Self {
        let detail = "The current password is wrong.";
        Self::new(StatusCode::FORBIDDEN, "wrong_password", "Forbidden", detail)
    }

    /// The caller lacks the required role (403).
    #[must_use]
    pub fn insufficient_role() -> Self {
        let detail = "Your account does not have the role that this route requires.";
        Self::new(StatusCode::FORBIDDEN, "insufficient_role", "Forbidden", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE_SCOPE))
    }

    /// Registration requires an invitation, and the request has no valid one (403).
    #[must_use]
    pub fn invalid_invite() -> Self {
        let detail = "Registration requires an invitation that has neither been used nor expired.";
        Self::new(StatusCode::FORBIDDEN, "invalid_invite", "Forbidden", detail)
    }

    /// The resource does not exist, or the caller must not learn that it exists (404).
    #[must_use]
    pub fn not_found() -> Self {
        let detail = "The resource does not exist.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// A username or address is taken (409).
    #[must_use]
    pub fn already_exists(detail: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "already_exists", "Already exists", detail)
    }

    /// The change would leave no active account with the role `super_admin` (409).
    #[must_use]
    pub fn last_super_admin() -> Self {
        Self::already_exists("The account is the last active super_admin.")
            .with_code("last_super_admin")
            .with_title("Last super_admin")
    }

    /// The resource has changed since the client read it (412).
    #[must_use]
    pub fn precondition_failed() -> Self {
        let detail =
            "The resource has changed; read it again and use its current ETag in If-Match.";
        let status = StatusCode::PRECONDITION_FAILED;
        Self::new(status, "precondition_failed", "Precondition failed", detail)
    }

    /// The request must state which revision of the resource it changes (428).
    #[must_use]
    pub fn precondition_required() -> Self {
        let detail = "This request requires If-Match with the ETag of the resource.";
        let status = StatusCode::PRECONDITION_REQUIRED;
        Self::new(status, "precondition_required", "Precondition required", detail)
    }

    /// The body is too large (413).
    #[must_use]
    pub fn too_large() -> Self {
        let detail = "The body must not exceed 16 KiB.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large", detail)
    }

    /// The content type is not JSON in UTF-8, or the body has a content encoding (415).
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        let detail = "The body must be application/json in UTF-8, without a content encoding.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", "Unsupported media type", detail)
    }

    /// The client has made too many attempts (429).
    #[must_use]
    pub fn too_many_attempts(retry_after_seconds: u64) -> Self {
        let detail = "Too many attempts; wait for the number of seconds in Retry-After.";
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "too_many_attempts", "Too many attempts", detail)
            .with_header(RETRY_AFTER, retry_after_seconds.into())
    }

    /// A dependency does not answer (503).
    #[must_use]
    pub fn unavailable() -> Self {
        let detail = "The service is temporarily unavailable; try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", detail)
            .with_header(RETRY_AFTER, UNAVAILABLE_SECONDS.into())
    }

    /// A defect (500).
    #[must_use]
    pub fn internal() -> Self {
        let detail = "The server encountered an internal error.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// Adds the cause for the log. The cause must not contain a secret.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable, machine-readable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The cause and its sources, outermost first, for the log.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.source.as_deref().map(|source| lambda::reason(source))
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
            max_age: self.0.max_age,
        };
        serde_json::to_string(&body).expect("a problem is JSON")
    }

    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some((name, value)) = &self.0.header {
            headers.insert(name.clone(), value.clone());
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.status.as_u16(), self.0.code)
    }
}

impl Outage for Problem {
    fn is_outage(&self) -> bool {
        self.status().is_server_error()
    }
}

/// Turns every fault into an answer. No other code does this.
impl<E: Fault + Send + Sync + 'static> From<E> for Problem {
    fn from(fault: E) -> Self {
        let mut problem = Self::of(&fault);
        if let Some(detail) = fault.detail() {
            problem.0.detail = detail.into();
        }
        problem.because(fault)
    }
}

impl Problem {
    /// Creates the problem for a fault. The kind determines the status. The code determines the texts and the
    /// challenge; if the code is unknown, the kind determines them.
    fn of(fault: &dyn Fault) -> Self {
        let code = fault.code();
        match (fault.kind(), code) {
            (FaultKind::Invalid, "invalid_code") => Self::invalid_code(),
            (FaultKind::Invalid, _) => {
                let detail = "The request is invalid.";
                Self::new(StatusCode::BAD_REQUEST, code, "Invalid request", detail)
            }
            (FaultKind::Unauthenticated, "invalid_token") => Self::invalid_token(),
            (FaultKind::Unauthenticated, "invalid_credentials") => Self::invalid_credentials(),
            (FaultKind::Unauthenticated, "insufficient_user_authentication") => {
                Self::insufficient_user_authentication(fault.max_age())
            }
            (FaultKind::Unauthenticated, _) => {
                let detail = "The request is not authenticated.";
                Self::new(StatusCode::UNAUTHORIZED, code, "Unauthorized", detail)
                    .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
            }
            (FaultKind::Forbidden, "insufficient_role") => Self::insufficient_role(),
            (FaultKind::Forbidden, "wrong_password") => Self::wrong_password(),
            (FaultKind::Forbidden, "invalid_invite") => Self::invalid_invite(),
            (FaultKind::Forbidden, _) => {
                Self::new(StatusCode::FORBIDDEN, code, "Forbidden", "The request is not allowed.")
            }
            (FaultKind::Absent, _) => Self::not_found().with_code(code),
            (FaultKind::Conflict, "last_super_admin") => Self::last_super_admin(),
            (FaultKind::Conflict, _) => {
                Self::already_exists("The request conflicts with existing data.").with_code(code)
            }
            (FaultKind::Throttled, _) => {
                Self::too_many_attempts(fault.retry_after().unwrap_or(UNAVAILABLE_SECONDS))
                    .with_code(code)
            }
            (FaultKind::Unavailable, _) => Self::unavailable().with_code(code),
            (FaultKind::Internal, _) => Self::internal().with_code(code),
        }
    }

    fn with_title(mut self, title: &'static str) -> Self {
        self.0.title = title;
        self
    }

    fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = code;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the internal cause")]
    struct Broken(FaultKind, &'static str);

    impl Fault for Broken {
        fn kind(&self) -> FaultKind {
            self.0
        }

        fn code(&self) -> &'static str {
            self.1
        }
    }

    const KINDS: [FaultKind; 8] = [
        FaultKind::Invalid,
        FaultKind::Unauthenticated,
        FaultKind::Forbidden,
        FaultKind::Absent,
        FaultKind::Conflict,
        FaultKind::Throttled,
        FaultKind::Unavailable,
        FaultKind::Internal,
    ];

    #[test]
    fn a_problem_has_the_code_of_its_fault() {
        for kind in KINDS {
            for code in [kind.code(), "unknown_code"] {
                assert_eq!(Problem::from(Broken(kind, code)).code(), code, "{kind:?}");
            }
        }
        for (kind, code) in [
            (FaultKind::Invalid, "invalid_code"),
            (FaultKind::Unauthenticated, "invalid_credentials"),
            (FaultKind::Unauthenticated, "insufficient_user_authentication"),
            (FaultKind::Forbidden, "insufficient_role"),
            (FaultKind::Forbidden, "wrong_password"),
            (FaultKind::Forbidden, "invalid_invite"),
        ] {
            assert_eq!(Problem::from(Broken(kind, code)).code(), code);
        }
    }

    #[test]
    fn the_code_does_not_change_the_status() {
        for kind in KINDS {
            let [own, other] = [kind.code(), "invalid_code"]
                .map(|code| Problem::from(Broken(kind, code)).status());
            assert_eq!(own, other, "{kind:?}");
        }
    }

    #[test]
    fn every_kind_of_fault_has_its_status() {
        let status = |kind: FaultKind| Problem::from(Broken(kind, kind.code())).status().as_u16();
        assert_eq!(status(FaultKind::Invalid), 400);
        assert_eq!(status(FaultKind::Unauthenticated), 401);
        assert_eq!(status(FaultKind::Forbidden), 403);
        assert_eq!(status(FaultKind::Absent), 404);
        assert_eq!(status(FaultKind::Conflict), 409);
        assert_eq!(status(FaultKind::Throttled), 429);
        assert_eq!(status(FaultKind::Unavailable), 503);
        assert_eq!(status(FaultKind::Internal), 500);
    }

    /// After a challenge, a client would refresh its tokens and repeat the guess.
    #[test]
    fn a_wrong_password_or_code_gets_no_challenge() {
        for (kind, code) in
            [(FaultKind::Forbidden, "wrong_password"), (FaultKind::Invalid, "invalid_code")]
        {
            let mut headers = HeaderMap::new();
            Problem::from(Broken(kind, code)).add_headers(&mut headers);
            assert!(headers.is_empty(), "{code}: {headers:?}");
        }
    }

    #[test]
    fn a_problem_does_not_reveal_its_cause() {
        let problem = Problem::from(Broken(FaultKind::Internal, "internal"));
        assert!(!problem.body("id").contains("cause"));
        assert_eq!(problem.reason().as_deref(), Some("the internal cause"));
    }

    #[test]
    fn the_body_contains_the_status_and_the_request_id() {
        let body: serde_json::Value =
            serde_json::from_str(&Problem::not_found().body("the-id")).unwrap();
        assert_eq!(body["status"], 404);
        assert_eq!(body["request_id"], "the-id");
        assert_eq!(body.get("errors"), None);
    }
}
