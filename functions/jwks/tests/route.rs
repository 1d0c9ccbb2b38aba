//! `jwks` over an embedded DynamoDB, from the gateway's event to its answer.

use auth::PublicKeySet;
use jwks::JwksRoute;
use process::Env;
use testkit::{Stack, body, event, events_of, head, load, readable};
use web::{Route, answer};

#[tokio::test]
async fn its_events_are_answered() {
    let stack = Stack::start().await;
    let route = JwksRoute::cold_start(&stack.env()).await.unwrap();
    for (name, of_file) in events_of("jwks") {
        let answer = answer(&route, event(of_file)).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn the_keys_are_those_that_are_published_and_public_alone() {
    let stack = Stack::start().await;
    let route = JwksRoute::cold_start(&stack.env()).await.unwrap();
    let published = body(&answer(&route, event(load("jwks"))).await);
    let set = PublicKeySet::from_json(&published.to_string()).unwrap();
    assert!(set.get(stack.forge().kid()).is_some());
    let members: Vec<_> = published["keys"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
}

/// As for GET, without the body, whether it succeeds or not.
#[tokio::test]
async fn head_gets_the_headers_of_get() {
    let stack = Stack::start().await;
    for env in [stack.env(), stack.env_out_of_reach()] {
        let route = JwksRoute::cold_start(&env).await.unwrap();
        let get = answer(&route, event(load("jwks"))).await;
        let head = answer(&route, event(head(load("jwks")))).await;
        assert_eq!((head.status_code, &head.headers), (get.status_code, &get.headers));
        assert!(get.body.is_some() && head.body.is_none());
    }
}

#[tokio::test]
async fn without_a_database_it_answers_that_it_cannot() {
    let stack = Stack::start().await;
    let route = JwksRoute::cold_start(&stack.env_out_of_reach()).await.unwrap();
    insta::assert_json_snapshot!(readable(&answer(&route, event(load("jwks"))).await));
}

#[tokio::test]
async fn what_its_environment_lacks_is_told_at_once() {
    let error = JwksRoute::cold_start(&Env::default()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
