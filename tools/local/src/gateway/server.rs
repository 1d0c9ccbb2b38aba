//! The HTTP server of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use process::{Clock, Random};
use template::ui;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::event::decoded_path;
use super::{Cors, EventContext, InvokeError, Invoker, Matched, Routes, Site, event, reply};
use crate::loopback::{self, BodyError, Foreign};

/// The maximum size of a request body in bytes: API Gateway's payload quota of 10 MB.
pub const MAX_BODY_BYTES: usize = 10_000_000;

/// The maximum total size of the request line and headers in bytes: a quota of HTTP APIs.
pub const MAX_HEADER_BYTES: usize = 10_240;

/// How long a function may take: the longest integration timeout of an HTTP API.
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP server that sends each request to the function of its route.
pub struct Gateway<I> {
    routes: Routes,
    cors: Cors,
    site: Option<Site>,
    invoker: I,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    integration_timeout: Duration,
}

impl<I: Invoker> Gateway<I> {
    /// A gateway that invokes the functions of `routes` through `invoker`. It sends no CORS headers and has no pages
    /// of its own.
    #[must_use]
    pub fn new(routes: Routes, invoker: I, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let integration_timeout = INTEGRATION_TIMEOUT;
        let cors = Cors::default();
        Self { routes, cors, site: None, invoker, clock, random, integration_timeout }
    }

    /// The same gateway with CORS.
    #[must_use]
    pub fn with_cors(self, cors: Cors) -> Self {
        Self { cors, ..self }
    }

    /// The same gateway with an overview and the API reference. A route with the path of a page takes precedence.
    #[must_use]
    pub fn with_site(self, site: Site) -> Self {
        Self { site: Some(site), ..self }
    }

    /// The same gateway with another integration timeout, for tests.
    #[must_use]
    pub fn with_integration_timeout(self, integration_timeout: Duration) -> Self {
        Self { integration_timeout, ..self }
    }

    /// Serves `listeners` until this future is dropped. Open connections continue until the runtime ends.
    pub async fn serve(self: Arc<Self>, listeners: Vec<TcpListener>) {
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let port = listener.local_addr().map_or(0, |address| address.port());
            let gateway = Arc::clone(&self);
            // Larger than the quota, so that `respond` can refuse headers that exceed it. If they exceed even this
            // buffer, hyper answers 431.
            let buffer = 16 * MAX_HEADER_BYTES;
            accepting.spawn(loopback::serve(listener, buffer, move |request, peer| {
                let gateway = Arc::clone(&gateway);
                async move { gateway.answer(request, port, peer).await }
            }));
        }
        while accepting.join_next().await.is_some() {}
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        port: u16,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let request_id = Uuid::from_bytes(self.random.bytes()).to_string();
        let origin = self.cors.origin(request.headers());
        let mut response = match self.respond(request, port, peer, &request_id).await {
            Ok(response) => response,
            Err(refusal) => refusal.response(),
        };
        self.cors.finish(response.headers_mut(), origin);
        if let Ok(id) = HeaderValue::try_from(&request_id) {
            response.headers_mut().insert("apigw-requestid", id);
        }
        response.map(Full::new)
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        port: u16,
        peer: SocketAddr,
        request_id: &str,
    ) -> Result<Response<Bytes>, Refusal> {
        let (parts, body) = request.into_parts();
        if header_bytes(&parts) > MAX_HEADER_BYTES {
            return Err(Refusal::Headers);
        }
        if let Some(function) = invoked(&parts.method, parts.uri.path()) {
            // A web page from another site must not invoke a function directly. On AWS, it cannot, because Lambda
            // requires signed requests. The API's routes need no such check, because they trust only tokens.
            loopback::check(&parts, port)?;
            let body = loopback::collect(body, MAX_BODY_BYTES).await?;
            return Ok(invocation(self.invoker.invoke(function, body).await));
        }
        if let Some(advice) = self.cors.advice(&parts) {
            ui::note(advice);
        }
        if let Some(response) = self.cors.preflight(&parts) {
            return Ok(response);
        }
        let path = decoded_path(parts.uri.path());
        let Some(matched) = self.routes.find(&parts.method, &path) else {
            if let Some(site) = self.site.as_ref().filter(|_| Site::contains(&path)) {
                if Site::is_document(&path) {
                    loopback::check_unless_opened(&parts, port)?;
                } else {
                    loopback::check(&parts, port)?;
                }
                return site.page(&parts, &path).await.ok_or(Refusal::NotFound);
            }
            return Err(Refusal::NotFound);
        };
        let body = loopback::collect(body, MAX_BODY_BYTES).await?;
        let context = EventContext { peer, time: self.clock.now(), request_id };
        let event = event(&parts, &body, &matched, context).to_string();
        let result = self.invoke(&matched, event.into()).await?;
        reply(&result).map_err(|_| Refusal::Function)
    }

    async fn invoke(&self, matched: &Matched, event: Bytes) -> Result<Bytes, Refusal> {
        let invoker = self.invoker.clone();
        let function = matched.function.clone();
        let limit = self.integration_timeout;
        // Use a separate task, so that the invocation continues if the client disconnects, as on Lambda.
        let invocation =
            tokio::spawn(async move { timeout(limit, invoker.invoke(&function, event)).await });
        let result = invocation.await.map_err(|_| Refusal::Function)?;
        Ok(result.map_err(|_| Refusal::Timeout)??)
    }
}

impl<I> std::fmt::Debug for Gateway<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// An error response of the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotFound,
    /// The body is larger than the quota.
    Body,
    /// The request line and headers are larger than the quota.
    Headers,
    /// The client sent the body too slowly, or with a different length than it announced.
    Client,
    /// The function failed, or its result is not a response.
    Function,
    /// The function does not start.
    Start,
    /// The function's source does not compile.
    Compile,
    /// The request is for another host, or a page from another site sent it.
    Foreign,
    Timeout,
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::DoesNotCompile => Self::Compile,
            InvokeError::DoesNotStart => Self::Start,
            InvokeError::Unknown
            | InvokeError::Failed(_)
            | InvokeError::Ended
            | InvokeError::TimedOut => Self::Function,
        }
    }
}

impl From<Foreign> for Refusal {
    fn from(_: Foreign) -> Self {
        Self::Foreign
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::Body,
            BodyError::Unsent => Self::Client,
        }
    }
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        let (status, message) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::Body => (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            Self::Headers => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large")
            }
            Self::Client => (StatusCode::BAD_REQUEST, "Bad Request"),
            Self::Function => (StatusCode::BAD_GATEWAY, "Internal Server Error"),
            Self::Foreign => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::Start => {
                let detail = "The function does not start. See the dev server's terminal.";
                return problem(StatusCode::BAD_GATEWAY, "does_not_start", detail);
            }
            Self::Compile => {
                let detail =
                    "The function's source does not compile. See the dev server's terminal.";
                return problem(StatusCode::SERVICE_UNAVAILABLE, "does_not_compile", detail);
            }
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out"),
        };
        let body = serde_json::json!({ "message": message }).to_string();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self, Self::Body | Self::Client) {
            // The rest of the body is still unread, so the connection cannot be reused.
            response
                .headers_mut()
                .insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The size of the request line and headers as received, without line endings.
fn header_bytes(parts: &Parts) -> usize {
    let line = parts.method.as_str().len() + parts.uri.to_string().len() + "  HTTP/1.1".len();
    let fields = |headers: &HeaderMap| -> usize {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": ".len()).sum()
    };
    line + fields(&parts.headers)
}

/// A problem that only the dev server returns, in the same format as the functions' problems.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response<Bytes> {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The name of the function that a request to the Lambda API invokes. `cargo lambda invoke` sends such requests.
fn invoked<'a>(method: &Method, path: &'a str) -> Option<&'a str> {
    let name = path.strip_prefix("/2015-03-31/functions/")?.strip_suffix("/invocations")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (method == Method::POST && !name.is_empty() && name.bytes().all(allowed)).then_some(name)
}

/// A response of the Lambda API, in the form that `cargo lambda invoke` reads.
fn invocation(result: Result<Bytes, InvokeError>) -> Response<Bytes> {
    let (status, body) = match result {
        Ok(result) => (StatusCode::OK, result),
        Err(InvokeError::Failed(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => {
            let (status, kind) = match error {
                InvokeError::Unknown => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
                InvokeError::DoesNotCompile => (StatusCode::SERVICE_UNAVAILABLE, "DoesNotCompile"),
                InvokeError::DoesNotStart => (StatusCode::BAD_GATEWAY, "DoesNotStart"),
                InvokeError::TimedOut => (StatusCode::INTERNAL_SERVER_ERROR, "Sandbox.Timedout"),
                InvokeError::Ended | InvokeError::Failed(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "Runtime.ExitError")
                }
            };
            let body = serde_json::json!({"errorType": kind, "errorMessage": error.to_string()});
            (status, body.to_string().into())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
