//! The operator's view of a deployed stack: access, limits, metrics, alarms and permissions.

use std::collections::BTreeSet;

use develop::tools::{ToolSet, Tools};
use process::Metric;
use serde_json::{Value, json};
use template::project::Project;
use testkit::privilege::{Roles, authorizations};

use super::account::AwsAccount;
use super::stack::Deployed;
use crate::journeys::PASSWORD;
use crate::journeys::mails::NEW_PASSWORD;

/// The deployed authorizer checks the account and the session of a signed-in caller, and admits the caller.
pub(crate) async fn the_authorizer_admits_a_valid_caller(deployed: &Deployed<'_>) {
    let event = testkit::bearer(testkit::load("authorizer"), &deployed.login("root").await);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), event.to_string()).unwrap();
    let answer = deployed.account().output(&format!(
        "aws lambda invoke --function-name {function} --payload file://{file} {file} > /dev/null
         cat {file}",
        function = deployed.output("AuthorizerArn"),
        file = file.path().display(),
    ));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["isAuthorized"], true, "{answer}");
}

/// Only pages from the origins in `CorsOrigins` may read answers.
pub(crate) async fn only_allowed_origins_read_answers(deployed: &Deployed<'_>, allowed: &str) {
    for origin in ["https://app.example.com", "https://app.example.com.evil.example"] {
        let preflight = deployed
            .request(reqwest::Method::OPTIONS, "/auth/me")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        let request = deployed.request(reqwest::Method::GET, "/auth/me").header("origin", origin);
        for request in [preflight, request] {
            let answer = deployed.send(request).await;
            let named = answer.headers.get("access-control-allow-origin");
            assert_eq!(
                named.is_some_and(|named| named == origin),
                origin == allowed,
                "{origin}: {answer:?}"
            );
            assert!(!answer.headers.contains_key("access-control-allow-credentials"));
        }
    }
}

/// A new session beyond the account's limit ends the oldest one.
pub(crate) async fn a_further_session_ends_the_oldest(deployed: &Deployed<'_>) {
    assert_eq!(deployed.register("collector").await.status, 201);
    let first = deployed.sign_in("collector").await;
    for _ in 0..5 {
        deployed.sign_in("collector").await;
    }
    assert_eq!(deployed.refresh(&first.refresh).await.status, 401);
}

/// After a deployment with `Registration=invite`, only a user with an invitation can register.
pub(crate) async fn registration_requires_an_invitation(deployed: &Deployed<'_>) {
    deployed.account().deploy("Registration=invite");
    let admin = deployed.login("root").await;
    let invite = deployed.call(reqwest::Method::POST, "/admin/invites", &admin).await.json();
    let register = async |username: &str| {
        let code = &invite["invite_code"];
        let body = json!({"username": username, "password": PASSWORD, "invite_code": code});
        deployed.post("/auth/register", &body).await.short()
    };
    assert_eq!(register("invited").await, "201");
    assert_eq!(register("uninvited").await, "403 invalid_invite");
}

/// Signed-in users change their address, step up, change their password and delete their account, each time from an
/// unknown network.
pub(crate) async fn signed_in_users_may_act_from_unknown_networks(deployed: &Deployed<'_>) {
    let body =
        json!({"username": "traveler", "password": PASSWORD, "email": "t@travel.example.com"});
    assert_eq!(deployed.post("/auth/register", &body).await.status, 201);
    let token = deployed.login("traveler").await;
    for (network, path, body, status) in [
        (
            77,
            "/auth/email/change",
            json!({"password": PASSWORD, "new_email": "u@travel.example.com"}),
            202,
        ),
        (79, "/auth/step-up", json!({"password": PASSWORD}), 200),
        (
            78,
            "/auth/password",
            json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD}),
            200,
        ),
    ] {
        let elsewhere = std::net::Ipv4Addr::new(127, 0, 0, network);
        let request = deployed.request_from(elsewhere, reqwest::Method::POST, path);
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        assert_eq!(deployed.send(request).await.status, status, "{path}");
    }
    assert_eq!(deployed.register("wanderer").await.status, 201);
    let token = deployed.login("wanderer").await;
    let elsewhere = std::net::Ipv4Addr::new(127, 0, 0, 80);
    let delete = deployed.request_from(elsewhere, reqwest::Method::POST, "/auth/me/delete");
    let delete = delete.header("authorization", format!("Bearer {token}"));
    let body = json!({"password": PASSWORD}).to_string();
    let delete = delete.header("content-type", "application/json").body(body);
    assert_eq!(deployed.send(delete).await.status, 200);
}

/// The mailer deletes the items that an interrupted deletion has left behind. They are so many that it postpones some.
pub(crate) async fn the_mailer_completes_a_deletion(deployed: &Deployed<'_>) {
    const USER: &str = "01a2032a-bf2a-7b1e-9e2d-c5564b50823e";
    const MAIL: &str = "01a2032a-bf2a-7b1e-9e2d-c5564b50823d";
    let account = deployed.account();
    let table = deployed.output("UsersTableName");
    let text = |value: &str| json!({ "S": value });
    let key = |pk: String, sk: String| json!({"pk": text(&pk), "sk": text(&sk)});
    let mut code = key(format!("CODE#{MAIL}"), "CODE".to_owned());
    for (name, value) in [
        ("purpose", text("email_verification")),
        ("user_id", text(USER)),
        ("ver", json!({"N": "1"})),
        ("address", text("left@example.com")),
        ("pepper", text("p")),
    ] {
        code[name] = value;
    }
    let mut remains = key(format!("OUTBOX#{USER}"), "REMAINS".to_owned());
    remains["user_id"] = text(USER);
    remains["known_under"] = json!({"L": [text("left")]});
    let items = [
        key(format!("USER#{USER}"), format!("SESSION#{MAIL}")),
        key("KNOWN#left".to_owned(), "NETWORK#left".to_owned()),
        key(format!("CODES#{USER}"), format!("CODE#{MAIL}")),
        code,
        // The last item invokes the mailer.
        remains,
    ];
    let session = |n: usize| key(format!("USER#{USER}"), format!("SESSION#{n}"));
    let sessions: Vec<_> = (0..400).map(session).collect();
    for batch in sessions.chunks(25) {
        let put = |item: &Value| json!({"PutRequest": {"Item": item}});
        let puts = json!({(table.to_string()): batch.iter().map(put).collect::<Vec<_>>()});
        account.output(&format!("aws dynamodb batch-write-item --request-items '{puts}'"));
    }
    for item in &items {
        account.output(&format!("aws dynamodb put-item --table-name {table} --item '{item}'"));
    }
    let remaining = || {
        let exists = |item: &&Value| {
            let key = json!({"pk": item["pk"], "sk": item["sk"]});
            let get = format!("aws dynamodb get-item --table-name {table} --key '{key}'");
            account.output(&get).contains("Item")
        };
        items.iter().filter(exists).count()
    };
    let deleted = async {
        while remaining() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_mins(3), deleted).await;
    assert!(waited.is_ok(), "{} items remain", remaining());
}

/// Causes rare failures, so that each metric is written: throttled logins, a broken database, emails that SES
/// refuses, and an email that can never be sent.
pub(crate) async fn cause_rare_failures(deployed: &Deployed<'_>) {
    let account = deployed.account();
    assert_eq!(deployed.register("badday").await.status, 201);
    let wrong = json!({"username": "badday", "password": "a walk by another river"});
    let guess = async || deployed.post("/auth/login", &wrong).await.status;
    let mut answers = Vec::new();
    while answers.last() != Some(&429) {
        answers.push(guess().await);
        assert!(answers.len() < 20, "{answers:?}");
    }
    assert!(answers.contains(&401));

    account.aws().break_services(&["dynamodb"]);
    let answer = guess().await;
    account.aws().break_services(&[]);
    assert_eq!(answer, 503);

    let body =
        json!({"username": "bouncing", "password": PASSWORD, "email": "u@bounce.example.com"});
    assert_eq!(deployed.post("/auth/register", &body).await.status, 201);
    account.aws().break_services(&["ses"]);
    let forgot = json!({"email": "u@bounce.example.com"});
    assert_eq!(deployed.post("/auth/password/forgot", &forgot).await.status, 202);
    wait_for(deployed, Metric::MailsFailed).await;
    account.aws().break_services(&[]);

    // Request an email of a kind that only a later version could send.
    let item = json!({
        "pk": {"S": "OUTBOX#01a2032a-bf2a-7b1e-9e2d-c5564b50823f"},
        "sk": {"S": "MAIL"},
        "kind": {"S": "from_a_later_version"},
    });
    account.output(&format!(
        "aws dynamodb put-item --table-name {table} --item '{item}'",
        table = deployed.output("UsersTableName"),
    ));
    wait_for(deployed, Metric::MailsGivenUp).await;
}

async fn wait_for(deployed: &Deployed<'_>, metric: Metric) {
    let written = async {
        while !metrics(deployed).contains(&metric) {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_mins(3), written).await;
    assert!(waited.is_ok(), "{metric:?} was not written");
}

/// All metrics in the functions' log.
fn metrics(deployed: &Deployed<'_>) -> BTreeSet<Metric> {
    let group = deployed.output("FunctionsLogGroup");
    let events = deployed.account().output(&format!(
        "aws logs filter-log-events --log-group-name {group} --filter-pattern CloudWatchMetrics \
         --query events[].message",
    ));
    let events: Vec<String> = serde_json::from_str(&events).unwrap();
    let mut found = BTreeSet::new();
    for line in events.iter().flat_map(|event| event.lines()) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        for described in event["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten() {
            assert_eq!(event["Stack"], "latchkey");
            for metric in described["Metrics"].as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                assert!(event[name].is_number(), "{event}");
                found.insert(Metric::of_name(name).unwrap());
            }
        }
    }
    found
}

/// Every metric has been written, except the one for missed deadlines, because no request has missed its deadline, and
/// the one of `event-publisher`, which is not deployed.
pub(crate) fn every_metric_has_been_written(deployed: &Deployed<'_>) {
    let mut written = metrics(deployed);
    assert!(written.insert(Metric::DeadlinesPassed), "a request has missed its deadline");
    assert!(written.insert(Metric::EventsGivenUp), "`event-publisher` is deployed");
    assert_eq!(written, BTreeSet::from(Metric::ALL));
}

/// CloudFormation received the two alarms that roll back a deployment.
pub(crate) fn two_alarms_roll_back_deployments(account: &AwsAccount) {
    let calls = account.aws().calls();
    let updates = calls.lines().filter(|call| call.contains("RollbackConfiguration"));
    let updates: Vec<Value> = updates.map(|call| serde_json::from_str(call).unwrap()).collect();
    let [call] = updates.as_slice() else { panic!("{} calls", updates.len()) };
    let body = call["body"].as_str().unwrap();
    assert!(body.contains("Action=UpdateStack"), "{body}");
    let watched = |name: &str| body.matches(&format!("alarm%3Alatchkey-{name}-")).count();
    let watched = ["ServerErrorsAlarm", "ApiErrorsAlarm"].map(watched);
    assert_eq!((watched, body.matches("RollbackTriggers.member.").count()), ([1, 1], 4), "{body}");
}

/// The functions have exactly the permissions that their calls need.
pub(crate) async fn permissions_are_minimal(deployed: &Deployed<'_>) {
    let project = Project::here();
    let tools = Tools::install(&project, ToolSet::Test).await.unwrap();
    // The deployed values of the parameters that change permissions.
    let parameters = [
        ("MailFrom", "no-reply@example.com"),
        ("Authorizer", "true"),
        ("AuthorizerAccess", "checked"),
    ];
    let roles = Roles::of(&tools, &project.template(), &parameters).unwrap();
    let calls = authorizations("latchkey", &deployed.account().aws().calls()).unwrap();
    let faults = roles.faults(&tools, &calls).unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
