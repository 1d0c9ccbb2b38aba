//! Emailed codes, over HTTP: guessing is limited, and no code is stored in plaintext.

use std::net::Ipv4Addr;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::server::{MANY_INSTANCES, Server};
use crate::journeys::mails::{NEW_PASSWORD, last, login, mails, register, spoofed};
use crate::journeys::{Answer, INSTANCES, PASSWORD, RunningApi, Tokens, concurrently};
use testkit::Received;

/// The tries come from two hundred networks. Afterwards, even the right digits are refused, but the link still works.
#[tokio::test(flavor = "multi_thread")]
async fn only_five_of_a_thousand_tries_at_digits_are_checked() {
    const DOMAIN: &str = "example.com";
    let raised: Vec<_> = ["PAIR", "NAME", "NETWORK"]
        .iter()
        .flat_map(|kind| ["--env".to_owned(), format!("THROTTLE_{kind}_FREE=10000")])
        .collect();
    let raised: Vec<_> = raised.iter().map(String::as_str).collect();
    let server = Server::start(&[&["--db", "memory"], &MANY_INSTANCES, &raised[..]].concat());
    assert_eq!(register(&server, "rosa", "rosa@example.com").await.status, 201);
    let forgot = json!({"email": "rosa@example.com"});
    assert_eq!(server.post("/auth/password/forgot", &forgot).await.status, 202);
    let mail = last(&server, DOMAIN, 1).await;
    let right: u32 = mail.digits().unwrap().parse().unwrap();

    let guess = async |n: u32, code: String| {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(n % 200).unwrap() + 1);
        let body = json!({"email": "rosa@example.com", "code": code, "new_password": NEW_PASSWORD});
        let request = server.request_from(from, Method::POST, "/auth/password/reset");
        let request = request.header("content-type", "application/json").body(body.to_string());
        server.send(request).await
    };
    let wrong = |n: u32| format!("{:08}", (right + 1 + n) % 100_000_000);
    // Send batches of 50: on a slow machine, the requests of a larger batch would wait for an instance longer
    // than the gateway allows (30 s).
    for batch in 0..20 {
        let answers = concurrently((batch * 50..).take(50).map(|n| guess(n, wrong(n)))).await;
        for answer in answers {
            assert_eq!(answer.short(), "400 invalid_code");
        }
    }
    assert!(server.instances("password-reset").len() >= INSTANCES);
    let items = scan(&server, "UsersTable").await;
    let digits = items.iter().find(|item| item["sk"]["S"] == "DIGITS").unwrap();
    assert_eq!(digits["tries"]["N"], "5");
    let late = guess(7, mail.digits().unwrap().to_owned()).await;
    assert_eq!(late.short(), "400 invalid_code", "the right digits come too late");
    assert_eq!(login(&server, "username", "rosa", PASSWORD).await.status, 200);
    let reset = json!({"token": mail.token().unwrap(), "new_password": NEW_PASSWORD});
    assert_eq!(server.post("/auth/password/reset", &reset).await.status, 204);
    assert_eq!(login(&server, "username", "rosa", NEW_PASSWORD).await.status, 200);
}

/// Sends a request directly to the dev server's database.
async fn database(server: &Server, target: &str, body: &Value) -> Value {
    let state = std::fs::read_to_string(server.local().join("dev.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(state["database"].as_str().unwrap())
        .header("x-amz-target", target)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20261126T000000Z")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=local/20261126/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
        .body(body.to_string());
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.text);
    answer.json()
}

/// All items of a table.
async fn scan(server: &Server, table: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut from = Value::Null;
    loop {
        let mut request = json!({"TableName": table, "ConsistentRead": true});
        if !from.is_null() {
            request["ExclusiveStartKey"] = from;
        }
        let mut page = database(server, "DynamoDB_20120810.Scan", &request).await;
        items.extend(page["Items"].as_array().unwrap().iter().cloned());
        from = page["LastEvaluatedKey"].take();
        if from.is_null() {
            return items;
        }
    }
}

/// All records in the users table's stream.
async fn stream(server: &Server) -> Vec<Value> {
    let ask = async |operation: &str, body: Value| {
        database(server, &format!("DynamoDBStreams_20120810.{operation}"), &body).await
    };
    let streams = ask("ListStreams", json!({"TableName": "UsersTable"})).await;
    let arn = &streams["Streams"][0]["StreamArn"];
    let shards = ask("DescribeStream", json!({"StreamArn": arn})).await;
    let shard = &shards["StreamDescription"]["Shards"][0]["ShardId"];
    let iterator = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let mut iterator = ask("GetShardIterator", iterator).await["ShardIterator"].take();
    let mut records = Vec::new();
    loop {
        let mut page = ask("GetRecords", json!({"ShardIterator": iterator})).await;
        let here = page["Records"].as_array().unwrap();
        if here.is_empty() {
            return records;
        }
        records.extend(here.iter().cloned());
        iterator = page["NextShardIterator"].take();
    }
}

/// Neither a table nor the stream contains a secret that a client has sent or received, even while an email is
/// waiting to be sent.
#[tokio::test(flavor = "multi_thread")]
async fn no_code_token_or_password_is_stored_in_plaintext() {
    const DOMAIN: &str = "example.com";
    let server = Server::start(&["--db", "memory", "--env", "EMAIL_VERIFICATION=required"]);
    let mut secrets = vec![PASSWORD.to_owned(), NEW_PASSWORD.to_owned()];
    let mail_secrets = |mail: &Received| {
        let token = mail.token().map(str::to_owned);
        let mac = token.as_ref().map(|token| token.rsplit_once('.').unwrap().1.to_owned());
        [token, mac, mail.digits().map(str::to_owned)]
    };
    let token_secrets = |tokens: &Tokens| {
        let signature = |token: &str| token.rsplit_once('.').unwrap().1.to_owned();
        [tokens.access.clone(), signature(&tokens.access), signature(&tokens.refresh)]
    };

    assert_eq!(register(&server, "rosa", "rosa@example.com").await.status, 202);
    let mail = last(&server, DOMAIN, 1).await;
    assert_eq!(login(&server, "email", "rosa@example.com", PASSWORD).await.status, 401);
    let verify = json!({"token": mail.token().unwrap()});
    assert_eq!(server.post("/auth/email/verify", &verify).await.status, 204);
    let first = Tokens::of(&login(&server, "email", "rosa@example.com", PASSWORD).await);
    let second = Tokens::of(&server.refresh(&first.refresh).await);
    server.set_roles("rosa", &[identity::Role::User, identity::Role::Admin]);
    let invite = server.call(Method::POST, "/admin/invites", &second.access).await.json();
    let invite = invite["invite_code"].as_str().unwrap();
    let change = json!({"password": PASSWORD, "new_email": "new@example.com"});
    assert_eq!(
        spoofed(&server, "/auth/email/change", &change, Some(&second.access)).await.status,
        202
    );
    mails(&server, DOMAIN, 3).await;

    // Stop the mailer and request a reset, so that the email is not sent yet.
    let mailers: Vec<_> = server.instances("mailer").into_iter().collect();
    let signal = |signal: Signal| {
        for mailer in &mailers {
            let pid = Pid::from_raw(i32::try_from(*mailer).unwrap()).unwrap();
            kill_process(pid, signal).unwrap();
        }
    };
    assert!(!mailers.is_empty());
    signal(Signal::STOP);
    let forgot = json!({"email": "rosa@example.com"});
    assert_eq!(server.post("/auth/password/forgot", &forgot).await.status, 202);
    let waiting = (scan(&server, "UsersTable").await, stream(&server).await);
    assert!(waiting.0.iter().any(|item| item["sk"]["S"] == "MAIL"), "no email is waiting");
    signal(Signal::CONT);
    let mail = last(&server, DOMAIN, 4).await;
    let reset = json!({"token": mail.token().unwrap(), "new_password": NEW_PASSWORD});
    assert_eq!(server.post("/auth/password/reset", &reset).await.status, 204);
    let third = Tokens::of(&login(&server, "username", "rosa", NEW_PASSWORD).await);

    secrets.extend(mails(&server, DOMAIN, 5).await.iter().flat_map(mail_secrets).flatten());
    secrets.extend([&first, &second, &third].into_iter().flat_map(token_secrets));
    secrets.extend([invite.to_owned(), invite.split_once('.').unwrap().1.to_owned()]);
    let (items, records) = (scan(&server, "UsersTable").await, stream(&server).await);
    // As a control, the search finds the email's id in both the table and the stream.
    assert!(format!("{items:?}").contains(&mail.id) && format!("{records:?}").contains(&mail.id));
    let keys = scan(&server, "KeysTable").await;
    let stored = json!([waiting.0, waiting.1, items, records, keys]).to_string();
    assert!(secrets.len() > 15);
    for secret in &secrets {
        assert!(secret.len() >= 8 && !stored.contains(secret.as_str()), "{secret}");
    }
}
