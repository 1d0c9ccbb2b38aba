//! An HTTP client that injects faults, because neither the embedded database nor an emulator produces any.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

/// A fault to inject into a request to `DynamoDB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the request is carried out and answered.
    None,
    /// The transaction conflicts with another one.
    Conflict,
    /// The request is throttled.
    Throttled,
    /// `DynamoDB` reports an internal error.
    ServerError,
    /// The request is refused because a permission is missing.
    AccessDenied,
    /// `DynamoDB` answers with this status and error code.
    Code(u16, &'static str),
    /// The transaction is canceled, with one reason code for each of its items.
    Canceled(&'static [&'static str]),
    /// The request is accepted and never answered.
    Silence,
    /// The request is not carried out, but the response reports success, without content.
    Empty,
    /// The answer to a `BatchGetItem` contains no items, as if the table were throttled.
    Unprocessed,
    /// The request never arrives.
    Lost,
    /// The request is carried out, but the answer never arrives.
    LostAnswer,
    /// The request is carried out without its conditions, as if the code had forgotten them. A test uses this fault to
    /// prove that it would detect their absence.
    Unconditional,
}

impl Fault {
    /// All forms of transient error from `DynamoDB`: the same request can succeed later.
    pub const TRANSIENT: [Self; 24] = [
        Self::Code(400, "LimitExceededException"),
        Self::Code(400, "ProvisionedThroughputExceededException"),
        Self::Code(400, "ReplicatedWriteConflictException"),
        Self::Code(400, "RequestLimitExceeded"),
        Self::Code(400, "RequestThrottled"),
        Self::Code(400, "RequestThrottledException"),
        Self::Code(400, "Throttling"),
        Self::Code(400, "ThrottlingException"),
        Self::Code(400, "TooManyRequestsException"),
        Self::Code(400, "TransactionConflictException"),
        Self::Code(400, "TransactionInProgressException"),
        Self::Canceled(&["None", "TransactionConflict"]),
        Self::Canceled(&["ThrottlingError", "None"]),
        Self::Canceled(&["ProvisionedThroughputExceeded", "TransactionConflict"]),
        Self::Canceled(&["RequestLimitExceeded"]),
        Self::Code(500, "InternalServerError"),
        Self::Code(500, "InternalServerErrorException"),
        Self::Code(500, ""),
        Self::Code(503, "ServiceUnavailable"),
        Self::Code(503, "ServiceUnavailableException"),
        Self::Code(503, ""),
        Self::Lost,
        Self::LostAnswer,
        Self::Silence,
    ];

    /// Permanent errors: the same request would fail again.
    pub const PERMANENT: [Self; 12] = [
        Self::AccessDenied,
        Self::Code(400, "ResourceNotFoundException"),
        Self::Code(400, "ValidationException"),
        Self::Code(400, "UnrecognizedClientException"),
        Self::Code(400, "IdempotentParameterMismatchException"),
        Self::Code(400, "ConditionalCheckFailedException"),
        Self::Code(400, "ItemCollectionSizeLimitExceededException"),
        Self::Code(400, "SomethingNewException"),
        Self::Canceled(&["ConditionalCheckFailed", "None"]),
        // A failed condition is permanent, even if other reasons are transient.
        Self::Canceled(&["ConditionalCheckFailed", "TransactionConflict"]),
        Self::Canceled(&["TransactionConflict", "ValidationError"]),
        Self::Canceled(&["None", "None"]),
    ];
}

/// A script of faults, one for each request. Requests after the end of the script succeed. Clones share the script.
#[derive(Clone)]
pub struct Faults(Arc<Script>);

#[derive(Default)]
struct Script {
    faults: Mutex<VecDeque<Fault>>,
    always: Option<Fault>,
    requests: AtomicUsize,
    bodies: Mutex<Vec<Value>>,
    operations: Mutex<Vec<String>>,
    /// The number of requests that arrive before the process is killed.
    killed_after: Option<usize>,
    /// The number of requests in progress.
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// A number of requests, and the barrier that holds them until all of them have been sent.
    gate: Option<(usize, Barrier)>,
    hold: Option<Hold>,
}

/// A request that waits until it is released.
struct Hold {
    /// Its number, counted from 0.
    request: usize,
    reached: Notify,
    released: Notify,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("requests", &self.requests()).finish_non_exhaustive()
    }
}

impl Faults {
    fn new(script: Script) -> Self {
        Self(Arc::new(script))
    }

    /// A script of one fault per request.
    #[must_use]
    pub fn script(faults: &[Fault]) -> Self {
        Self::new(Script {
            faults: Mutex::new(faults.iter().copied().collect()),
            ..Script::default()
        })
    }

    /// Injects the same fault into every request.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self::new(Script { always: Some(fault), ..Script::default() })
    }

    /// Injects the same fault into every request, and runs the first `requests` requests concurrently: none of them is
    /// carried out before all have been sent.
    #[must_use]
    pub fn together(requests: usize, fault: Fault) -> Self {
        let gate = Some((requests, Barrier::new(requests)));
        Self::new(Script { always: Some(fault), gate, ..Script::default() })
    }

    /// Imitates a process that is killed right after request number `requests`, counted from 1: that request is carried
    /// out, its answer is lost, and no later request arrives.
    #[must_use]
    pub fn killed_after(requests: usize) -> Self {
        Self::new(Script { killed_after: Some(requests), ..Script::default() })
    }

    /// Holds request number `request`, counted from 0, until [`release`](Self::release) is called, and then carries it
    /// out. Injects no fault.
    #[must_use]
    pub fn held_at(request: usize) -> Self {
        let hold = Hold { request, reached: Notify::new(), released: Notify::new() };
        Self::new(Script { hold: Some(hold), ..Script::default() })
    }

    /// Waits until the request of [`held_at`](Self::held_at) is held. Call this once.
    ///
    /// # Panics
    /// When this value was not created by `held_at`.
    pub async fn held(&self) {
        self.0.hold.as_ref().expect("created by `held_at`").reached.notified().await;
    }

    /// Releases the request of [`held_at`](Self::held_at).
    ///
    /// # Panics
    /// When this value was not created by `held_at`.
    pub fn release(&self) {
        self.0.hold.as_ref().expect("created by `held_at`").released.notify_one();
    }

    /// The operation of each request, in order, such as `UpdateItem`.
    #[must_use]
    pub fn operations(&self) -> Vec<String> {
        self.0.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of requests, including the SDK's retries.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// The bodies of all requests, in order.
    #[must_use]
    pub fn bodies(&self) -> Vec<Value> {
        self.0.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The maximum number of concurrent requests.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.0.most_at_once.load(Ordering::SeqCst)
    }

    /// Replaces the rest of the script.
    pub fn then(&self, faults: &[Fault]) {
        let mut script = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *script = faults.iter().copied().collect();
    }

    /// The number of the next request, counted from 0, and its fault.
    fn next(&self) -> (usize, Fault) {
        let number = self.0.requests.fetch_add(1, Ordering::SeqCst);
        match self.0.killed_after {
            Some(last) if number + 1 == last => return (number, Fault::LostAnswer),
            Some(last) if number + 1 > last => return (number, Fault::Lost),
            _ => {}
        }
        let mut script = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        (number, self.0.always.or_else(|| script.pop_front()).unwrap_or(Fault::None))
    }

    /// An HTTP client that injects the faults.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        let faults = self.clone();
        let inner = Builder::new().build_http();
        http_client_fn(move |settings: &HttpConnectorSettings, components: &RuntimeComponents| {
            let inner = inner.http_connector(settings, components);
            SharedHttpConnector::new(Faulty { inner, faults: faults.clone() })
        })
    }
}

#[derive(Debug)]
struct Faulty {
    inner: SharedHttpConnector,
    faults: Faults,
}

impl HttpConnector for Faulty {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let script = Arc::clone(&self.faults.0);
        let (number, fault) = self.faults.next();
        script.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(body(&request));
        let operation = operation(&request);
        script.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
        let in_progress = InProgress::new(&script);
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            let _in_progress = in_progress;
            if let Some((requests, gate)) = &script.gate
                && number < *requests
            {
                gate.wait().await;
            }
            if let Some(hold) = &script.hold
                && number == hold.request
            {
                hold.reached.notify_one();
                hold.released.notified().await;
            }
            inject(fault, &inner, request).await
        })
    }
}

/// A request that is counted as in progress until this value is dropped, even if the request is abandoned.
struct InProgress(Arc<Script>);

impl InProgress {
    fn new(script: &Arc<Script>) -> Self {
        let now = script.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        script.most_at_once.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(script))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn inject(
    fault: Fault,
    inner: &SharedHttpConnector,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    match fault {
        Fault::None => inner.call(request).await,
        Fault::Unconditional => inner.call(unconditional(request)).await,
        Fault::Conflict => Ok(canceled(&["None", "TransactionConflict"])),
        Fault::Throttled => Ok(error(400, "ThrottlingException")),
        Fault::AccessDenied => Ok(error(400, "AccessDeniedException")),
        Fault::ServerError => Ok(error(500, "InternalServerError")),
        Fault::Code(status, code) => Ok(error(status, code)),
        Fault::Canceled(reasons) => Ok(canceled(reasons)),
        Fault::Silence => std::future::pending().await,
        Fault::Empty => Ok(response(200, &json!({}))),
        Fault::Unprocessed => {
            let keys = &body(&request)["RequestItems"];
            Ok(response(200, &json!({"Responses": {}, "UnprocessedKeys": keys})))
        }
        Fault::Lost => Err(lost()),
        Fault::LostAnswer => {
            inner.call(request).await?;
            Err(lost())
        }
    }
}

/// Removes the conditions of a request. Its signature becomes invalid, but the embedded database ignores signatures.
fn unconditional(mut request: HttpRequest) -> HttpRequest {
    let mut body = body(&request);
    remove_conditions(&mut body);
    let body = body.to_string();
    request.headers_mut().insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
    request
}

/// The last part of `X-Amz-Target`.
fn operation(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

fn body(request: &HttpRequest) -> Value {
    let body = request.body().bytes().expect("the SDK's requests are in memory");
    serde_json::from_slice(body).expect("the SDK's requests are JSON")
}

pub(crate) fn remove_conditions(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.remove("ConditionExpression").is_some() {
                remove_unused(members);
            }
            members.values_mut().for_each(remove_conditions);
        }
        Value::Array(elements) => {
            // A `ConditionCheck` consists only of a condition, so remove it as a whole.
            elements.retain(|element| element.get("ConditionCheck").is_none());
            elements.iter_mut().for_each(remove_conditions);
        }
        _ => {}
    }
}

/// Removes names and values that only the condition used, because DynamoDB refuses unused ones.
fn remove_unused(members: &mut serde_json::Map<String, Value>) {
    let used: Vec<String> = members
        .values()
        .filter_map(Value::as_str)
        .flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || "_#:".contains(c))))
        .map(str::to_owned)
        .collect();
    for kind in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
        if let Some(Value::Object(named)) = members.get_mut(kind) {
            named.retain(|name, _| used.contains(name));
            if named.is_empty() {
                members.remove(kind);
            }
        }
    }
}

fn lost() -> ConnectorError {
    ConnectorError::io("the connection was reset".into())
}

/// An error response. Without a code, it looks like a response from a proxy in front of `DynamoDB`.
fn error(status: u16, code: &str) -> HttpResponse {
    let body = if code.is_empty() {
        json!({})
    } else {
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "for a test"})
    };
    response(status, &body)
}

fn canceled(reasons: &[&str]) -> HttpResponse {
    let reasons: Vec<_> = reasons.iter().map(|code| json!({"Code": code})).collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled",
        "CancellationReasons": reasons,
    });
    response(400, &body)
}

fn response(status: u16, body: &Value) -> HttpResponse {
    let status = StatusCode::try_from(status).expect("a status");
    let mut response = HttpResponse::new(status, SdkBody::from(body.to_string()));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    response
}
