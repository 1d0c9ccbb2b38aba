//! A DynamoDB client that meets the faults that an embedded database never has.

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


/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out and answered.
    None,
    /// A transaction that meets another one.
    Conflict,
    /// Throttled.
    Throttled,
    /// DynamoDB has an internal error.
    ServerError,
    /// It is refused: a right is missing.
    AccessDenied,
    /// It never arrives.
    Lost,
    /// It is carried out, and the answer never arrives.
    LostAnswer,
}

/// A script of faults, one per request; after its end all goes well. Clones share it.
#[derive(Clone)]
pub struct Faults(Arc<Script>);

struct Script {
    faults: Mutex<VecDeque<Fault>>,
    always: Option<Fault>,
    requests: AtomicUsize,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("requests", &self.requests()).finish_non_exhaustive()
    }
}

impl Faults {
    /// These faults, one per request.
    #[must_use]
    pub fn script(faults: &[Fault]) -> Self {
        Self(Arc::new(Script {
            faults: Mutex::new(faults.iter().copied().collect()),
            always: None,
            requests: AtomicUsize::new(0),
        }))
    }

    /// This fault, again and again.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self(Arc::new(Script {
            faults: Mutex::default(),
            always: Some(fault),
            requests: AtomicUsize::new(0),
        }))
    }

    /// How many requests there have been, attempts of the SDK counted one by one.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Replaces what is left of the script.
    pub fn then(&self, faults: &[Fault]) {
        let mut script = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *script = faults.iter().copied().collect();
    }

    fn next(&self) -> Fault {
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        let mut script = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.always.or_else(|| script.pop_front()).unwrap_or(Fault::None)
    }

    /// The HTTP client that meets them.
    pub(crate) fn http_client(&self) -> SharedHttpClient {
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
        match self.faults.next() {
            Fault::None => self.inner.call(request),
            Fault::Conflict => refuse(
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "Message":"Transaction cancelled","CancellationReasons":[{"Code":"None"},
                {"Code":"TransactionConflict","Message":"Transaction is ongoing for the item"}]}"#,
            ),
            Fault::Throttled => refuse(
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException",
                "message":"Rate exceeded"}"#,
            ),
            Fault::AccessDenied => refuse(
                r#"{"__type":"com.amazon.coral.service#AccessDeniedException",
                "Message":"not authorized to perform: dynamodb:GetItem"}"#,
            ),
            Fault::ServerError => HttpConnectorFuture::ready(Ok(response(
                500,
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}"#,
            ))),
            Fault::Lost => HttpConnectorFuture::ready(Err(lost())),
            Fault::LostAnswer => {
                let sent = self.inner.call(request);
                HttpConnectorFuture::new(async move {
                    sent.await?;
                    Err(lost())
                })
            }
        }
    }
}

fn lost() -> ConnectorError {
    ConnectorError::io("the connection was reset".into())
}

fn refuse(body: &'static str) -> HttpConnectorFuture {
    HttpConnectorFuture::ready(Ok(response(400, body)))
}

fn response(status: u16, body: &'static str) -> HttpResponse {
    let status = StatusCode::try_from(status).expect("a status");
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    response
}
