//! Tests that a request or event whose handler hangs or panics is answered, logged and counted, and that the function
//! survives.

use std::time::Duration;

use lambda::handle_within;
use process::Deadline;
use serde_json::{Value, json};
use testkit::{body, event, json_body};
use web::EventResponse;

use crate::log::Lines;
use crate::routes::{Mood, Moody, MoodyHandler};
use crate::{header, post, public_service};

/// The deadline of an invocation that Lambda will end soon.
fn deadline() -> Deadline {
    Deadline::within(Duration::from_millis(50))
}

/// Sends a request to a handler that behaves as `mood` says, and returns the answer.
async fn moody(mood: &str) -> EventResponse {
    let request = json_body(post(b""), &json!({"do": mood}));
    public_service(Moody).answer_within(deadline(), event(request)).await
}

#[tokio::test]
async fn a_request_whose_handler_hangs_is_answered_before_lambda_ends_the_invocation() {
    let lines = Lines::start();
    let answer = moody("hang").await;
    assert_eq!(answer.status_code, 503);
    assert_eq!(body(&answer)["code"], "unavailable");
    assert!(header(&answer, "retry-after").is_some());
    assert!(header(&answer, "x-request-id").is_some());
    let line = lines.line();
    assert_eq!((&line["level"], &line["status"]), (&json!("WARN"), &json!(503)));
    assert_eq!(line["reason"], "the invocation's deadline has passed");
    assert_eq!(lines.measured("DeadlinesPassed"), 1);
    assert_eq!(lines.measured("ServerErrors"), 1);
    // The next request is answered.
    assert_eq!(moody("nothing").await.status_code, 204);
    assert_eq!(lines.measured("DeadlinesPassed"), 1);
}

/// Runs an event handler. Returns its result, the whole log, and the log line of the event.
async fn run_handler(mood: Mood) -> (Result<&'static str, String>, Lines, Value) {
    let lines = Lines::start();
    let result = handle_within(deadline(), &MoodyHandler, mood, "the-id").await;
    let line = lines.line();
    (result.map_err(|error| error.to_string()), lines, line)
}

#[tokio::test]
async fn an_event_is_logged_in_one_line_and_a_failure_is_counted() {
    let (answer, lines, line) = run_handler(Mood::Good).await;
    assert_eq!(answer.as_deref(), Ok("done"));
    assert_eq!((&line["level"], &line["message"]), (&json!("INFO"), &json!("event")));
    assert_eq!(lines.measured("ServerErrors"), 0);
    for (mood, reason, passed) in [
        (Mood::Fail, "the internal cause", 0),
        (Mood::Panic, "a panic", 0),
        (Mood::Hang, "the invocation's deadline has passed", 1),
    ] {
        let (answer, lines, line) = run_handler(mood).await;
        assert_eq!(answer, Err(reason.to_owned()), "the invoker gets the error");
        assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!("event")));
        assert_eq!(
            (&line["route"], &line["request_id"]),
            (&json!("moody-handler"), &json!("the-id"))
        );
        assert_eq!(line["reason"], reason);
        assert_eq!(lines.measured("ServerErrors"), 1, "{reason}");
        assert_eq!(lines.measured("DeadlinesPassed"), passed, "{reason}");
        assert!(!lines.text().contains("hush"), "{}", lines.text());
    }
}
