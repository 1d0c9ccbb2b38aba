//! Tests functions behind an edge (a proxy in front of the API, such as `CloudFront`): which requests they accept, and
//! to which network they attribute a request.

use identity::Role;
use process::Env;
use serde_json::{Value, json};
use testkit::{Forge, TestClock, bearer, event, from_network, header as with_header};
use web::{
    BootError, Client, EDGE_SECRET_HEADER, Edge, Endpoint, EventResponse, Json, Message, Problem,
    Public, Route, VIEWER_ADDRESS_HEADER, World, answer,
};

use crate::routes::{Bodiless, ByToken, Echo, Finding};
use crate::{outcome, post, public_service};

/// Two secrets and their digests, computed with `sha256sum`.
const SECRET: &str = "abc";
const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER_SECRET: &str = "";
const OTHER_DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The client's address and port, as the edge reports them.
const VIEWER: &str = "203.0.113.9:46532";

/// Answers with the network that a request comes from.
struct ShowNetwork;

impl Route for ShowNetwork {
    const NAME: &'static str = "show-network";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/network")];
    type Access = Public;
    type Settings = ();
    type Input = Client;
    type Output = Json<Message>;

    async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, (): (), client: Client) -> Result<Json<Message>, Problem> {
        let network = client.network.map(|network| network.to_string());
        Ok(Json(Message::new(network.unwrap_or_default())))
    }
}

fn edge(variables: &[(&str, &str)]) -> Result<Edge, String> {
    let env: Env = variables.iter().copied().collect();
    env.settings::<Edge>().map_err(|error| error.to_string())
}

fn trusted(digests: &str) -> Edge {
    edge(&[("TRUSTED_EDGE", "on"), ("EDGE_SECRET_SHA256", digests)]).unwrap()
}

/// A request through the edge.
fn through(secret: &str, viewer: &str) -> Value {
    let event = with_header(post(b"{}"), EDGE_SECRET_HEADER, secret);
    with_header(event, VIEWER_ADDRESS_HEADER, viewer)
}

async fn network_seen(edge: &Edge, request: Value) -> String {
    let response = answer(&public_service(ShowNetwork).behind(edge.clone()), event(request)).await;
    match response.status_code {
        200 => testkit::body(&response)["message"].as_str().unwrap().to_owned(),
        status => format!("{status} {}", outcome(&response).1),
    }
}

/// The outcome of a refused request.
const REFUSED: &str = "403 forbidden";

#[tokio::test]
async fn behind_an_edge_the_reported_network_is_used() {
    let edge = trusted(DIGEST);
    for (viewer, network) in [
        (VIEWER, "203.0.113.9"),
        ("198.51.100.1:1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::5]:443", "2001:db8:1:2::/64"),
    ] {
        assert_eq!(network_seen(&edge, through(SECRET, viewer)).await, network, "{viewer}");
    }
    let forwarded = with_header(through(SECRET, VIEWER), "x-forwarded-for", "192.0.2.1");
    assert_eq!(network_seen(&edge, from_network(forwarded, "192.0.2.2")).await, "203.0.113.9");
}

#[tokio::test]
async fn a_request_without_the_edge_secret_is_refused() {
    let edge = trusted(DIGEST);
    let without = with_header(post(b"{}"), VIEWER_ADDRESS_HEADER, VIEWER);
    assert_eq!(network_seen(&edge, without).await, REFUSED);
    for wrong in ["", "ab", "abcd", "ABC", " abc", "abc,abc", DIGEST] {
        assert_eq!(network_seen(&edge, through(wrong, VIEWER)).await, REFUSED, "{wrong}");
    }
}

#[tokio::test]
async fn a_request_without_exactly_one_viewer_address_is_refused() {
    let edge = trusted(DIGEST);
    let without = with_header(post(b"{}"), EDGE_SECRET_HEADER, SECRET);
    assert_eq!(network_seen(&edge, without).await, REFUSED);
    for viewer in [
        "",
        "unknown",
        "203.0.113.9",
        "2001:db8:1:2::5",
        "2001:db8:1:2:3:4:5:6",
        "203.0.113.9:1,198.51.100.1:1",
    ] {
        assert_eq!(network_seen(&edge, through(SECRET, viewer)).await, REFUSED, "{viewer}");
    }
}

/// The edge secret is derived from a pepper, so there are two secrets while peppers are rotated.
#[tokio::test]
async fn both_edge_secrets_are_accepted_while_a_pepper_is_rotated() {
    let both = trusted(&format!("{DIGEST},{OTHER_DIGEST}"));
    for secret in [SECRET, OTHER_SECRET] {
        assert_eq!(network_seen(&both, through(secret, VIEWER)).await, "203.0.113.9", "{secret}");
    }
    assert_eq!(network_seen(&trusted(OTHER_DIGEST), through(SECRET, VIEWER)).await, REFUSED);
}

#[tokio::test]
async fn a_request_that_bypasses_the_edge_is_refused_before_anything_else() {
    let edge = trusted(DIGEST);
    let refused =
        |response: EventResponse| assert_eq!(outcome(&response), (403, "forbidden".into()));
    // Without an edge, the answers would be a public document, an error for the body, and an error for the token.
    refused(answer(&public_service(Bodiless).behind(edge.clone()), event(post(b""))).await);
    refused(answer(&public_service(Echo).behind(edge.clone()), event(post(b"{"))).await);
    let (forge, clock) = (Forge::new(), TestClock::default());
    let route = ByToken::new(&forge, &clock, Finding::Nothing).behind(edge.clone());
    refused(answer(&route, event(post(b"{}"))).await);
    let claims = Forge::claims(process::Clock::now(&clock), &[Role::User].into_iter().collect());
    let token = forge.sign(&forge.header(), &claims);
    refused(answer(&route, event(bearer(post(b"{}"), &token))).await);
    let admitted = event(bearer(through(SECRET, VIEWER), &token));
    assert_eq!(answer(&route, admitted).await.status_code, 204);
}

#[tokio::test]
async fn a_refusal_does_not_mention_the_edge_and_has_no_challenge() {
    let response =
        answer(&public_service(Bodiless).behind(trusted(DIGEST)), event(post(b""))).await;
    assert!(!response.headers.contains_key("www-authenticate"));
    let body = testkit::body(&response).to_string();
    for word in ["edge", "secret", "CloudFront", "viewer"] {
        assert!(!body.contains(word), "{body}");
    }
}

#[tokio::test]
async fn without_an_edge_the_edge_headers_have_no_effect() {
    let spoofed = from_network(through(SECRET, VIEWER), "198.51.100.1");
    let spoofed = with_header(spoofed, "x-forwarded-for", "192.0.2.1");
    for off in [edge(&[]), edge(&[("TRUSTED_EDGE", "off")])] {
        assert_eq!(network_seen(&off.unwrap(), spoofed.clone()).await, "198.51.100.1");
    }
    let response = answer(&public_service(ShowNetwork), event(spoofed)).await;
    assert_eq!(testkit::body(&response), json!({"message": "198.51.100.1"}));
}

#[test]
fn a_function_behind_an_edge_does_not_start_without_valid_digests() {
    let secret = "hush";
    for (variables, named) in [
        (&[("TRUSTED_EDGE", "on")][..], "EDGE_SECRET_SHA256 is missing"),
        (&[("TRUSTED_EDGE", "on"), ("EDGE_SECRET_SHA256", "")], "EDGE_SECRET_SHA256 is missing"),
        (
            &[("TRUSTED_EDGE", "on"), ("EDGE_SECRET_SHA256", secret)],
            "EDGE_SECRET_SHA256 is invalid",
        ),
        (&[("TRUSTED_EDGE", "true")], "TRUSTED_EDGE is invalid"),
    ] {
        let error = edge(variables).unwrap_err();
        assert!(error.contains(named) && !error.contains(secret), "{error}");
    }
}
