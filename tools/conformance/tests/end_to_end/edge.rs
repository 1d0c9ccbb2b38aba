//! Tests requests through a trusted edge. The test sends the headers that `CloudFront` would add.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use template::Template;
use template::project::Project;

use super::server::Server;
use crate::journeys::{Answer, PASSWORD};

/// Sends a request as the edge would for a viewer at `address`.
async fn send_through_edge(
    server: &Server,
    secret: &str,
    address: &str,
    request: RequestBuilder,
) -> Answer {
    let viewer = format!("{address}:46532");
    let request = request.header("x-latchkey-edge", secret);
    server.send(request.header("cloudfront-viewer-address", viewer)).await
}

fn login(server: &Server, password: &str) -> RequestBuilder {
    let body = json!({"username": "target", "password": password}).to_string();
    let request = server.request(Method::POST, "/auth/login");
    request.header("content-type", "application/json").body(body)
}

/// The secret that `cargo xtask keys edge-secret` prints.
fn edge_secret(server: &Server) -> String {
    let output = server.operate(&["keys", "edge-secret"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_cannot_be_bypassed_and_viewers_are_throttled() {
    let waits = "THROTTLE_PAIR_BASE_SECONDS=600";
    let server = Server::start(&["--db", "memory", "--env", "TRUSTED_EDGE=on", "--env", waits]);
    let secret = edge_secret(&server);

    // Every route refuses a request with a missing or wrong secret, regardless of other headers.
    let wrong = secret.to_lowercase();
    let template = Template::read(&Project::here().template()).unwrap();
    for route in template.functions.iter().flat_map(|function| &function.routes) {
        let path = route.path.replace(['{', '}'], "");
        // An answer to HEAD has no body, and therefore no code.
        let forbidden = if route.method == Some(Method::HEAD) { "403" } else { "403 forbidden" };
        let request = || {
            let request = server.request(route.method.clone().unwrap(), &path);
            request.header("x-forwarded-for", "203.0.113.1")
        };
        let spoofed = request().header("cloudfront-viewer-address", "203.0.113.1:1");
        for answer in [
            server.send(request()).await,
            server.send(spoofed).await,
            send_through_edge(&server, &wrong, "203.0.113.1", request()).await,
        ] {
            assert_eq!(answer.short(), forbidden, "{}", route.key());
            assert!(!answer.headers.contains_key("www-authenticate"), "{}", route.key());
        }
        let answer = send_through_edge(&server, &secret, "203.0.113.1", request()).await;
        assert_ne!(answer.short(), forbidden, "{}", route.key());
    }

    // Throttling depends on the viewer's network, not on headers that the viewer sends.
    let body = json!({"username": "target", "password": PASSWORD}).to_string();
    let register = server.request(Method::POST, "/auth/register");
    let register = register.header("content-type", "application/json").body(body);
    assert_eq!(send_through_edge(&server, &secret, "203.0.113.2", register).await.status, 201);
    let mut answers = Vec::new();
    for n in 0..4 {
        // Each guess comes from a different address in the same network, with a different forged header.
        let guess =
            login(&server, "a wrong password").header("x-forwarded-for", format!("192.0.2.{n}"));
        let attacker = format!("2001:db8:1:2::{n}");
        answers.push(send_through_edge(&server, &secret, &attacker, guess).await.status);
    }
    assert_eq!(answers, [401, 401, 401, 429]);
    let same_network = "2001:db8:1:2:ffff::1";
    let attempt = send_through_edge(&server, &secret, same_network, login(&server, PASSWORD)).await;
    assert_eq!(attempt.status, 429);
    let attempt =
        send_through_edge(&server, &secret, "2001:db8:1:3::1", login(&server, PASSWORD)).await;
    assert_eq!(attempt.status, 200, "another network");
}
