//! Tests how inputs are read from requests, and how outputs become answers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{body, event};
use web::{
    Body, BootError, Bytes, Client, Content, Endpoint, EventResponse, HeaderMap, HeaderValue,
    Headers, IfMatch, Input, Json, NoBody, NoContent, Output, Path, Problem, Public, Query,
    Redirect, Route, StatusCode, World, describe, header,
};

use crate::{base64, outcome, public_service};

/// A route whose handler is the function that it contains.
struct HandledBy<I, O>(fn(I) -> O);

impl<I: Input + 'static, O: Output + 'static> Route for HandledBy<I, O> {
    const NAME: &'static str = "handled-by";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/things/{id}")];
    type Access = Public;
    type Settings = ();
    type Input = I;
    type Output = O;

    async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
        Err(BootError::Start("tests create this route directly".to_owned()))
    }

    async fn handle(&self, (): (), input: I) -> Result<O, Problem> {
        Ok((self.0)(input))
    }
}

fn get(query: &str, headers: Value) -> Value {
    let mut event = testkit::load("me");
    event["rawQueryString"] = json!(query);
    event["headers"] = headers;
    event
}

async fn answer<I: Input + 'static, O: Output + 'static>(
    handle: fn(I) -> O,
    request: Value,
) -> EventResponse {
    public_service(HandledBy(handle)).answer(event(request)).await
}

/// The field and the code of each error.
fn errors(answer: &EventResponse) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let body = body(answer);
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect()
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    NewestFirst,
}

#[derive(Deserialize, Serialize)]
struct Filter {
    limit: u8,
    order: Option<Order>,
    #[serde(default)]
    tag: Vec<String>,
    exact: Option<bool>,
    id: Option<Id>,
}

#[derive(Deserialize, Serialize)]
struct Id(i64);

async fn filter(query: &str) -> EventResponse {
    let shown = |Query(filter): Query<Filter>| Json(filter);
    answer(shown, get(query, json!({}))).await
}

#[tokio::test]
async fn a_query_string_is_bound_to_a_type() {
    let bound = |limit, order, tags: &[&str], exact, id| json!({"limit": limit, "order": order, "tag": tags, "exact": exact, "id": id});
    let null = Value::Null;
    for (query, expected) in [
        ("limit=5", bound(5, &null, &[], &null, &null)),
        (
            "tag=b&limit=255&tag=a%20%26+%C3%B6&other=1&order=newest_first&exact=true&id=-1",
            bound(255, &json!("newest_first"), &["b", "a & ö"], &json!(true), &json!(-1)),
        ),
        ("limit=1&tag=", bound(1, &null, &[""], &null, &null)),
    ] {
        assert_eq!(body(&filter(query).await), expected, "{query}");
    }
}

#[tokio::test]
async fn every_parameter_that_is_missing_or_has_the_wrong_type_is_named() {
    let wrong = |name: &str| (name.to_owned(), "wrong_type".to_owned());
    let missing = |name: &str| (name.to_owned(), "missing".to_owned());
    for (query, expected) in [
        ("", vec![missing("limit")]),
        ("Limit=1", vec![missing("limit")]),
        ("limit=", vec![wrong("limit")]),
        ("limit=256", vec![wrong("limit")]),
        ("limit=1&limit=2", vec![wrong("limit")]),
        ("exact=yes&id=1.5", vec![wrong("exact"), wrong("id"), missing("limit")]),
        ("limit=1&order=random", vec![wrong("order")]),
    ] {
        let answer = filter(query).await;
        assert_eq!(outcome(&answer), (400, "invalid_request".to_owned()), "{query}");
        assert_eq!(errors(&answer), expected, "{query}");
    }
    let answer = body(&filter("exact=hush&limit=hush").await);
    let detail = "A parameter of the query string is missing or has the wrong type; see errors.";
    assert_eq!(answer["detail"], detail);
    assert_eq!(answer["errors"][0]["detail"], "The parameter has the wrong type.");
    assert!(!answer.to_string().contains("hush"), "{answer}");
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Signed {
    x_signature: String,
    x_attempt: Option<u8>,
}

#[tokio::test]
async fn headers_are_bound_to_a_type() {
    let shown = |Headers(signed): Headers<Signed>| Json((signed.x_signature, signed.x_attempt));
    let ask = async |headers| answer(shown, get("", headers)).await;
    let good = ask(json!({"X-Signature": "abc", "x-attempt": "3", "accept": "*/*"})).await;
    assert_eq!(body(&good), json!(["abc", 3]));
    let bad = ask(json!({"x-attempt": "hush"})).await;
    assert_eq!(outcome(&bad), (400, "invalid_request".to_owned()));
    let expected = [("x-attempt", "wrong_type"), ("x-signature", "missing")];
    assert_eq!(errors(&bad), expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
    assert!(!body(&bad).to_string().contains("hush"));
}

#[tokio::test]
async fn no_route_can_read_credentials_from_headers() {
    type All = std::collections::BTreeMap<String, String>;
    let shown = |Headers(all): Headers<All>| Json(all);
    let headers =
        json!({"Authorization": "Bearer hush", "X-Latchkey-Edge": "hush", "accept": "*/*"});
    assert_eq!(body(&answer(shown, get("", headers)).await), json!({"accept": "*/*"}));
}

#[tokio::test]
async fn long_parameter_names_are_truncated_in_errors() {
    type All = std::collections::BTreeMap<String, u8>;
    let shown = |Query(all): Query<All>| Json(all);
    let response = answer(shown, get(&format!("{}=a", "\u{f6}".repeat(1_000)), json!({}))).await;
    assert_eq!(errors(&response), [("\u{f6}".repeat(64), "wrong_type".to_owned())]);
}

#[tokio::test]
async fn a_number_must_be_finite() {
    #[derive(Deserialize)]
    struct Numbers {
        single: f32,
        double: f64,
    }
    let ask = async |single: &str, double: &str| {
        let shown = |Query(Numbers { single, double }): Query<Numbers>| Json((single, double));
        answer(shown, get(&format!("single={single}&double={double}"), json!({}))).await
    };
    assert_eq!(body(&ask("-0.5", "1e300").await), json!([-0.5, 1e300]));
    for text in ["NaN", "inf", "-infinity", "1e999"] {
        let wrong = |name: &str| (name.to_owned(), "wrong_type".to_owned());
        assert_eq!(errors(&ask(text, text).await), [wrong("double"), wrong("single")], "{text}");
    }
}

#[tokio::test]
async fn an_id_in_a_path_is_accepted_in_upper_and_lower_case() {
    #[derive(Deserialize)]
    struct UserPath {
        id: identity::UserId,
    }
    let ask = async |id: &str| {
        let mut request = get("", json!({}));
        request["pathParameters"] = json!({ "id": id });
        answer(|Path(UserPath { id }): Path<UserPath>| Json(id), request).await
    };
    let id = "0190a0f0-7c3a-7abc-8def-0123456789ab";
    for text in [id, &id.to_uppercase()] {
        assert_eq!(body(&ask(text).await), json!(id));
    }
    assert_eq!(ask(&id.replace('-', "")).await.status_code, 404);
}

#[derive(Deserialize)]
struct Thing {
    id: u8,
}

#[tokio::test]
async fn a_path_parameter_of_the_wrong_type_causes_a_404() {
    let ask = async |id: &str| {
        let mut request = get("", json!({}));
        request["pathParameters"] = json!({ "id": id });
        answer(|Path(Thing { id }): Path<Thing>| Json(id), request).await
    };
    assert_eq!(body(&ask("7").await), json!(7));
    for id in ["256", "a", "", "7 "] {
        assert_eq!(outcome(&ask(id).await), (404, "not_found".to_owned()), "{id}");
    }
    let mut without_gateway = get("", json!({}));
    without_gateway["rawPath"] = json!("/things/%37");
    let handle = |(Path(Thing { id }), _): (Path<Thing>, Client)| Json(id);
    assert_eq!(body(&answer(handle, without_gateway.clone()).await), json!(7));
    without_gateway["rawPath"] = json!("/things/%ff");
    assert_eq!(outcome(&answer(handle, without_gateway).await).0, 400);
}

#[tokio::test]
async fn a_raw_body_is_read_as_it_was_sent() {
    let sent = b"\xff\x00{";
    let response = answer(
        |(_, Bytes(body)): (NoBody, Bytes)| Content::bytes("application/octet-stream", body),
        base64(get("", json!({})), sent),
    )
    .await;
    assert_eq!(response.body.as_deref(), Some(&sent[..]));
    assert!(response.is_base64_encoded);
    let large = "a".repeat(web::MAX_BODY_BYTES + 1);
    let mut request = get("", json!({}));
    request["body"] = json!(large);
    assert_eq!(outcome(&answer(|Bytes(_)| NoContent, request).await).0, 413);
}

#[tokio::test]
async fn an_output_can_have_a_status_headers_and_a_content_type() {
    let response = answer(
        |_: NoBody| {
            let cached = HeaderMap::from_iter([(
                header::CACHE_CONTROL,
                HeaderValue::from_static("private, max-age=60"),
            )]);
            (StatusCode::PARTIAL_CONTENT, (cached, Content::text("text/csv; charset=utf-8", "a,b")))
        },
        get("", json!({})),
    )
    .await;
    assert_eq!(response.status_code, 206);
    assert_eq!(crate::header(&response, "content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(crate::header(&response, "cache-control"), Some("private, max-age=60"));
    assert_eq!(crate::header(&response, "x-content-type-options"), Some("nosniff"));
    assert_eq!(response.body.as_deref(), Some(&b"a,b"[..]));
    assert!(!response.is_base64_encoded);
}

#[tokio::test]
async fn repeated_headers_are_joined_except_cookies() {
    let response = answer(
        |_: NoBody| {
            let headers = [
                (header::SET_COOKIE, "a=1; Secure"),
                (header::VARY, "origin"),
                (header::SET_COOKIE, "b=2; Secure"),
                (header::VARY, "accept"),
            ];
            let mut repeated = HeaderMap::new();
            for (name, value) in headers {
                repeated.append(name, HeaderValue::from_static(value));
            }
            (repeated, NoContent)
        },
        get("", json!({})),
    )
    .await;
    let sent = serde_json::to_value(response).unwrap();
    assert_eq!(sent["cookies"], json!(["a=1; Secure", "b=2; Secure"]));
    assert_eq!(sent["headers"]["vary"], "origin, accept");
    assert!(sent["headers"].get("set-cookie").is_none(), "{sent}");
}

#[tokio::test]
async fn an_output_with_a_header_that_is_not_utf_8_causes_a_500() {
    for name in [header::CONTENT_DISPOSITION, header::SET_COOKIE] {
        let service = public_service(HandledBy(|Headers(Named { x_name }): Headers<Named>| {
            let value = HeaderValue::from_bytes(b"a=\xff").unwrap();
            (
                HeaderMap::from_iter([(x_name.parse::<header::HeaderName>().unwrap(), value)]),
                NoContent,
            )
        }));
        let request = get("", json!({"x-name": name.as_str()}));
        let response = service.answer(event(request)).await;
        assert_eq!(outcome(&response), (500, "internal".to_owned()));
        assert!(serde_json::to_string(&response).is_ok());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Named {
    x_name: String,
}

#[tokio::test]
async fn a_redirect_has_a_location() {
    for (redirect, status) in [
        (Redirect::see_other as fn(&str) -> Result<Redirect, Problem>, 303),
        (Redirect::temporary, 307),
        (Redirect::permanent, 308),
    ] {
        let response = public_service(Redirects(redirect)).answer(event(get("", json!({})))).await;
        assert_eq!(response.status_code, status);
        assert_eq!(crate::header(&response, "location"), Some("https://example.com/a?b=c"));
        assert!(response.body.is_none());
        for location in ["/a\r\nset-cookie: b", "/ö", "/a b"] {
            assert_eq!(redirect(location).unwrap_err().code(), "internal");
        }
    }
}

struct Redirects(fn(&str) -> Result<Redirect, Problem>);

impl Route for Redirects {
    const NAME: &'static str = "redirects";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/old")];
    type Access = Public;
    type Settings = ();
    type Input = NoBody;
    type Output = Redirect;

    async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
        Ok(Self(Redirect::see_other))
    }

    async fn handle(&self, (): (), _: NoBody) -> Result<Redirect, Problem> {
        (self.0)("https://example.com/a?b=c")
    }
}

#[test]
fn a_route_describes_the_values_that_it_reads() {
    #[derive(Deserialize)]
    struct Signature {
        #[serde(rename = "x-signature")]
        _signature: String,
    }
    type Read = (Query<Filter>, Path<Thing>, Headers<Signature>, (IfMatch, Body<Filter>));
    let filter = json!({"limit": true, "order": false, "tag": false, "exact": false, "id": false});
    assert_eq!(
        json!(describe::<HandledBy<Read, NoContent>>().endpoints),
        json!([{"method": "GET", "path": "/things/{id}", "inputs": {
            "query": filter,
            "path": {"id": true},
            "headers": {"if-match": false, "x-signature": true},
            "body": filter,
        }}])
    );
}
