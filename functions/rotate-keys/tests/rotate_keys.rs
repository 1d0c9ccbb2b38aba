//! Tests `rotate-keys` with a secret in a file and an embedded DynamoDB, from the event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keys::KeyState;
use lambda::{EventHandler, World, open_handler};
use process::{Clock, Env, SystemClock};
use rotate_keys::RotateKeys;
use serde_json::{Value, json};
use testkit::{Stack, load};

const STEPS: [&str; 4] =
    ["rotate-keys", "rotate-keys-set", "rotate-keys-test", "rotate-keys-finish"];

async fn handle(function: &RotateKeys, event: Value) -> Result<Value, String> {
    let answer = function.handle(serde_json::from_value(event).unwrap()).await;
    answer.map(|done| serde_json::to_value(done).unwrap()).map_err(|error| error.to_string())
}

/// Starts a stack without keys, like a newly deployed one.
async fn start_without_keys() -> Stack {
    let stack = Stack::start().await;
    std::fs::write(stack.signing_keys(), r#"{"keys":[]}"#).unwrap();
    let client = stack.client();
    let key = aws_sdk_dynamodb::types::AttributeValue::S("KEY_SET".to_owned());
    client.delete_item().table_name("KeysTable").key("pk", key).send().await.unwrap();
    stack
}

#[tokio::test]
async fn the_four_steps_create_the_first_keys() {
    let stack = start_without_keys().await;
    let function = open_handler::<RotateKeys>(&stack.env(), &World::system()).await.unwrap();
    for step in STEPS {
        // Secrets Manager may repeat any step.
        for _ in 0..2 {
            assert_eq!(handle(&function, load(step)).await, Ok(json!({})), "{step}");
        }
    }
    let record = stack.keys_table().record().await.unwrap();
    let states: Vec<_> = record.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Active, KeyState::Next]);
    assert!(record.published(SystemClock.now()).is_ok());
    let secret = std::fs::read_to_string(stack.signing_keys()).unwrap();
    let secret: Value = serde_json::from_str(&secret).unwrap();
    assert_eq!(secret["version"], load("rotate-keys")["ClientRequestToken"]);
    assert_eq!(secret["keys"][0]["kid"], record.keys[0].kid());
}

#[tokio::test]
async fn a_rotation_that_comes_too_early_names_the_earliest_time() {
    let stack = Stack::start().await;
    let function = open_handler::<RotateKeys>(&stack.env(), &World::system()).await.unwrap();
    let before = std::fs::read_to_string(stack.signing_keys()).unwrap();
    let error = handle(&function, load("rotate-keys")).await.unwrap_err();
    assert!(error.starts_with("the next key must not sign before 20"), "{error}");
    assert!(!error.contains('.'), "the time must be in whole seconds: {error}");
    assert_eq!(std::fs::read_to_string(stack.signing_keys()).unwrap(), before);
}

#[tokio::test]
async fn a_step_out_of_order_changes_nothing() {
    let stack = Stack::start().await;
    let function = open_handler::<RotateKeys>(&stack.env(), &World::system()).await.unwrap();
    let (secret, record) =
        (std::fs::read_to_string(stack.signing_keys()).unwrap(), stack.keys_table().record().await);
    for step in &STEPS[1..] {
        assert!(handle(&function, load(step)).await.is_err(), "{step}");
    }
    assert_eq!(std::fs::read_to_string(stack.signing_keys()).unwrap(), secret);
    assert_eq!(stack.keys_table().record().await.unwrap(), record.unwrap());
}

#[tokio::test]
async fn an_incomplete_event_or_an_unknown_step_is_refused() {
    for bad in [json!({}), json!({"ClientRequestToken": "a"}), json!({"Step": "createSecret"})] {
        assert!(serde_json::from_value::<<RotateKeys as EventHandler>::Event>(bad).is_err());
    }
    let mut event = load("rotate-keys");
    event["Step"] = json!("dropSecret");
    assert!(serde_json::from_value::<<RotateKeys as EventHandler>::Event>(event).is_err());
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let cold_start = async |env: Env| {
        open_handler::<RotateKeys>(&env, &World::system()).await.err().unwrap().to_string()
    };
    insta::assert_snapshot!("an empty environment", cold_start(Env::default()).await);
    let bad = [("SIGNING_ALGORITHM", "HS256"), ("JWKS_MAX_AGE_SECONDS", "0")];
    insta::assert_snapshot!("bad values", cold_start(Env::from_iter(bad)).await);
}
