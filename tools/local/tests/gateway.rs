//! The gateway over real connections, in front of functions that behave as their names say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use local::gateway::{
    Cors, Gateway, InvokeError, Invoker, MAX_BODY_BYTES, MAX_HEADER_BYTES, Routes, Site,
};
use process::{SystemClock, SystemRandom};
use serde_json::{Value, json};
use template::Template;
use template::project::Project;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

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
  BrokenFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/broken
      Events: { Get: { Type: HttpApi, Properties: { Method: GET, Path: /broken } } }
  CrashesFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/crashes
      Events: { Get: { Type: HttpApi, Properties: { Method: GET, Path: /crashes } } }
  AllowsFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/allows
      Events: { Get: { Type: HttpApi, Properties: { Method: GET, Path: /allows } } }
  Api:
    Type: AWS::Serverless::HttpApi
    Properties:
      CorsConfiguration: !If
        - HasCorsOrigins
        - AllowOrigins: !Split [',', !Ref CorsOrigins]
          AllowMethods: [GET, POST]
          AllowHeaders: [authorization, content-type]
          ExposeHeaders: [retry-after]
          MaxAge: 600
        - !Ref AWS::NoValue
";

/// Functions that behave as their names say.
#[derive(Clone)]
struct Functions;

impl Invoker for Functions {
    async fn invoke(&self, function: &str, event: Bytes) -> Result<Bytes, InvokeError> {
        match function {
            "hangs" => std::future::pending().await,
            "echo" => Ok(event),
            "nonsense" => Ok("{".into()),
            "fails" => Err(InvokeError::Failed(r#"{"errorType":"T"}"#.into())),
            "ends" => Err(InvokeError::Ended),
            "broken" => Err(InvokeError::DoesNotCompile),
            "crashes" => Err(InvokeError::DoesNotStart),
            "allows" => {
                let headers = json!({"access-control-allow-origin": "*", "vary": "accept"});
                Ok(json!({"statusCode": 200, "headers": headers}).to_string().into())
            }
            _ => Err(InvokeError::Unknown),
        }
    }
}

/// Starts a gateway that serves until the test's runtime ends.
async fn gateway() -> SocketAddr {
    gateway_with(&[]).await
}

/// Starts a gateway with CORS for these origins.
async fn gateway_with(origins: &[&str]) -> SocketAddr {
    let template = Template::parse(TEMPLATE).unwrap();
    let routes = Routes::of(&template).unwrap();
    let clock = Arc::new(SystemClock);
    let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    let document = Project::here().root().join("openapi.yaml");
    let site = Site::new(&template, &[], document).unwrap();
    let gateway = Gateway::new(routes, Functions, clock, Arc::new(SystemRandom))
        .with_cors(Cors::new(origins, template.cors))
        .with_site(site)
        .with_integration_timeout(Duration::from_millis(300));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Arc::new(gateway).serve(vec![listener]));
    address
}

/// Sends `bytes` from the address `ip`. Returns the response once the gateway has closed the connection.
async fn send_from(ip: Ipv4Addr, address: SocketAddr, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(ip), 0).into()).unwrap();
    let (mut read, mut write) = socket.connect(address).await.unwrap().into_split();
    // In a `Host` header, `h` stands for the address of the gateway.
    let bytes = match str::from_utf8(bytes) {
        Ok(text) => text.replace("Host: h\r\n", &format!("Host: {address}\r\n")).into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    // The gateway may answer and close the connection before it has read everything. Keep this end open, because
    // closing it would mean that the client has disconnected.
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
    let address = gateway().await;
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
async fn the_gateway_itself_answers_when_no_function_can() {
    let address = gateway().await;
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
async fn a_broken_function_is_reported_to_the_developer() {
    let address = gateway().await;
    for (path, expected, code, detail) in [
        ("/broken", "503", "does_not_compile", "does not compile"),
        ("/crashes", "502", "does_not_start", "does not start"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = send(address, &request).await;
        assert_eq!(status(&answer), expected);
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        let problem = body(&answer);
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&json!(code), &json!(expected.parse::<u16>().unwrap()))
        );
        let text = problem["detail"].as_str().unwrap();
        assert!(text.contains(detail) && text.contains("terminal"), "{text}");
    }
}

#[tokio::test]
async fn functions_can_be_invoked_through_the_lambda_api() {
    let address = gateway().await;
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        )
    };
    for (function, expected, answered) in [
        ("echo", "200", json!({})),
        ("fails", "500", json!({"errorType": "T"})),
        ("ends", "500", json!("Runtime.ExitError")),
        ("broken", "503", json!("DoesNotCompile")),
        ("unknown", "404", json!("ResourceNotFoundException")),
    ] {
        let answer =
            send(address, &post(&format!("/2015-03-31/functions/{function}/invocations"))).await;
        assert_eq!(status(&answer), expected, "{function}");
        let body = body(&answer);
        let kind = if answered.is_string() { &body["errorType"] } else { &body };
        assert_eq!(*kind, answered, "{function}");
    }
    for path in ["//invocations", "/../invocations", "/a/b/invocations", "/a%2Fb/invocations"] {
        let answer = send(address, &post(&format!("/2015-03-31/functions{path}"))).await;
        assert_eq!(status(&answer), "404", "{path}");
    }
}

/// Invoking a function directly needs no token, so a web page from another site must not be able to do it. The gateway
/// recognizes requests from such a page by headers that the browser sets and the page cannot change.
#[tokio::test]
async fn no_page_of_another_site_invokes_a_function() {
    let address = gateway_with(&["http://localhost:5173"]).await;
    let port = address.port();
    let invoke = |headers: &str| {
        format!(
            "POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\n{headers}\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        )
    };
    for (headers, expected) in [
        (format!("Host: 127.0.0.1:{port}"), "200"),
        (format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}"), "200"),
        (format!("Host: [::1]:{port}"), "200"),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example"), "403"),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: null"), "403"),
        // A page of this allowed origin may call the API, but not invoke a function directly.
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: http://localhost:5173"), "403"),
        (format!("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site"), "403"),
        (format!("Host: evil.example:{port}"), "403"),
        ("Host: evil.example".to_owned(), "403"),
        ("X-No: host".to_owned(), "403"),
    ] {
        assert_eq!(status(&send(address, &invoke(&headers)).await), expected, "{headers}");
    }
    // The routes of the API trust only tokens, so they accept any `Host`.
    let request = "GET /echo/1 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&send(address, request).await), "200");
}

#[tokio::test]
async fn the_overview_and_the_reference_are_served_to_this_machine_alone() {
    let address = gateway_with(&["http://localhost:5173"]).await;
    let port = address.port();
    let get = async |line: &str, headers: &str| {
        let request = format!("{line} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        let socket = TcpSocket::new_v4().unwrap();
        let (mut read, mut write) = socket.connect(address).await.unwrap().into_split();
        write.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        // Compressed files are not UTF-8.
        String::from_utf8_lossy(&answer).into_owned()
    };
    let own = format!("Host: localhost:{port}");
    let origin = format!("http://localhost:{port}");
    for (path, media) in [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/%64ocs", "text/html; charset=utf-8"),
        ("/docs/", "text/html; charset=utf-8"),
        ("/docs/index.css", "text/css; charset=utf-8"),
        ("/docs/reference.css", "text/css; charset=utf-8"),
        ("/docs/reference.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/docs/openapi.yaml", "application/yaml"),
    ] {
        let answer = get(&format!("GET {path}"), &own).await;
        assert_eq!(status(&answer), "200", "{path}");
        let policy = headers(&answer, "content-security-policy");
        assert!(policy[0].starts_with("default-src 'none'; script-src 'self';"), "{policy:?}");
        assert!(!policy[0].contains("unsafe"), "{policy:?}");
        for (name, value) in [
            ("content-type", media),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(headers(&answer, name), [value], "{path}: {name}");
        }
        for (headers, expected) in [
            (format!("{own}\r\nSec-Fetch-Site: none"), "200"),
            (format!("{own}\r\nSec-Fetch-Site: same-origin\r\nOrigin: {origin}"), "200"),
            (format!("{own}\r\nSec-Fetch-Site: cross-site"), "403"),
            (format!("{own}\r\nOrigin: http://localhost:5173"), "403"),
            (format!("Host: evil.example:{port}"), "403"),
            ("X-No: host".to_owned(), "403"),
        ] {
            let answer = get(&format!("GET {path}"), &headers).await;
            assert_eq!(status(&answer), expected, "{path}: {headers}");
        }
        for method in ["POST", "PUT", "DELETE", "TRACE"] {
            assert_eq!(status(&get(&format!("{method} {path}"), &own).await), "404", "{path}");
        }
    }
    for path in ["/docs/nothing", "/docs/../openapi.yaml", "/docs/index.html", "/docsify"] {
        assert_eq!(status(&get(&format!("GET {path}"), &own).await), "404", "{path}");
    }
    // A page of another site, such as the README on GitHub, may link to the two documents, but not embed them.
    let opened = |mode: &str, dest: &str| {
        format!("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}")
    };
    let click = opened("navigate", "document");
    for path in ["/", "/docs", "/docs/"] {
        let line = format!("GET {path}");
        for (headers, expected) in [
            (format!("{own}\r\n{click}"), "200"),
            (format!("{own}\r\n{}", opened("navigate", "iframe")), "403"),
            (format!("{own}\r\n{}", opened("no-cors", "document")), "403"),
            (format!("{own}\r\n{}", opened("cors", "empty")), "403"),
            (format!("{own}\r\n{click}\r\nOrigin: null"), "403"),
            (format!("Host: evil.example:{port}\r\n{click}"), "403"),
        ] {
            assert_eq!(status(&get(&line, &headers).await), expected, "{path}: {headers}");
        }
        let posted = get(&format!("POST {path}"), &format!("{own}\r\n{click}")).await;
        assert_eq!(status(&posted), "403", "{path}");
    }
    for path in ["/docs/openapi.yaml", "/docs/reference.js", "/docs/nothing"] {
        let answer = get(&format!("GET {path}"), &format!("{own}\r\n{click}")).await;
        assert_eq!(status(&answer), "403", "{path}");
    }
    // Another site must not learn which pages exist.
    let foreign = format!("Host: evil.example:{port}");
    assert_eq!(status(&get("GET /docs/nothing", &foreign).await), "403");
    let overview = get("GET /", &own).await;
    assert!(overview.contains("/echo/{id}") && overview.contains(r#"href="/docs""#), "{overview}");
    // The reference calls the host that the user has opened: another name would be another origin.
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let answer = get("GET /docs/openapi.yaml", &format!("Host: {host}:{port}")).await;
        let servers = format!("\nservers:\n  - url: http://{host}:{port}\n");
        assert!(answer.contains(&servers) && answer.contains("\nopenapi: 3.1"), "{host}");
    }
}

fn headers<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split_once("\r\n\r\n").unwrap().0;
    let named = head.lines().filter_map(|line| line.split_once(": "));
    named.filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn only_pages_of_allowed_origins_may_call_the_api() {
    const LISTED: &str = "http://localhost:5173";
    let address = gateway_with(&["https://app.example.com", LISTED]).await;
    let ask = async |line: &str, headers: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n");
        send(address, &request).await
    };
    let from = |origin: &str| format!("Origin: {origin}\r\n");
    let preflight = |origin: &str| {
        from(origin)
            + "Access-Control-Request-Method: POST\r\n\
               Access-Control-Request-Headers: content-type\r\n"
    };
    for path in ["/echo", "/nothing"] {
        let answer = ask(&format!("OPTIONS {path}"), &preflight(LISTED)).await;
        assert_eq!(status(&answer), "204", "{path}");
        for (name, value) in [
            ("access-control-allow-origin", LISTED),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "authorization,content-type"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(headers(&answer, name), [value], "{path}: {name}");
        }
        assert!(answer.ends_with("\r\n\r\n"), "no body");
    }
    for origin in ["http://evil.example", "http://localhost:5174", "null", "HTTP://LOCALHOST:5173"]
    {
        let answer = ask("OPTIONS /echo", &preflight(origin)).await;
        assert_eq!(status(&answer), "204", "{origin}");
        assert!(!answer.contains("access-control-"), "{origin}: {answer}");
        let answer = ask("GET /echo/1", &from(origin)).await;
        assert_eq!(status(&answer), "200", "{origin}");
        assert!(!answer.contains("access-control-allow"), "{origin}: {answer}");
    }
    // The gateway adds these headers even if no function answers, and replaces the ones that a function sets.
    for (line, expected) in [
        ("GET /echo/1", "200"),
        ("GET /nothing", "404"),
        ("GET /fails", "502"),
        ("GET /allows", "200"),
    ] {
        let answer = ask(line, &from(LISTED)).await;
        assert_eq!(status(&answer), expected, "{line}");
        assert_eq!(headers(&answer, "access-control-allow-origin"), [LISTED], "{line}");
        assert_eq!(headers(&answer, "access-control-expose-headers"), ["retry-after"], "{line}");
        assert!(headers(&answer, "vary").contains(&"origin"), "{line}");
    }
    assert!(headers(&ask("GET /allows", "").await, "access-control-allow-origin").is_empty());
}

#[tokio::test]
async fn without_allowed_origins_no_answer_has_cors_headers() {
    let address = gateway().await;
    let preflight = "OPTIONS /echo HTTP/1.1\r\nHost: h\r\nOrigin: http://localhost:5173\r\n\
                     Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n";
    let answer = send(address, preflight).await;
    assert_eq!(status(&answer), "404");
    assert!(!answer.contains("access-control-"), "{answer}");
    // The gateway does not change the headers that a function sets.
    let request = "GET /allows HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = send(address, request).await;
    assert_eq!(headers(&answer, "access-control-allow-origin"), ["*"]);
}
