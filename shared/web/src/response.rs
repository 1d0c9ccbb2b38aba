//! What a route answers when all is well.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

/// An answer on its way out.
#[derive(Debug)]
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<String>,
}

impl Response {
    fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_string(value).expect("every answer serializes to JSON");
        Self { status, headers, body: Some(body) }
    }
}

/// Something that a route answers.
pub trait Output: Send {
    /// The answer.
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

/// 204.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl Output for NoContent {
    fn into_response(self) -> Response {
        Response { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: None }
    }
}

/// One of two answers, of a route of several endpoints.
#[derive(Clone, Copy, Debug)]
pub enum Either<A, B> {
    /// The one.
    Left(A),
    /// The other.
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

/// 200 with a JSON body that anyone may keep for a while.
#[derive(Debug)]
pub struct Public<T> {
    /// The body.
    pub document: T,
    /// For how long, in seconds.
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

/// The answer `O`, which scripts of any origin may read. Use it only for public data.
#[derive(Clone, Copy, Debug)]
pub struct AnyOrigin<O>(pub O);

impl<O: Output> Output for AnyOrigin<O> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }
}

/// `{"message": …}`.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    message: String,
}

impl Message {
    /// A message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
