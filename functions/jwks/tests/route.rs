//! Tests `jwks` against an embedded DynamoDB, from the gateway's event to the answer.

use auth::PublicKeySet;
use jwks::JwksRoute;
use process::Env;
use testkit::{Stack, body, event, events_of, head, load, readable};
use web::{Service, World, answer};

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let route = Service::<JwksRoute>::open(&stack.env(), &World::system()).await.unwrap();
    for (name, event_json) in events_of("jwks") {
        let answer = answer(&route, event(event_json)).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn the_published_keys_have_no_private_parts() {
    let stack = Stack::start().await;
    let route = Service::<JwksRoute>::open(&stack.env(), &World::system()).await.unwrap();
    let published = body(&answer(&route, event(load("jwks"))).await);
    let set = PublicKeySet::from_json(&published.to_string()).unwrap();
    assert!(set.get(stack.forge().kid()).is_some());
    let members: Vec<_> = published["keys"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
}

/// The headers must be equal for errors too.
#[tokio::test]
async fn head_returns_the_same_headers_as_get() {
    let stack = Stack::start().await;
    for env in [stack.env(), stack.env_out_of_reach()] {
        let route = Service::<JwksRoute>::open(&env, &World::system()).await.unwrap();
        let get = answer(&route, event(load("jwks"))).await;
        let head = answer(&route, event(head(load("jwks")))).await;
        assert_eq!((head.status_code, &head.headers), (get.status_code, &get.headers));
        assert!(get.body.is_some() && head.body.is_none());
    }
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let stack = Stack::start().await;
    let route =
        Service::<JwksRoute>::open(&stack.env_out_of_reach(), &World::system()).await.unwrap();
    insta::assert_json_snapshot!(readable(&answer(&route, event(load("jwks"))).await));
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error = Service::<JwksRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
