//! The gateway over real connections, in front of functions that do as they are told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auth::{SystemClock, SystemRandom};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use xtask::gateway::{Gateway, InvokeError, Invoker, MAX_BODY_BYTES, MAX_HEADER_BYTES, Routes};
use xtask::template::Template;

const TEMPLATE: &str = "
Resources:
  EchoFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/echo
      Events:
        Get: { Type: HttpApi, Properties: { Method: GET, Path: '/echo/{id}' } }
        Post: { Type: HttpApi, Properties: { Method: POST, Path: /echo } }
  FailsFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/fails
      Events: { Get: { Type: HttpApi, Properties: { Method: GET, Path: /fails } } }
  NonsenseFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/nonsense
      Events: { Get: { Type: HttpApi, Properties: { Method: GET, Path: /nonsense } } }
  HangsFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/hangs
      Events: { Get: { Type: HttpApi, Properties: { Method: GET, Path: /hangs } } }
";

/// Does what the function's name says.
#[derive(Clone, Default)]
struct Functions {
    hanging: Arc<AtomicUsize>,
    most_hanging: Arc<AtomicUsize>,
}

/// One invocation that hangs, as long as somebody waits for it.
struct Hanging(Arc<AtomicUsize>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Invoker for Functions {
    async fn invoke(&self, function: &str, event: Bytes) -> Result<Bytes, InvokeError> {
        match function {
            "hangs" if !String::from_utf8_lossy(&event).contains("rawQueryString\":\"not") => {
                let hanging = self.hanging.fetch_add(1, Ordering::SeqCst) + 1;
                let _hanging = Hanging(Arc::clone(&self.hanging));
                self.most_hanging.fetch_max(hanging, Ordering::SeqCst);
                std::future::pending().await
            }
            "echo" | "hangs" => Ok(event),
            "nonsense" => Ok("{".into()),
            _ => Err(InvokeError::Failed),
        }
    }

    async fn pass(&self, request: Request<Bytes>) -> Result<Response<Bytes>, InvokeError> {
        let passed = format!("passed {} {:?}", request.uri(), request.body());
        Ok(Response::new(passed.into()))
    }
}

/// A gateway that serves as long as the test's runtime.
async fn gateway(functions: Functions) -> SocketAddr {
    let routes = Routes::of(&Template::parse(TEMPLATE).unwrap()).unwrap();
    let clock = Arc::new(SystemClock);
    let gateway = Gateway::new(routes, functions, clock, Arc::new(SystemRandom))
        .with_integration_timeout(Duration::from_millis(300));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Arc::new(gateway).serve(vec![listener]));
    address
}

/// What comes back for these bytes until the gateway closes the connection.
async fn send_from(ip: Ipv4Addr, address: SocketAddr, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(ip), 0).into()).unwrap();
    let (mut read, mut write) = socket.connect(address).await.unwrap().into_split();
    let bytes = bytes.to_vec();
    // The gateway may answer and close before it has read everything. Our end stays open: a client
    // that closes it is one that went away.
    let sending = tokio::spawn(async move {
        drop(write.write_all(&bytes).await);
        std::future::pending::<()>().await;
    });
    let mut answer = Vec::new();
    drop(read.read_to_end(&mut answer).await);
    sending.abort();
    String::from_utf8(answer).unwrap()
}

async fn send(address: SocketAddr, request: &str) -> String {
    send_from(Ipv4Addr::LOCALHOST, address, request.as_bytes()).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_function_gets_the_event_of_its_route() {
    let address = gateway(Functions::default()).await;
    let answer = send_from(
        Ipv4Addr::new(127, 0, 0, 2),
        address,
        b"GET /echo/a%20b?x=1&x=2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
          Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
    )
    .await;
    assert_eq!(status(&answer), "200");
    let event = body(&answer);
    assert_eq!(event["routeKey"], "GET /echo/{id}");
    assert_eq!(event["rawPath"], "/echo/a b");
    assert_eq!(event["pathParameters"], json!({"id": "a b"}));
    assert_eq!(event["queryStringParameters"], json!({"x": "1,2"}));
    assert_eq!(event["headers"]["authorization"], "Bearer a,Bearer b");
    assert_eq!(event["headers"].get("connection"), None);
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.2");
    let id = event["requestContext"]["requestId"].as_str().unwrap();
    assert!(answer.contains(&format!("apigw-requestid: {id}")), "{answer}");
}

#[tokio::test]
async fn answers_by_itself_where_no_function_can() {
    let address = gateway(Functions::default()).await;
    let too_large = MAX_BODY_BYTES + 1;
    let chunk = format!("{too_large:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(too_large));
    let header = |bytes: usize| format!("GET /echo/1 HTTP/1.1\r\nX: {}\r\n", "x".repeat(bytes));
    for (request, expected, message) in [
        ("GET /nothing HTTP/1.1\r\n".to_owned(), "404", "Not Found"),
        ("DELETE /echo/1 HTTP/1.1\r\n".to_owned(), "404", "Not Found"),
        ("HEAD /echo/1 HTTP/1.1\r\n".to_owned(), "404", ""),
        ("TRACE /echo/1 HTTP/1.1\r\n".to_owned(), "404", "Not Found"),
        ("OPTIONS * HTTP/1.1\r\n".to_owned(), "404", "Not Found"),
        ("GET /echo/1/ HTTP/1.1\r\n".to_owned(), "404", "Not Found"),
        ("GET /fails HTTP/1.1\r\n".to_owned(), "502", "Internal Server Error"),
        ("GET /nonsense HTTP/1.1\r\n".to_owned(), "502", "Internal Server Error"),
        ("GET /hangs HTTP/1.1\r\n".to_owned(), "504", "Endpoint request timed out"),
        (
            format!("POST /echo HTTP/1.1\r\nContent-Length: {too_large}\r\n"),
            "413",
            "Request Entity Too Large",
        ),
        (header(MAX_HEADER_BYTES), "431", "Request Header Fields Too Large"),
        (header(MAX_HEADER_BYTES - 200), "200", ""),
    ] {
        let answer = send(address, &format!("{request}Host: h\r\nConnection: close\r\n\r\n")).await;
        let line = &request[..request.find('\r').unwrap()];
        assert_eq!(status(&answer), expected, "{line}");
        if !message.is_empty() {
            assert_eq!(body(&answer), json!({"message": message}), "{line}");
        }
    }
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         {chunk}"
    );
    assert_eq!(status(&send(address, &request).await), "413", "chunked");
    for nonsense in ["GARBAGE\r\n\r\n", "GET /echo/1 HTTP/1.1\r\nHost : h\r\n\r\n", "\0\r\n\r\n"] {
        assert_eq!(status(&send(address, nonsense).await), "400", "{nonsense:?}");
    }
    let huge = format!("GET /echo/1 HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    assert_eq!(status(&send(address, &huge).await), "431", "huge");
}

#[tokio::test]
async fn passes_calls_of_the_lambda_api_on() {
    let address = gateway(Functions::default()).await;
    for (path, expected) in [
        ("/2015-03-31/functions/login/invocations", "200"),
        ("/2015-03-31/functions//invocations", "404"),
        ("/2015-03-31/functions/../invocations", "404"),
        ("/2015-03-31/functions/a/b/invocations", "404"),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        let answer = send(address, &request).await;
        assert_eq!(status(&answer), expected, "{path}");
        if expected == "200" {
            assert!(answer.ends_with(&format!(r#"passed {path} b"{{}}""#)), "{answer}");
        }
    }
}

#[tokio::test]
async fn functions_that_hang_fill_no_queue_and_give_their_places_back() {
    let functions = Functions::default();
    let address = gateway(functions.clone()).await;
    let request = "GET /hangs HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let requests: Vec<_> =
        (0..120).map(|_| tokio::spawn(async move { send(address, request).await })).collect();
    for request in requests {
        assert_eq!(status(&request.await.unwrap()), "504");
    }
    let answer = send(address, &request.replace("/hangs", "/hangs?not")).await;
    assert_eq!(status(&answer), "200");
    // The emulator stands still at 100 that wait.
    assert_eq!(functions.most_hanging.load(Ordering::SeqCst), 64);
}
