//! Sends malformed and hostile requests.

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::{Server, address, shared};
use crate::journeys::PASSWORD;

/// Sends raw bytes and returns the status.
async fn raw(server: &Server, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address(server)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // The server may refuse a request and close the connection before it has read everything.
    drop(stream.read_to_end(&mut answer).await);
    let line = String::from_utf8_lossy(&answer);
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_refused() {
    let server = shared();
    let valid = format!(r#"{{"username":"hostile","password":"{PASSWORD}"}}"#);
    let deep = "[".repeat(100_000);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "400 invalid_request"),
        ("not JSON", b"{".to_vec(), "400 invalid_request"),
        ("an array", format!("[{valid}]").into_bytes(), "400 invalid_request"),
        ("an array of the members", br#"["hostile","password"]"#.to_vec(), "400 invalid_request"),
        ("wrong types", br#"{"username":1,"password":[]}"#.to_vec(), "400 invalid_request"),
        ("1 MB", vec![b' '; 1_000_000], "413 too_large"),
        ("nested beyond the size limit", deep.into_bytes(), "413 too_large"),
        ("nested within the size limit", "[".repeat(16_000).into_bytes(), "400 invalid_request"),
        ("not UTF-8", b"{\"username\":\"\xff\xfe\"}".to_vec(), "400 invalid_request"),
        (
            "UTF-16",
            valid.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "400 invalid_request",
        ),
        (
            "a lone surrogate",
            br#"{"username":"a\ud800b","password":"x"}"#.to_vec(),
            "400 invalid_request",
        ),
        (
            "a duplicate member",
            valid.replacen('{', r#"{"username":"other","#, 1).into_bytes(),
            "400 invalid_request",
        ),
    ];
    for path in ["/auth/register", "/auth/login"] {
        for (name, body, expected) in &cases {
            let request = server.request(Method::POST, path);
            let request = request.header("content-type", "application/json").body(body.clone());
            assert_eq!(server.send(request).await.short(), *expected, "{path}: {name}");
        }
        for (content_type, expected) in [
            (None, "415 unsupported_media_type"),
            (Some("text/plain"), "415 unsupported_media_type"),
            (Some("application/x-www-form-urlencoded"), "415 unsupported_media_type"),
            (Some("application/json-patch+json"), "415 unsupported_media_type"),
            (Some("application/json; charset=utf-8"), "400 invalid_request"),
        ] {
            let mut request = server.request(Method::POST, path).body("{}");
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            assert_eq!(server.send(request).await.short(), expected, "{path}: {content_type:?}");
        }
        let request = server.request(Method::POST, path).header("content-type", "application/json");
        let gzip = request.header("content-encoding", "gzip").body(valid.clone());
        assert_eq!(server.send(gzip).await.short(), "415 unsupported_media_type", "{path}");
    }
    let body = serde_json::json!({"username": "hostile", "password": PASSWORD});
    let login = server.post("/auth/login", &body).await;
    assert_eq!(login.short(), "401 invalid_credentials", "a refused registration was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_answers_unknown_routes_with_404() {
    let server = shared();
    for (method, path) in [
        (Method::POST, "/"),
        (Method::GET, "/auth/login"),
        (Method::POST, "/auth/protected"),
        (Method::PUT, "/auth/register"),
        (Method::GET, "/auth/admin/"),
        (Method::GET, "//auth/admin"),
        (Method::GET, "/auth/Admin"),
        (Method::GET, "/auth/admin;x=1"),
        (Method::GET, "/auth/admin%2f"),
        (Method::GET, "/auth/./nothing"),
        (Method::HEAD, "/auth/protected"),
        (Method::OPTIONS, "/auth/login"),
        (Method::TRACE, "/auth/protected"),
    ] {
        let answer = server.send(server.request(method.clone(), path)).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
        if method != Method::HEAD {
            assert_eq!(answer.text, r#"{"message":"Not Found"}"#, "{method} {path}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrite_headers_do_not_bypass_authorization() {
    let server = shared();
    for name in ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-forwarded-prefix"]
    {
        let request =
            server.request(Method::GET, "/auth/admin").header(name, "/.well-known/jwks.json");
        assert_eq!(server.send(request).await.short(), "401 missing_token", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_never_break_the_server() {
    let server = shared();
    let host = address(server);
    for (line, headers, expected) in [
        ("GET /api/protected_route?a=b%zz&%00 HTTP/1.1", &b""[..], 401),
        ("GET /api/protected_route HTTP/1.1", b"x-a: \xc3\xa4\r\n", 401),
        ("GET /api/protected_route HTTP/1.1", b"x-a: \xff\r\n", 401),
        ("GET /api/protected_route HTTP/1.1", b"host: a b/c?d\r\n", 401),
        ("GET /api/protected_route?a b HTTP/1.1", b"", 400),
        ("NONSENSE", b"", 400),
    ] {
        let mut request = format!("{line}\r\nhost: {host}\r\nconnection: close\r\n").into_bytes();
        request.extend_from_slice(headers);
        request.extend_from_slice(b"\r\n");
        let status = raw(server, &request).await;
        assert_eq!(status, expected, "{}", String::from_utf8_lossy(&request));
    }
    assert_eq!(server.get("/api/protected_route", None).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_test_suite_never_breaks_a_function() {
    let server = shared();
    let suite = template::project::Project::here()
        .root()
        .join("shared/web/tests/JSONTestSuite/test_parsing");
    let mut files = 0;
    for file in std::fs::read_dir(suite).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let body = std::fs::read(&path).unwrap();
        for route in ["/auth/register", "/auth/login", "/auth/refresh"] {
            let request = server.request(Method::POST, route);
            let request = request.header("content-type", "application/json").body(body.clone());
            let answer = server.send(request).await;
            assert!((400..500).contains(&answer.status), "{route} {name}: {}", answer.text);
            if name.starts_with("n_") && body.len() <= 16 * 1024 {
                assert_eq!(answer.short(), "400 invalid_request", "{route} {name}");
            }
        }
        files += 1;
    }
    assert!(files > 300, "{files} files");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_reveal_nothing_about_the_implementation() {
    let server = shared();
    for (path, origin) in
        [("/auth/protected", None), ("/.well-known/jwks.json", Some("*")), ("/nothing", None)]
    {
        let answer = server.get(path, None).await;
        for name in ["server", "x-powered-by", "via"] {
            assert_eq!(answer.header(name), None, "{path}: {name}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), origin, "{path}");
    }
    let jwks = server.get("/.well-known/jwks.json", None).await;
    assert_eq!(jwks.header("cache-control"), Some("public, max-age=600"));
    assert_eq!(jwks.header("x-content-type-options"), Some("nosniff"));
    for key in jwks.json()["keys"].as_array().unwrap() {
        assert_eq!(key.get("d"), None);
    }
}
