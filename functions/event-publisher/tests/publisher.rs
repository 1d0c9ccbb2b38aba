//! Tests `event-publisher` against an embedded DynamoDB and a fake `EventBridge` that can be made to fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};

use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use event_publisher::EventPublisherFunction;
use events::{Kind, Occasion, Origin};
use identity::{Account, Role};
use lambda::{EventHandler, World, open_handler};
use process::{Clock, Env, Metric, SystemClock, SystemRandom};
use serde_json::{Value, json};
use store::Events;
use testkit::{NewUser, Stack};

thread_local! {
    /// The log of this thread. Each test runs on one thread.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the log of this thread.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Installs the log for all threads, as in the tests of `mailer`.
fn install_log() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| Log).init();
    });
}

/// How many events this thread has given up.
fn given_up() -> usize {
    let log = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["metric"] == Metric::EventsGivenUp.name()).count()
}

/// The fake `EventBridge`.
#[derive(Clone, Default)]
struct Bus(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    /// The entries of each request.
    requests: Vec<Vec<Value>>,
    /// The kinds of events that are refused.
    refused: Vec<&'static str>,
    /// Whether all requests fail.
    is_down: bool,
}

impl Bus {
    /// Starts the fake and returns it with its URL.
    async fn start() -> (Self, String) {
        let bus = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/", post(put_events)).with_state(bus.clone());
        tokio::spawn(async { axum::serve(listener, app).await });
        (bus, url)
    }

    fn change(&self, change: impl FnOnce(&mut Received)) {
        change(&mut self.0.lock().unwrap());
    }

    /// The entries that have been accepted since the last call, in order.
    fn take(&self) -> Vec<Value> {
        let mut received = self.0.lock().unwrap();
        let refused = received.refused.clone();
        let entries = std::mem::take(&mut received.requests).into_iter().flatten();
        entries.filter(|it| !refused.contains(&it["DetailType"].as_str().unwrap())).collect()
    }
}

/// Responds to `PutEvents` as Amazon `EventBridge` does.
async fn put_events(
    State(bus): State<Bus>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    assert_eq!(headers["x-amz-target"], "AWSEvents.PutEvents");
    let mut received = bus.0.lock().unwrap();
    if received.is_down {
        return (StatusCode::BAD_REQUEST, json!({"__type": "AccessDeniedException"}).to_string());
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let entries = body["Entries"].as_array().unwrap().clone();
    let results: Vec<_> = entries
        .iter()
        .map(|entry| {
            let is_refused = received.refused.contains(&entry["DetailType"].as_str().unwrap());
            if is_refused {
                json!({"ErrorCode": "InternalFailure"})
            } else {
                json!({"EventId": "1"})
            }
        })
        .collect();
    let failed = results.iter().filter(|result| result["ErrorCode"].is_string()).count();
    received.requests.push(entries);
    (StatusCode::OK, json!({"FailedEntryCount": failed, "Entries": results}).to_string())
}

async fn publisher(env: &Env) -> EventPublisherFunction {
    Box::pin(open_handler(env, &World::system())).await.unwrap()
}

struct Bench {
    stack: Stack,
    bus: Bus,
    publisher: EventPublisherFunction,
    account: Account,
}

impl Bench {
    /// Starts a stack with one account, whose event `registered` has not been delivered yet.
    async fn start() -> Self {
        install_log();
        let (bus, url) = Bus::start().await;
        let stack = Stack::start().await;
        let env =
            stack.env_with(&[("EVENT_BUS", "accounts"), ("AWS_ENDPOINT_URL_EVENTBRIDGE", &url)]);
        let publisher = publisher(&env).await;
        let user =
            NewUser { username: "owner", email: Some("o@example.com"), roles: &[Role::User] };
        let account = stack.user(user).await;
        Self { stack, bus, publisher, account }
    }

    async fn record(&self, kind: Kind) {
        let origin = Origin {
            network: Some("203.0.113.7".parse().unwrap()),
            user_agent: Some("curl/8".to_owned()),
        };
        let occasion = Occasion::new(SystemClock.now(), &SystemRandom, origin);
        let events = Events::new(&self.stack.users(), self.stack.client());
        let event = occasion.event(self.account.id, kind);
        events.record(self.account.id, &event, event.id).await.unwrap();
    }

    /// Delivers all records of the stream. Returns the number of records that Lambda must deliver again.
    async fn deliver(&self) -> usize {
        self.deliver_event(self.stack.stream_event("event-publisher")).await
    }

    async fn deliver_event(&self, event: Value) -> usize {
        let event = serde_json::from_value(event).unwrap();
        let answer = serde_json::to_value(self.publisher.handle(event).await.unwrap()).unwrap();
        let failures = answer["batchItemFailures"].as_array().unwrap();
        assert!(failures.iter().all(|failure| failure["itemIdentifier"].is_string()), "{answer}");
        failures.len()
    }
}

fn kinds(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["DetailType"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_new_event_is_sent_without_its_origin() {
    let bench = Bench::start().await;
    bench.record(Kind::Exported).await;
    assert_eq!(bench.deliver().await, 0);
    let entries = bench.bus.take();
    assert_eq!(kinds(&entries), ["registered", "exported"]);
    let detail: Value = serde_json::from_str(entries[1]["Detail"].as_str().unwrap()).unwrap();
    let members: Vec<_> = detail.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["at", "id", "kind", "user_id"]);
    assert_eq!(detail["kind"], "exported");
    assert_eq!(detail["user_id"], json!(bench.account.id));
    assert_eq!(entries[1]["Source"], "latchkey");
    assert_eq!(entries[1]["EventBusName"], "accounts");
}

#[tokio::test]
async fn only_refused_events_are_reported_as_failed() {
    let bench = Bench::start().await;
    bench.record(Kind::Exported).await;
    bench.record(Kind::PasswordReset).await;
    bench.bus.change(|bus| bus.refused = vec!["exported"]);
    assert_eq!(bench.deliver().await, 1);
    assert_eq!(kinds(&bench.bus.take()), ["registered", "password_reset"]);
    bench.bus.change(|bus| bus.is_down = true);
    assert_eq!(bench.deliver().await, 3);
    assert_eq!(given_up(), 0, "Lambda delivers these events again");
}

#[tokio::test]
async fn a_request_has_at_most_ten_events() {
    let bench = Bench::start().await;
    for _ in 0..24 {
        bench.record(Kind::Exported).await;
    }
    assert_eq!(bench.deliver().await, 0);
    let sizes: Vec<_> = bench.bus.0.lock().unwrap().requests.iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 5]);
}

#[tokio::test]
async fn an_event_that_no_longer_exists_is_not_sent() {
    let bench = Bench::start().await;
    let event = bench.stack.stream_event("event-publisher");
    for item in bench.stack.items().await {
        let key = ["pk", "sk"].map(|name| (name.to_owned(), item[name].clone()));
        let delete = bench.stack.client().delete_item().table_name("UsersTable");
        delete.set_key(Some(key.into_iter().collect())).send().await.unwrap();
    }
    assert_eq!(bench.deliver_event(event).await, 0);
    assert!(bench.bus.take().is_empty());
}

#[tokio::test]
async fn an_unreadable_record_does_not_hold_up_the_others() {
    let bench = Bench::start().await;
    let mut event = bench.stack.stream_event("event-publisher");
    event["Records"].as_array_mut().unwrap().insert(0, json!({"dynamodb": 1}));
    assert_eq!(bench.deliver_event(event).await, 0);
    assert_eq!(kinds(&bench.bus.take()), ["registered"]);
    assert_eq!(given_up(), 1);
}

/// During a deployment, a later version may record an event of a kind that this version does not know.
#[tokio::test]
async fn an_event_of_an_unknown_kind_does_not_hold_up_the_others() {
    let bench = Bench::start().await;
    bench.record(Kind::Exported).await;
    let items = bench.stack.items().await;
    let is_registered = |item: &&HashMap<String, AttributeValue>| {
        item.get("kind") == Some(&AttributeValue::S("registered".to_owned()))
    };
    let mut item = items.iter().find(is_registered).unwrap().clone();
    item.insert("kind".to_owned(), AttributeValue::S("from_a_later_version".to_owned()));
    let put = bench.stack.client().put_item().table_name("UsersTable");
    put.set_item(Some(item)).send().await.unwrap();
    assert_eq!(bench.deliver().await, 0);
    assert_eq!(kinds(&bench.bus.take()), ["exported"]);
    assert_eq!(given_up(), 1);
}

/// On the dev server, `EVENT_BUS` is a file.
#[tokio::test]
async fn events_are_appended_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let bench = Bench::start().await;
    let bus = format!("file:{}", file.display());
    let env = bench.stack.env_with(&[("EVENT_BUS", &bus)]);
    let bench = Bench { publisher: publisher(&env).await, ..bench };
    bench.record(Kind::Exported).await;
    assert_eq!(bench.deliver().await, 0);
    let lines = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["registered", "exported"]);
}
