//! Tests the log: one line of JSON per request, without secrets.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use identity::{Role, Roles};
use process::Clock;
use process::metrics::TARGET;
use serde_json::{Value, json};
use testkit::{Forge, TestClock, bearer, event, json_body};
use web::{EventResponse, answer};

use crate::routes::{ByToken, ByTokenAdmin, Echo, Finding, Moody};
use crate::{post, public_service};

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Collects lines per thread, because each test runs on one thread.
struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the log for all threads. `tracing` caches for each log statement whether any subscriber wants it, so a test
/// without a subscriber could disable statements for the other tests.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Writer)
            .init();
    });
}

/// The lines logged on this thread.
pub(crate) struct Lines;

impl Lines {
    pub(crate) fn start() -> Self {
        start();
        LINES.take();
        Self
    }

    #[expect(clippy::unused_self, reason = "`self` proves that the log has been started")]
    pub(crate) fn text(&self) -> String {
        LINES.with_borrow(|lines| String::from_utf8(lines.clone()).unwrap())
    }

    /// The only log line, not counting metrics.
    pub(crate) fn line(&self) -> Value {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut lines: Vec<_> = lines.filter(|line| line["target"] != TARGET).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines.remove(0)
    }

    /// The number of measurements of `metric`.
    pub(crate) fn measured(&self, metric: &str) -> usize {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["metric"] == metric).count()
    }
}

#[tokio::test]
async fn a_request_is_logged_in_one_line() {
    let lines = Lines::start();
    let _: EventResponse = answer(&public_service(Echo), event(post(b"{}"))).await;
    let line = lines.line();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "request");
    assert_eq!(line["route"], "echo");
    assert_eq!(line["status"], 200);
    assert_eq!(line["request_id"], "JKJaXmPLvHcESH01=");
    assert!(line["duration_ms"].as_f64().unwrap() >= 0.0);
    assert_eq!(line.get("user_id"), None);
    assert_eq!(line.get("code"), None);
}

#[tokio::test]
async fn the_log_identifies_a_caller_only_by_id() {
    for (body, status) in [("{}", 204), ("{", 400)] {
        let lines = Lines::start();
        let (forge, clock) = (Forge::new(), TestClock::default());
        let claims = Forge::claims(clock.now(), &Roles::from_iter([Role::User]));
        let token = forge.sign(&forge.header(), &claims);
        let route = ByToken::new(&forge, &clock, Finding::Nothing);
        answer(&route, event(bearer(post(body.as_bytes()), &token))).await;
        let line = lines.line();
        assert_eq!((&line["user_id"], &line["status"]), (&claims["sub"], &json!(status)));
        let text = lines.text();
        assert!(!text.contains("testuser"), "{text}");
        for part in token.split('.') {
            assert!(!text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn neither_valid_nor_invalid_secrets_are_logged() {
    let lines = Lines::start();
    let (forge, clock) = (Forge::new(), TestClock::default());
    let claims = Forge::claims(clock.now(), &Roles::from_iter([Role::User]));
    let route = ByTokenAdmin::new(&forge, &clock, Finding::Nothing);
    let bad = forge.bad_tokens(&claims, clock.now());
    let mut tokens: Vec<_> = bad.into_iter().map(|bad| bad.token).collect();
    tokens.retain(|token| !token.contains('\n'));
    tokens.push(forge.sign(&forge.header(), &claims));
    for token in &tokens {
        answer(&route, event(bearer(post(b"{}"), token))).await;
    }
    for body in [
        json!({"password": "hush-hush", "email": "hush@example.com", "token": "hush"}),
        json!(["hush"]),
        json!({"do": "fail", "password": "hush"}),
        json!({"do": "panic", "password": "hush"}),
    ] {
        answer(&public_service(Echo), event(json_body(post(b""), &body))).await;
        answer(&public_service(Moody), event(json_body(post(b""), &body))).await;
    }
    let text = lines.text();
    let requests = text.lines().filter(|line| !line.contains(TARGET)).count();
    assert_eq!(requests, tokens.len() + 8, "one line per request");
    assert!(!text.contains("hush"));
    for part in tokens.iter().flat_map(|token| token.split('.')).filter(|part| part.len() > 20) {
        assert!(!text.contains(part), "{part}");
    }
}

#[tokio::test]
async fn the_reason_is_logged_but_not_sent_to_the_client() {
    for (mood, level, code, reason) in [
        ("fail", "ERROR", "internal", "the internal cause"),
        ("panic", "ERROR", "internal", "a panic"),
        ("unavailable", "WARN", "unavailable", "an outage"),
    ] {
        let lines = Lines::start();
        let body = json!({"do": mood});
        let response = answer(&public_service(Moody), event(json_body(post(b""), &body))).await;
        let line = lines.line();
        assert_eq!((&line["level"], &line["code"]), (&json!(level), &json!(code)));
        assert_eq!((&line["reason"], &line["route"]), (&json!(reason), &json!("moody")));
        assert!(!testkit::body(&response).to_string().contains(reason));
    }
}
