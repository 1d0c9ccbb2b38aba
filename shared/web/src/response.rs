//! Outputs: the successful answers of a route, as types.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION,
};
use http::{HeaderMap, StatusCode};
use lambda_http::aws_lambda_events::encodings::Body;
use serde::Serialize;

use crate::Problem;

/// An answer without the headers that all answers have in common.
#[derive(Debug)]
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Body>,
}

impl Response {
    fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_string(value).expect("every answer serializes to JSON");
        Self { status, headers, body: Some(Body::Text(body)) }
    }

    /// Refuses header values that are not UTF-8, because the answer to the gateway is JSON.
    pub(crate) fn checked(self) -> Result<Self, Problem> {
        let mut values = self.headers.iter();
        match values.find(|(_, value)| str::from_utf8(value.as_bytes()).is_err()) {
            None => Ok(self),
            Some((name, _)) => {
                Err(Problem::internal().because(format!("the value of {name} is not UTF-8")))
            }
        }
    }
}

/// A successful answer of a route.
///
/// `(StatusCode, O)` is the output `O` with another status, and `(HeaderMap, O)` is `O` with additional headers.
pub trait Output: Send {
    /// Converts the output into an answer.
    fn into_response(self) -> Response;
}

/// 200 with a JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize + Send> Output for Json<T> {
    fn into_response(self) -> Response {
        Response::json(StatusCode::OK, &self.0)
    }
}

/// 201 with a JSON body.
#[derive(Debug)]
pub struct Created<T>(pub T);

impl<T: Serialize + Send> Output for Created<T> {
    fn into_response(self) -> Response {
        Response::json(StatusCode::CREATED, &self.0)
    }
}

/// 202 with a JSON body.
#[derive(Debug)]
pub struct Accepted<T>(pub T);

impl<T: Serialize + Send> Output for Accepted<T> {
    fn into_response(self) -> Response {
        Response::json(StatusCode::ACCEPTED, &self.0)
    }
}

/// 204 without a body.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl Output for NoContent {
    fn into_response(self) -> Response {
        Response { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: None }
    }
}

/// One of two answers, for a route with several endpoints.
#[derive(Clone, Copy, Debug)]
pub enum Either<A, B> {
    /// The first kind of answer.
    Left(A),
    /// The second kind of answer.
    Right(B),
}

impl<A: Output, B: Output> Output for Either<A, B> {
    fn into_response(self) -> Response {
        match self {
            Self::Left(answer) => answer.into_response(),
            Self::Right(answer) => answer.into_response(),
        }
    }
}

/// 200 with a JSON body that anyone may cache.
#[derive(Debug)]
pub struct Public<T> {
    /// The value that becomes the body.
    pub document: T,
    /// How long the answer may be cached, in seconds.
    pub max_age: u32,
}

impl<T: Serialize + Send> Output for Public<T> {
    fn into_response(self) -> Response {
        let mut response = Response::json(StatusCode::OK, &self.document);
        let control = format!("public, max-age={}", self.max_age);
        let control = HeaderValue::from_str(&control).expect("a number is a header value");
        response.headers.insert(CACHE_CONTROL, control);
        response
    }
}

/// The answer `O`, readable by scripts of any origin. Use it only for public data.
#[derive(Clone, Copy, Debug)]
pub struct AnyOrigin<O>(pub O);

impl<O: Output> Output for AnyOrigin<O> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }
}

impl<O: Output> Output for (StatusCode, O) {
    fn into_response(self) -> Response {
        Response { status: self.0, ..self.1.into_response() }
    }
}

impl<O: Output> Output for (HeaderMap, O) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        response.headers.extend(self.0);
        response
    }
}

/// 200 with a body of any content type.
#[derive(Debug)]
pub struct Content {
    content_type: &'static str,
    body: Body,
}

impl Content {
    /// A body of text: `Content::text("text/csv; charset=utf-8", rows)`.
    pub fn text(content_type: &'static str, body: impl Into<String>) -> Self {
        Self { content_type, body: Body::Text(body.into()) }
    }

    /// A body of bytes: `Content::bytes("image/png", image)`.
    pub fn bytes(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { content_type, body: Body::Binary(body.into()) }
    }
}

impl Output for Content {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        Response { status: StatusCode::OK, headers, body: Some(self.body) }
    }
}

/// A redirect. Do not take the location from the request: an attacker could send users anywhere.
#[derive(Clone, Debug)]
pub struct Redirect {
    status: StatusCode,
    location: HeaderValue,
}

impl Redirect {
    /// 303: the client fetches `location` with GET.
    ///
    /// # Errors
    /// When `location` contains a character that is not visible ASCII. The status is 500.
    pub fn see_other(location: &str) -> Result<Self, Problem> {
        Self::new(StatusCode::SEE_OTHER, location)
    }

    /// 307: the client repeats the request at `location`.
    ///
    /// # Errors
    /// When `location` contains a character that is not visible ASCII. The status is 500.
    pub fn temporary(location: &str) -> Result<Self, Problem> {
        Self::new(StatusCode::TEMPORARY_REDIRECT, location)
    }

    /// 308: like 307, but clients may remember the new location.
    ///
    /// # Errors
    /// When `location` contains a character that is not visible ASCII. The status is 500.
    pub fn permanent(location: &str) -> Result<Self, Problem> {
        Self::new(StatusCode::PERMANENT_REDIRECT, location)
    }

    fn new(status: StatusCode, location: &str) -> Result<Self, Problem> {
        // `from_str` would also accept spaces and non-ASCII bytes, which a URL never contains.
        let is_url = location.bytes().all(|byte| byte.is_ascii_graphic());
        let location = HeaderValue::from_str(location).ok().filter(|_| is_url);
        let location =
            location.ok_or_else(|| Problem::internal().because("the location is not a URL"))?;
        Ok(Self { status, location })
    }
}

impl Output for Redirect {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, self.location);
        Response { status: self.status, headers, body: None }
    }
}

/// The JSON object `{"message": …}`.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    message: String,
}

impl Message {
    /// Creates a message with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
