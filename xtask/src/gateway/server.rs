//! The HTTP server of the gateway.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::{Clock, Random};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::event::decoded_path;
use super::{EventContext, InvokeError, Invoker, Matched, Routes, event, pages, reply};

/// The largest request body, in bytes: the payload quota of API Gateway, 10 MB.
pub const MAX_BODY_BYTES: usize = 10_000_000;

/// The largest request line and headers together, in bytes: a quota of HTTP APIs.
pub const MAX_HEADER_BYTES: usize = 10_240;

/// How long a function may take: the longest integration timeout of an HTTP API.
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to send headers, and again to send the body.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Invocations of one function under way at a time; more wait. The emulator's queue holds 100 and
/// stands still when it is full.
const IN_FLIGHT: usize = 64;

/// The gateway: routes in front of functions.
pub struct Gateway<I> {
    routes: Routes,
    invoker: I,
    slots: BTreeMap<String, Arc<Semaphore>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    integration_timeout: Duration,
}

impl<I: Invoker> Gateway<I> {
    /// A gateway that leads `routes` to functions behind `invoker`.
    #[must_use]
    pub fn new(routes: Routes, invoker: I, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let slots = routes
            .functions()
            .map(|name| (name.to_owned(), Arc::new(Semaphore::new(IN_FLIGHT))))
            .collect();
        let integration_timeout = INTEGRATION_TIMEOUT;
        Self { routes, invoker, slots, clock, random, integration_timeout }
    }

    /// The same gateway with less patience for functions than an HTTP API has.
    #[must_use]
    pub fn with_integration_timeout(self, integration_timeout: Duration) -> Self {
        Self { integration_timeout, ..self }
    }

    /// Serves `listeners` until this future is dropped. Connections that are open then go on until
    /// the runtime ends.
    pub async fn serve(self: Arc<Self>, listeners: Vec<TcpListener>) {
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(Arc::clone(&self).accept(listener));
        }
        while accepting.join_next().await.is_some() {}
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            // Accepting fails for want of file descriptors, or of a client that is gone again;
            // either passes.
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let gateway = Arc::clone(&self);
            let service = service_fn(move |request| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, Infallible>(gateway.answer(request, peer).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(CLIENT_TIMEOUT)
                // Room to read what is refused below by its size; hyper answers 431 beyond.
                .max_buf_size(16 * MAX_HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            // Errors here are the client's: it went away or spoke no HTTP, which hyper answers.
            tokio::spawn(async move { drop(connection.await) });
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let request_id = Uuid::from_bytes(self.random.bytes()).to_string();
        let mut response = match self.respond(request, peer, &request_id).await {
            Ok(response) => response,
            Err(refusal) => refusal.response(),
        };
        if let Ok(id) = HeaderValue::try_from(&request_id) {
            response.headers_mut().insert("apigw-requestid", id);
        }
        response.map(Full::new)
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        request_id: &str,
    ) -> Result<Response<Bytes>, Refusal> {
        let (parts, body) = request.into_parts();
        if header_bytes(&parts) > MAX_HEADER_BYTES {
            return Err(Refusal::Headers);
        }
        if is_invocation(&parts.method, parts.uri.path()) {
            let body = collect(body).await?;
            return Ok(self.invoker.pass(Request::from_parts(parts, body)).await?);
        }
        let path = decoded_path(parts.uri.path());
        let Some(matched) = self.routes.find(&parts.method, &path) else {
            return pages::page(&parts.method, &path).ok_or(Refusal::NotFound);
        };
        let body = collect(body).await?;
        let context = EventContext { peer, time: self.clock.now(), request_id };
        let event = event(&parts, &body, &matched, context).to_string();
        let result = timeout(self.integration_timeout, self.invoke(&matched, event.into()))
            .await
            .map_err(|_| Refusal::Timeout)??;
        reply(&result).map_err(|_| Refusal::Function)
    }

    async fn invoke(&self, matched: &Matched, event: Bytes) -> Result<Bytes, Refusal> {
        let slots = self.slots.get(&matched.function).ok_or(Refusal::Function)?;
        let slot = Arc::clone(slots).acquire_owned().await.map_err(|_| Refusal::Function)?;
        let invoker = self.invoker.clone();
        let function = matched.function.clone();
        let patience = self.integration_timeout;
        // On its own, so that a client that goes away does not end it: Lambda does not, either.
        let invocation = tokio::spawn(async move {
            let result = timeout(patience, invoker.invoke(&function, event)).await;
            drop(slot);
            result
        });
        let result = invocation.await.map_err(|_| Refusal::Function)?;
        Ok(result.map_err(|_| Refusal::Timeout)??)
    }
}

impl<I> std::fmt::Debug for Gateway<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// An answer of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotFound,
    /// The body is larger than the quota.
    Body,
    /// Request line and headers are larger than the quota.
    Headers,
    /// The client did not send its body in time, or not as announced.
    Client,
    /// The function failed, or its result is no response.
    Function,
    Timeout,
}

impl From<InvokeError> for Refusal {
    fn from(_: InvokeError) -> Self {
        Self::Function
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
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out"),
        };
        let body = serde_json::json!({ "message": message }).to_string();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self, Self::Body | Self::Client) {
            // What is left of the body is not read.
            response
                .headers_mut()
                .insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The size of request line and headers as they came, but for the version.
fn header_bytes(parts: &Parts) -> usize {
    let line = parts.method.as_str().len() + parts.uri.to_string().len() + "  HTTP/1.1".len();
    let fields = |headers: &HeaderMap| -> usize {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": ".len()).sum()
    };
    line + fields(&parts.headers)
}

/// Whether this is a call of the Lambda API, as `cargo lambda invoke` makes it.
fn is_invocation(method: &Method, path: &str) -> bool {
    let name = path
        .strip_prefix("/2015-03-31/functions/")
        .and_then(|path| path.strip_suffix("/invocations"));
    method == Method::POST
        && name.is_some_and(|name| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

async fn collect<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Refusal::Body);
    }
    match timeout(CLIENT_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::Body),
        Ok(Err(_)) | Err(_) => Err(Refusal::Client),
    }
}
