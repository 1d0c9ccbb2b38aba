//! Tests `discovery`, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use discovery::DiscoveryRoute;
use process::Env;
use testkit::{body, event, events_of, head, load, readable};
use web::{Service, World, answer};

async fn route(issuer: &str) -> Service<DiscoveryRoute> {
    Service::<DiscoveryRoute>::open(&Env::from_iter([("ISSUER", issuer)]), &World::system())
        .await
        .unwrap()
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let route = route("https://api.example.com").await;
    for (name, event_json) in events_of("discovery") {
        insta::assert_json_snapshot!(name, readable(&answer(&route, event(event_json)).await));
    }
}

/// Verifiers compare the issuer byte for byte.
#[tokio::test]
async fn the_issuer_is_returned_exactly_as_configured() {
    for issuer in ["https://api.example.com/", "http://127.0.0.1:9000"] {
        let document = body(&answer(&route(issuer).await, event(load("discovery"))).await);
        assert_eq!(document["issuer"], issuer);
        let keys = format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/'));
        assert_eq!(document["jwks_uri"], keys);
    }
}

#[tokio::test]
async fn head_returns_the_same_headers_as_get() {
    let route = route("https://api.example.com").await;
    for (name, event_json) in events_of("discovery") {
        let get = answer(&route, event(event_json.clone())).await;
        let head = answer(&route, event(head(event_json))).await;
        assert_eq!((head.status_code, &head.headers), (200, &get.headers), "{name}");
        assert!(get.body.is_some() && head.body.is_none(), "{name}");
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error =
        Service::<DiscoveryRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
