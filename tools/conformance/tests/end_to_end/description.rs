//! `openapi.yaml` describes what the functions read and answer: it has every member and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use develop::tools::{ToolSet, Tools};
use identity::Role;
use local::binaries;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use template::Template;
use template::project::Project;

use super::server::{MANY_INSTANCES, Server, shared};
use crate::journeys::document::{DOCUMENT, Document, Operation, is_of_gateway};
use crate::journeys::mails::{self, NEW_PASSWORD, last};
use crate::journeys::{Answer, PASSWORD, RunningApi, Tokens};

/// The names of the values that an operation reads from a part of a request according to the document, and whether each
/// value is required.
fn documented(document: &Document, operation: Operation<'_>, part: &str) -> BTreeMap<String, bool> {
    if part == "body" {
        let schema = &operation.value["requestBody"]["content"]["application/json"]["schema"];
        let members = document.members(schema);
        let names = members.schemas.into_keys();
        return names.map(|it| (it.to_owned(), members.required.contains(it))).collect();
    }
    let parameters = operation.value["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|parameter| document.resolve(parameter));
    let location = if part == "headers" { "header" } else { part };
    parameters
        .filter(|parameter| parameter["in"] == location)
        .map(|parameter| {
            let name = parameter["name"].as_str().unwrap();
            let name = if part == "headers" { name.to_lowercase() } else { name.to_owned() };
            (name, parameter["required"] == true)
        })
        .collect()
}

/// The differences between what the document describes and what the functions' binaries print with `--describe`.
async fn differences(document: &Document) -> Vec<String> {
    let mut differences = Vec::new();
    for function in Template::read(&Project::here().template()).unwrap().functions {
        let binary = shared().binaries().join(&function.name);
        for endpoint in binaries::describe(&binary).await.unwrap().endpoints {
            let method: Method = endpoint.method.parse().unwrap();
            let operation = document.operation(&method, &endpoint.path).unwrap();
            for part in ["body", "query", "path", "headers"] {
                let read = endpoint.inputs.get(part).cloned().unwrap_or_default();
                let documented = documented(document, operation, part);
                let names: BTreeSet<_> = read.keys().chain(documented.keys()).collect();
                for name in names {
                    let place = format!("{}: {part}: `{name}`", operation.key());
                    match (read.get(name), documented.get(name)) {
                        (Some(_), None) => differences.push(format!("{place} is not documented")),
                        (None, Some(_)) => differences.push(format!("{place} is never read")),
                        // One endpoint may require a header that is optional for another.
                        (read, documented) if part != "headers" && read != documented => {
                            differences.push(format!("{place} is required by only one side"));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    differences
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_every_member_that_a_route_reads_and_no_other() {
    let found = differences(&DOCUMENT).await;
    assert!(found.is_empty(), "openapi.yaml and the routes differ: {found:#?}");

    // A renamed member is reported.
    let text = DOCUMENT.root().to_string().replace("\"invite_code\"", "\"invitation\"");
    let renamed = Document::new(serde_json::from_str(&text).unwrap());
    assert_eq!(
        differences(&renamed).await,
        [
            "POST /auth/register: body: `invitation` is never read",
            "POST /auth/register: body: `invite_code` is not documented",
        ]
    );
}

#[test]
fn every_schema_is_valid_and_every_example_conforms_to_its_schema() {
    let mut examples = 0;
    let mut nodes = vec![("#".to_owned(), DOCUMENT.root())];
    while let Some((path, node)) = nodes.pop() {
        match node {
            Value::Object(object) => {
                if let Some(example) =
                    object.get("example").filter(|_| !path.ends_with("/properties"))
                {
                    // In a media type, header or parameter, the schema is a member. Otherwise, the node is a schema.
                    let mut schema = object.get("schema").unwrap_or(node).clone();
                    schema.as_object_mut().unwrap().remove("example");
                    assert!(jsonschema::meta::is_valid(&schema), "{path}");
                    let faults = DOCUMENT.faults(&schema, example);
                    assert!(faults.is_empty(), "the example of {path}: {faults:#?}");
                    examples += 1;
                }
                let children = object.iter().filter(|(name, _)| *name != "example");
                nodes.extend(children.map(|(name, child)| (format!("{path}/{name}"), child)));
            }
            Value::Array(elements) => {
                let children = elements.iter().enumerate();
                nodes.extend(children.map(|(n, child)| (format!("{path}/{n}"), child)));
            }
            _ => {}
        }
    }
    assert!(examples > 20, "{examples}");
    for (name, schema) in DOCUMENT.root()["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
    }
}

/// The strict check must notice a member whose name in an answer is not its name in the document.
#[test]
fn a_renamed_member_of_an_answer_is_reported() {
    let schema = json!({"$ref": "#/components/schemas/Registered"});
    let mut answer = DOCUMENT.resolve(&schema)["example"].clone();
    assert_eq!(DOCUMENT.faults(&schema, &answer), [""; 0]);
    let user = answer["user"].as_object_mut().unwrap();
    let disabled = user.remove("disabled").unwrap();
    user.insert("deactivated".to_owned(), disabled);
    let faults = DOCUMENT.faults(&schema, &answer).join("\n");
    assert!(faults.contains("`.user.deactivated`"), "{faults}");
    assert!(faults.contains("\"disabled\" is a required property"), "{faults}");
}

/// The strict check must notice a header that is missing, has another value or is not documented.
#[test]
fn every_difference_between_the_headers_is_named() {
    let faults = |status, headers: &[(&'static str, &'static str)], is_emulated| {
        let mut answer = Answer { status, headers: HeaderMap::new(), text: String::new() };
        for &(name, value) in headers {
            answer.headers.insert(name, HeaderValue::from_static(value));
        }
        let page = DOCUMENT.operation(&Method::GET, "/reset-password").unwrap();
        DOCUMENT.header_faults(page, &answer, is_emulated)
    };
    let page = [
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'"),
        ("content-type", "text/html; charset=utf-8"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("x-request-id", "1"),
    ];
    assert_eq!(faults(200, &page, false), [""; 0]);
    assert_eq!(faults(200, &page[..5], true), ["the header X-Request-Id is missing"]);

    let unavailable = [("cache-control", "no-store"), ("retry-after", "1"), ("x-request-id", "1")];
    assert_eq!(faults(503, &unavailable, false), [""; 0]);

    let mut wrong = page.to_vec();
    wrong.extend([("referrer-policy", "origin"), ("retry-after", "1")]);
    assert_eq!(faults(200, &wrong, true), [""; 0]);
    let found = faults(200, &wrong, false);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("the header Referrer-Policy: "), "{found:?}");
    assert_eq!(found[1], "the header retry-after is not documented");

    let found = faults(503, &[("retry-after", "soon")], false).join("\n");
    assert!(found.contains("the header Retry-After: "), "{found}");
}

/// The strict check must not accept an answer of a function as one of the gateway.
#[test]
fn only_the_known_answers_of_the_gateway_are_exempt() {
    let throttled = json!({"message": "Too Many Requests"});
    assert!(is_of_gateway(429, &throttled));
    assert!(!is_of_gateway(401, &throttled));
    assert!(!is_of_gateway(429, &json!({"message": "Wait a minute."})));
    assert!(!is_of_gateway(429, &json!({"message": "Too Many Requests", "code": "x"})));
}

/// The documented answers that [`every_documented_answer_is_given`] does not provoke, with reasons.
const ELSEWHERE: &[(&str, &str)] = &[
    ("429", "`throttle` and the tests of the routes exceed the limits"),
    ("500", "no request causes an internal error"),
    ("503", "the tests of the routes cut off the database"),
    (
        "POST /auth/register: 202",
        "`EMAIL_VERIFICATION` would have to be `required`: see the tests of the route",
    ),
    (
        "POST /auth/register: 403",
        "`REGISTRATION` would have to be `closed`: see the tests of the route",
    ),
    (
        "POST /auth/email/verify: 409",
        "requires an address that has been taken in the meantime: see `journeys::mails`",
    ),
    (
        "POST /auth/email/verify/code: 409",
        "requires an address that has been taken in the meantime: see the tests of the route",
    ),
    (
        "POST /auth/me/delete: 409",
        "the server has several super_admins: see the tests of the route",
    ),
    (
        "DELETE /admin/users/{id}: 409",
        "the server has several super_admins: see the tests of the route",
    ),
    (
        "PUT /admin/users/{id}/roles: 409",
        "the server has several super_admins: see the tests of the route",
    ),
];

/// Sends requests and notes the answers, which [`Api::send`](crate::journeys::Api::send) compares with the document.
struct Tour<'a> {
    server: &'a Server,
    answers: BTreeSet<String>,
}

/// The options of a request, apart from its method, path and body.
#[derive(Clone, Copy, Default)]
struct Options<'a> {
    token: Option<&'a str>,
    if_match: Option<&'a str>,
    content_type: Option<&'a str>,
}

impl Tour<'_> {
    async fn send(&mut self, key: &str, options: Options<'_>, body: &str) -> Answer {
        let (method, path) = key.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let mut request = self.server.request(method.clone(), path).body(body.to_owned());
        let token = options.token.map(|token| format!("Bearer {token}"));
        let content_type = Some(options.content_type.unwrap_or("application/json").to_owned());
        let if_match = options.if_match.map(str::to_owned);
        for (name, value) in
            [("authorization", token), ("if-match", if_match), ("content-type", content_type)]
        {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = self.server.send(request).await;
        let path = path.split('?').next().unwrap();
        let operation = DOCUMENT.operation(&method, path).unwrap();
        self.answers.insert(format!("{}: {}", operation.key(), answer.status));
        answer
    }

    /// Sends a request that must succeed. An empty `token` stands for none.
    async fn succeed(&mut self, key: &str, token: &str, body: &Value) -> Answer {
        let token = Some(token).filter(|token| !token.is_empty());
        let options = Options { token, if_match: Some("*"), content_type: None };
        let answer = self.send(key, options, &body.to_string()).await;
        assert!((200..300).contains(&answer.status), "{key}: {}", answer.text);
        answer
    }

    async fn sign_in(&mut self, username: &str, password: &str) -> Tokens {
        let body = json!({"username": username, "password": password});
        Tokens::of(&self.succeed("POST /auth/login", "", &body).await)
    }

    /// Uses the routes for guests and for the owner of an account.
    async fn use_an_account(&mut self) {
        const DOMAIN: &str = "tour.example.com";
        let body = json!({"username": "tourist", "password": PASSWORD, "email": "tourist@tour.example.com"});
        self.succeed("POST /auth/register", "", &body).await;
        let tokens = self.sign_in("tourist", PASSWORD).await;
        let refresh = json!({"refresh_token": tokens.refresh});
        self.succeed("POST /auth/refresh", "", &refresh).await;
        for document in ["jwks.json", "openid-configuration", "oauth-authorization-server"] {
            for method in ["GET", "HEAD"] {
                self.succeed(&format!("{method} /.well-known/{document}"), "", &json!(null)).await;
            }
        }
        for path in ["me", "me/events", "me/export", "protected", "sessions"] {
            self.succeed(&format!("GET /auth/{path}"), &tokens.access, &json!(null)).await;
        }
        for path in ["protected_route", "protected_route_user"] {
            self.succeed(&format!("GET /api/{path}"), &tokens.access, &json!(null)).await;
        }
        let password = json!({"password": PASSWORD});
        self.succeed("POST /auth/step-up", &tokens.access, &password).await;
        // Every code that is sent by email.
        self.succeed("POST /auth/email/verify/send", &tokens.access, &json!(null)).await;
        let digits = last(self.server, DOMAIN, 1).await.digits().unwrap().to_owned();
        let body = json!({ "code": digits });
        self.succeed("POST /auth/email/verify/code", &tokens.access, &body).await;
        let body = json!({"password": PASSWORD, "new_email": "new@tour.example.com"});
        self.succeed("POST /auth/email/change", &tokens.access, &body).await;
        let received = mails::mails(self.server, DOMAIN, 3).await;
        let token = received.iter().rfind(|it| it.to.starts_with("new@")).unwrap().token();
        self.succeed("POST /auth/email/verify", "", &json!({ "token": token.unwrap() })).await;
        mails::mails(self.server, DOMAIN, 4).await;
        let body = json!({"email": "new@tour.example.com"});
        self.succeed("POST /auth/password/forgot", "", &body).await;
        let mail = last(self.server, DOMAIN, 5).await;
        let body = json!({"token": mail.token().unwrap(), "new_password": NEW_PASSWORD});
        self.succeed("POST /auth/password/reset", "", &body).await;
        // Every way to end a session, and the account.
        let tokens = self.sign_in("tourist", NEW_PASSWORD).await;
        let body = json!({"current_password": NEW_PASSWORD, "new_password": PASSWORD});
        self.succeed("POST /auth/password", &tokens.access, &body).await;
        let access = self.sign_in("tourist", PASSWORD).await.access;
        let own = testkit::claims(&access)["sid"].as_str().unwrap().to_owned();
        self.succeed(&format!("DELETE /auth/sessions/{own}"), &access, &json!(null)).await;
        for path in ["logout", "logout-all"] {
            let access = self.sign_in("tourist", PASSWORD).await.access;
            self.succeed(&format!("POST /auth/{path}"), &access, &json!(null)).await;
        }
        let access = self.sign_in("tourist", PASSWORD).await.access;
        self.succeed("POST /auth/me/delete", &access, &password).await;
    }

    /// Uses the routes for administrators on the account `user`, and deletes it.
    async fn administer(&mut self, admin: &str, user: &str) {
        for key in ["GET /admin/users", "GET /auth/admin", "POST /admin/invites"] {
            self.succeed(key, admin, &json!(null)).await;
        }
        for path in ["protected_route_admin", "protected_route_super_admin"] {
            self.succeed(&format!("GET /api/{path}"), admin, &json!(null)).await;
        }
        let one = format!("/admin/users/{user}");
        let change = json!({"email": "guide@tour.example.com", "attributes": {"tenant": "acme"}});
        self.succeed(&format!("PATCH {one}"), admin, &change).await;
        self.succeed(&format!("PUT {one}/roles"), admin, &json!({"roles": ["user"]})).await;
        for key in [
            format!("GET {one}"),
            format!("GET {one}/events"),
            format!("POST {one}/logout"),
            format!("POST {one}/factors/reset"),
            format!("DELETE {one}"),
        ] {
            self.succeed(&key, admin, &json!(null)).await;
        }
    }

    /// Whether the operation has succeeded.
    fn has_succeeded(&self, operation: Operation<'_>) -> bool {
        self.answers.iter().any(|answer| answer.starts_with(&format!("{}: 2", operation.key())))
    }

    /// Calls an operation as its documentation shows, and makes every mistake that its documentation mentions. `admin` may
    /// call every operation; `guest` has no role.
    async fn try_out(&mut self, operation: Operation<'_>, admin: &str, guest: &str) {
        let content = &operation.value["requestBody"]["content"]["application/json"];
        let body = match DOCUMENT.resolve(&content["schema"]).get("example") {
            Some(example) => example.to_string(),
            None => "{}".to_owned(),
        };
        let known = testkit::claims(guest)["sub"].as_str().unwrap().to_owned();
        let key = |id: &str| {
            let segment =
                |it: &str| if it.starts_with('{') { id.to_owned() } else { it.to_owned() };
            operation.key().split('/').map(segment).collect::<Vec<_>>().join("/")
        };
        let unknown = key("01a2032a-bf2a-7b1e-9e2d-c5564b50823f");
        let as_admin = Options { token: Some(admin), if_match: Some("*"), content_type: None };
        if !self.has_succeeded(operation) {
            self.send(&unknown, as_admin, &body).await;
        }
        let as_guest = Options { token: Some(guest), ..as_admin };
        let is_guarded = operation.value["security"].is_null();
        let large = format!("{{\"x\":\"{}\"}}", "x".repeat(20_000));
        for (status, key, options, body) in [
            (400, format!("{unknown}?limit=0"), as_admin, "[]"),
            (401, unknown.clone(), Options::default(), body.as_str()),
            (403, unknown.clone(), as_guest, &body),
            (404, unknown.clone(), as_admin, &body),
            (409, unknown.clone(), as_admin, &body),
            (412, key(&known), Options { if_match: Some("\"0\""), ..as_admin }, &body),
            (413, unknown.clone(), as_admin, &large),
            (415, unknown.clone(), Options { content_type: Some("text/plain"), ..as_admin }, &body),
            (428, key(&known), Options { if_match: None, ..as_admin }, &body),
        ] {
            let is_documented = !operation.value["responses"][status.to_string()].is_null();
            // The tour has already provoked the conflict of `register`.
            if is_documented && (status != 409 || is_guarded) {
                self.send(&key, options, body).await;
            }
        }
    }
}

/// Every answer that the document lists is given, and conforms to the document: see `Api::send`.
#[tokio::test(flavor = "multi_thread")]
async fn every_documented_answer_is_given() {
    let server = shared();
    let mut tour = Tour { server, answers: BTreeSet::new() };
    tour.use_an_account().await;
    // The examples of the document contain another password.
    let body = |username: &str| json!({"username": username, "password": NEW_PASSWORD});
    for username in ["tour-chief", "tour-guest", "tour-guide"] {
        tour.succeed("POST /auth/register", "", &body(username)).await;
    }
    let again = body("tour-guest").to_string();
    let again = tour.send("POST /auth/register", Options::default(), &again).await;
    assert_eq!(again.short(), "409 already_exists");
    server.set_roles("tour-chief", &Role::ALL);
    let admin = tour.sign_in("tour-chief", NEW_PASSWORD).await.access;
    let guest = tour.sign_in("tour-guest", NEW_PASSWORD).await.access;
    let guide = tour.sign_in("tour-guide", NEW_PASSWORD).await.access;
    let [guest, guide] =
        [guest, guide].map(|token| testkit::claims(&token)["sub"].as_str().unwrap().to_owned());
    // The guest may call only the routes that require no role.
    let body = json!({"roles": []});
    tour.succeed(&format!("PUT /admin/users/{guest}/roles"), &admin, &body).await;
    // Two accounts cannot have the same address.
    let body = json!({"email": "guest@tour.example.com"});
    tour.succeed(&format!("PATCH /admin/users/{guest}"), &admin, &body).await;
    let options = Options { token: Some(&admin), if_match: Some("*"), content_type: None };
    let key = format!("PATCH /admin/users/{guide}");
    let taken = tour.send(&key, options, &body.to_string()).await;
    assert_eq!(taken.short(), "409 already_exists");
    tour.administer(&admin, &guide).await;
    for operation in DOCUMENT.operations() {
        // A login resets the counter of wrong passwords.
        let guest = tour.sign_in("tour-guest", NEW_PASSWORD).await.access;
        tour.try_out(operation, &admin, &guest).await;
    }

    let mut missing = Vec::new();
    for operation in DOCUMENT.operations() {
        for status in operation.value["responses"].as_object().unwrap().keys() {
            let answer = format!("{}: {status}", operation.key());
            let is_elsewhere = ELSEWHERE.iter().any(|(it, _)| it == status || *it == answer);
            if !is_elsewhere && !tour.answers.contains(&answer) {
                missing.push(answer);
            }
        }
    }
    assert!(missing.is_empty(), "these documented answers were not given: {missing:#?}");
    let given = ELSEWHERE.iter().filter(|(answer, _)| tour.answers.contains(*answer));
    assert_eq!(given.count(), 0, "an answer of `ELSEWHERE` was given");
}

/// schemathesis generates valid and invalid requests from the document, sends them, and checks the answers.
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_difference_from_the_document() {
    let project = Project::here();
    let tools = Tools::install(&project, ToolSet::Test).await.unwrap();
    let free = ["PAIR", "NAME", "NETWORK", "REGISTER", "MAIL"];
    let free = free.map(|counter| format!("THROTTLE_{counter}_FREE=1000000"));
    let mut arguments = vec!["--db", "memory"];
    arguments.extend(free.iter().flat_map(|setting| ["--env", setting]));
    arguments.extend(MANY_INSTANCES);
    let server = Server::start(&arguments);
    for username in ["chief", "leaver"] {
        // The examples of the document contain another password, or they would delete the account.
        let body = json!({"username": username, "password": NEW_PASSWORD});
        assert_eq!(server.post("/auth/register", &body).await.status, 201);
    }
    server.set_roles("chief", &Role::ALL);
    let folder = project.root().join("tools/conformance/schemathesis");
    // schemathesis stores files in its current folder.
    let current = tempfile::tempdir().unwrap();
    let output = Command::new(tools.program("schemathesis"))
        .current_dir(current.path())
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["run", "--url", server.url(), "--no-color"])
        .arg(project.root().join("openapi.yaml"))
        .env("SCHEMATHESIS_HOOKS", folder.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LATCHKEY_URL", server.url())
        .env("LATCHKEY_PASSWORD", NEW_PASSWORD)
        .env("LATCHKEY_ADMINISTRATOR", "chief")
        .env("LATCHKEY_LEAVER", "leaver")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let report = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{report}");
    // A wrong setting could leave operations out. `SignedIn` in hooks.py fails if one is never called with a token.
    let tested = DOCUMENT.operations().len();
    assert!(report.contains(&format!("Tested: {tested}\n")), "{report}");
}
