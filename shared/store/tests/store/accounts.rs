//! Tests `Accounts`, which reads an account and a session to decide whether a caller is admitted.

use auth::{AccountCheck, CheckError};
use aws_sdk_dynamodb::types::AttributeValue;
use identity::{Account, SessionId};
use process::{Fault as _, FaultKind, SystemRandom};
use store::Accounts;
use testkit::{Fault, Faults, Stack};

use crate::{new_account, registrations};

#[tokio::test]
async fn a_missing_account_or_session_is_reported_as_none() {
    let stack = Stack::start().await;
    let account = registrations(&stack).create(new_account("testuser", None)).await.unwrap();
    let stranger = new_account("stranger", None).id;
    let session = stack.new_session(account.epoch);
    let sid = session.id;
    let begun = stack.logins().begin(account.id, session, &[]).await.unwrap();
    let account = Account { last_login_at: Some(begun.created_at), ..account };
    let accounts = Accounts::new(&stack.users(), stack.client());

    let both = accounts.find(account.id, sid).await.unwrap();
    assert_eq!(both.account.as_ref(), Some(&account));
    assert_eq!(both.session.unwrap().epoch, account.epoch);

    let other = SessionId::new(&SystemRandom);
    let ended = accounts.find(account.id, other).await.unwrap();
    assert_eq!((ended.account, ended.session), (Some(account), None));

    let found = accounts.find(stranger, sid).await.unwrap();
    assert_eq!((found.account, found.session), (None, None), "a session belongs to one account");
}

#[tokio::test]
async fn account_and_session_are_read_concurrently() {
    let stack = Stack::start().await;
    let faults = Faults::script(&[]);
    let accounts = Accounts::new(&stack.users(), stack.faulty_client(&faults));
    accounts.find(new_account("nobody", None).id, SessionId::new(&SystemRandom)).await.unwrap();
    assert_eq!((faults.requests(), faults.most_at_once()), (2, 2));
    for body in faults.bodies() {
        assert_eq!(body["ConsistentRead"], true, "the decision needs the current state");
    }
}

#[tokio::test]
async fn an_outage_admits_nobody() {
    let stack = Stack::start().await;
    let account = registrations(&stack).create(new_account("testuser", None)).await.unwrap();
    for (fault, expected) in [
        (Fault::Throttled, FaultKind::Unavailable),
        (Fault::ServerError, FaultKind::Unavailable),
        (Fault::Lost, FaultKind::Unavailable),
        (Fault::AccessDenied, FaultKind::Internal),
    ] {
        let accounts = Accounts::new(&stack.users(), stack.faulty_client(&Faults::always(fault)));
        let found = accounts.find(account.id, SessionId::new(&SystemRandom)).await;
        assert_eq!(found.unwrap_err().kind(), expected, "{fault:?}");
    }
}

#[tokio::test]
async fn an_unreadable_account_admits_nobody() {
    let stack = Stack::start().await;
    let id = registrations(&stack).create(new_account("testuser", None)).await.unwrap().id;
    stack
        .client()
        .update_item()
        .table_name("UsersTable")
        .key("pk", AttributeValue::S(format!("USER#{id}")))
        .key("sk", AttributeValue::S("ACCOUNT".to_owned()))
        .update_expression("SET #roles = :roles")
        .expression_attribute_names("#roles", "roles")
        .expression_attribute_values(":roles", AttributeValue::S("admin".to_owned()))
        .send()
        .await
        .unwrap();
    let accounts = Accounts::new(&stack.users(), stack.client());
    let found = accounts.find(id, SessionId::new(&SystemRandom)).await;
    assert!(matches!(found, Err(CheckError::Unusable(_))), "{found:?}");
}
