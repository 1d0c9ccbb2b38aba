//! How functions are invoked.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Invokes a function and waits for its result.
pub trait Invoker: Clone + Send + Sync + 'static {
    /// The result of `function` for `event`, both as JSON.
    fn invoke(
        &self,
        function: &str,
        event: Bytes,
    ) -> impl Future<Output = Result<Bytes, InvokeError>> + Send;

    /// A request to the Lambda API itself (`…/invocations`), handed on as it is.
    fn pass(
        &self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Bytes>, InvokeError>> + Send;
}

/// A function gave no result.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// It failed, or there is no such function.
    #[error("the function failed")]
    Failed,
    /// Nobody to invoke it could be reached.
    #[error("the Lambda emulator is out of reach: {0}")]
    Unreachable(String),
}

/// The Lambda API of `cargo lambda watch`.
#[derive(Clone, Debug)]
pub struct Emulator {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Emulator {
    /// The emulator that listens at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, InvokeError> {
        let request = request.map(Full::new);
        let unreachable = |error: &dyn std::error::Error| {
            // Its own words are "client error (Connect)": the reason is the source.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            InvokeError::Unreachable(reason)
        };
        self.client.request(request).await.map_err(|error| unreachable(&error))
    }
}

impl Invoker for Emulator {
    async fn invoke(&self, function: &str, event: Bytes) -> Result<Bytes, InvokeError> {
        let uri = format!("http://{}/2015-03-31/functions/{function}/invocations", self.address);
        let request = Request::post(uri)
            .body(event)
            .map_err(|error| InvokeError::Unreachable(error.to_string()))?;
        let response = self.send(request).await?;
        // The emulator says by 500 that a function failed, and by 404 that there is none.
        if response.status() != StatusCode::OK {
            return Err(InvokeError::Failed);
        }
        let body = response.into_body().collect().await;
        Ok(body.map_err(|error| InvokeError::Unreachable(error.to_string()))?.to_bytes())
    }

    async fn pass(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, InvokeError> {
        let unreachable = |error: String| InvokeError::Unreachable(error);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("http://{}{path}", self.address)
            .parse()
            .map_err(|error: http::uri::InvalidUri| unreachable(error.to_string()))?;
        // The client writes them anew for the body that it sends.
        request.headers_mut().remove(http::header::TRANSFER_ENCODING);
        request.headers_mut().remove(http::header::CONTENT_LENGTH);
        request.headers_mut().remove(http::header::HOST);
        let (mut parts, body) = self.send(request).await?.into_parts();
        let body = body.collect().await.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        parts.headers.remove(http::header::TRANSFER_ENCODING);
        parts.headers.remove(http::header::CONTENT_LENGTH);
        Ok(Response::from_parts(parts, body))
    }
}
