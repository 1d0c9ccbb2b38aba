//! The Lambda Runtime API, from which instances fetch work and to which they post their results.
//!
//! Each instance uses its own path prefix, `/rt/<function>/<instance>`, which tells the server who sent a request. The
//! id of an instance is random, so no other process can take its work.
//!
//! See "Using the Lambda runtime API" in the AWS Lambda Developer Guide.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{Delivery, InstanceId, Shared};
use crate::gateway::InvokeError;
use crate::loopback;

/// The maximum size of a function's result. The documented quota of AWS Lambda is 6 MB for a synchronous invocation. In
/// fact, Lambda accepts 6 MiB plus 100 bytes, as its error message states.
const MAX_RESULT_BYTES: usize = 6 * 1024 * 1024 + 100;

/// The size of a connection's buffer, which must be large enough for the whole head of a request.
const BUFFER: usize = 64 * 1024;

/// The part of a call's path that contains the version of the API.
const VERSION: &str = "/2018-06-01/runtime/";

/// The value of `AWS_LAMBDA_RUNTIME_API`: the address at which the instance polls for work. It is a full URL, because
/// Rust's runtime accepts an address with a path only in that form.
pub(super) fn address(api: SocketAddr, function: &str, instance: &InstanceId) -> String {
    format!("http://{api}/rt/{function}/{instance}")
}

/// Serves the API until this future is dropped.
pub(super) async fn serve(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    loopback::serve(listener, BUFFER, move |request, _| {
        let shared = Arc::clone(&shared);
        async move { answer(request, port, &shared).await }
    })
    .await;
}

/// A request from an instance.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    /// The instance waits for work.
    Next,
    /// An invocation succeeded. The body is its result.
    Response(&'a str),
    /// An invocation failed.
    Error(&'a str),
    /// The instance cannot start.
    InitError,
}

/// Splits a request into function, instance and call.
fn parse<'a>(method: &Method, path: &'a str) -> Option<(&'a str, &'a str, Call<'a>)> {
    let (function, rest) = path.strip_prefix("/rt/")?.split_once('/')?;
    let at = rest.find('/')?;
    let (instance, call) = (&rest[..at], rest[at..].strip_prefix(VERSION)?);
    let invocation = || call.strip_prefix("invocation/")?.split_once('/');
    let call = match (method, call) {
        (&Method::GET, "invocation/next") => Call::Next,
        (&Method::POST, "init/error") => Call::InitError,
        (&Method::POST, _) => match invocation()? {
            (id, "response") => Call::Response(id),
            (id, "error") => Call::Error(id),
            _ => return None,
        },
        _ => return None,
    };
    Some((function, instance, call))
}

async fn answer(
    request: Request<Incoming>,
    port: u16,
    shared: &Arc<Shared>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if loopback::check(&parts, port).is_err() {
        return problem(StatusCode::FORBIDDEN, "Foreign", "the request comes from another site");
    }
    let Some((function, instance, call)) = parse(&parts.method, parts.uri.path()) else {
        return problem(StatusCode::NOT_FOUND, "NotFound", "there is no such call");
    };
    if call == Call::Next {
        return match shared.next(function, instance).await {
            Some(delivery) => delivered(delivery, function),
            None => problem(StatusCode::GONE, "Retired", "there is no such instance"),
        };
    }
    let Ok(body) = Limited::new(body, MAX_RESULT_BYTES).collect().await else {
        let text = format!("Exceeded maximum allowed payload size ({MAX_RESULT_BYTES} bytes).");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &text);
    };
    let body = body.to_bytes();
    let known = match call {
        Call::Next => false,
        Call::InitError => shared.cannot_start(function, instance),
        Call::Response(id) => shared.finish(function, instance, id, Ok(body)),
        Call::Error(id) => shared.finish(function, instance, id, Err(InvokeError::Failed(body))),
    };
    if known {
        let mut accepted = Response::new(Full::new(Bytes::from_static(br#"{"status":"OK"}"#)));
        *accepted.status_mut() = StatusCode::ACCEPTED;
        accepted
    } else {
        problem(
            StatusCode::FORBIDDEN,
            "InvalidRequestID",
            "this instance is not processing that invocation",
        )
    }
}

fn delivered(delivery: Delivery, function: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(delivery.event));
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
    for (name, value) in [
        ("lambda-runtime-aws-request-id", delivery.id),
        ("lambda-runtime-deadline-ms", delivery.deadline.as_millisecond().to_string()),
        ("lambda-runtime-invoked-function-arn", arn),
        ("content-type", "application/json".to_owned()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn problem(status: StatusCode, kind: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"errorType": kind, "errorMessage": message}).to_string();
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_parsed_with_function_and_instance() {
        let at = |path| format!("/rt/login/i-1/2018-06-01/runtime/{path}");
        for (method, path, call) in [
            (Method::GET, at("invocation/next"), Some(Call::Next)),
            (Method::POST, at("invocation/7/response"), Some(Call::Response("7"))),
            (Method::POST, at("invocation/7/error"), Some(Call::Error("7"))),
            (Method::POST, at("init/error"), Some(Call::InitError)),
            (Method::POST, at("invocation/next"), None),
            (Method::GET, at("invocation/7/response"), None),
            (Method::POST, at("invocation/7/else"), None),
            (Method::GET, "/2018-06-01/runtime/invocation/next".to_owned(), None),
            (Method::GET, "/rt/login/2018-06-01/runtime/invocation/next".to_owned(), None),
        ] {
            let expected = call.map(|call| ("login", "i-1", call));
            assert_eq!(parse(&method, &path), expected, "{method} {path}");
        }
    }
}
