//! Tests registrations while the database has faults.

use process::FaultKind;
use store::{RegisterError, Registrations};
use testkit::{Fault, Faults, Stack};

use crate::{Registering, failure, faulty_registrations, keys, new_account, registrations};

#[tokio::test]
async fn a_registration_is_retried_after_a_transient_fault() {
    let stack = Stack::start().await;
    for (n, fault) in
        [Fault::Conflict, Fault::Throttled, Fault::ServerError, Fault::Lost].into_iter().enumerate()
    {
        for times in 1..=3 {
            let faults = Faults::script(&vec![fault; times]);
            let new = new_account(&format!("user{n}{times}"), None);
            let created = faulty_registrations(&stack, &faults).create(new).await;
            assert!(created.is_ok(), "{fault:?} {times} times: {created:?}");
            assert_eq!(faults.requests(), times + 1);
        }
    }
}

#[tokio::test]
async fn a_persistent_fault_is_reported_as_an_outage_and_stores_nothing() {
    let stack = Stack::start().await;
    for fault in [Fault::Conflict, Fault::Throttled, Fault::ServerError, Fault::Lost] {
        let faults = Faults::always(fault);
        let new = new_account("testuser", Some("t@example.com"));
        let created = faulty_registrations(&stack, &faults).create(new).await;
        assert_eq!(failure(created), Some(FaultKind::Unavailable), "{fault:?}");
        assert_eq!(faults.requests(), 5, "{fault:?}");
        assert!(keys(&stack.client()).await.is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_missing_permission_is_an_internal_error_and_is_not_retried() {
    let stack = Stack::start().await;
    let faults = Faults::always(Fault::AccessDenied);
    let created = faulty_registrations(&stack, &faults).create(new_account("testuser", None)).await;
    assert_eq!(failure(created), Some(FaultKind::Internal));
    assert_eq!(faults.requests(), 1);
}

#[tokio::test]
async fn a_missing_table_is_an_internal_error() {
    let stack = Stack::start().await;
    let elsewhere = store::Config::new("NoSuchTable");
    let elsewhere = Registrations::new(&elsewhere, stack.client());
    let registrations = Registering { registrations: elsewhere, ..registrations(&stack) };
    let created = registrations.create(new_account("testuser", None)).await;
    assert_eq!(failure(created), Some(FaultKind::Internal));
}

/// All attempts send the same `ClientRequestToken`, so a retry does not mistake the first attempt's claim for another
/// account's claim.
#[tokio::test]
async fn a_registration_whose_answer_is_lost_does_not_conflict_with_itself() {
    let stack = Stack::start().await;
    for lost in 1..=3 {
        let faults = Faults::script(&vec![Fault::LostAnswer; lost]);
        let name = format!("user{lost}");
        let email = format!("{name}@example.com");
        let new = new_account(&name, Some(&email));
        let created = faulty_registrations(&stack, &faults).create(new).await;
        assert!(created.is_ok(), "{lost}: {created:?}");
        assert_eq!(faults.requests(), lost + 1);
        assert_eq!(keys(&stack.client()).await.len(), 5 * lost);
    }
}

#[tokio::test]
async fn an_account_is_complete_even_if_no_answer_arrives() {
    let stack = Stack::start().await;
    let faults = Faults::always(Fault::LostAnswer);
    let new = new_account("testuser", Some("t@example.com"));
    let created = faulty_registrations(&stack, &faults).create(new).await;
    assert_eq!(failure(created), Some(FaultKind::Unavailable));
    assert_eq!(keys(&stack.client()).await.len(), 5);
}

#[tokio::test]
async fn a_registration_of_a_taken_name_is_not_retried() {
    let stack = Stack::start().await;
    registrations(&stack).create(new_account("testuser", None)).await.unwrap();
    let faults = Faults::script(&[Fault::Conflict]);
    let created = faulty_registrations(&stack, &faults).create(new_account("testuser", None)).await;
    assert!(matches!(created, Err(RegisterError::UsernameTaken)), "{created:?}");
    assert_eq!(faults.requests(), 2, "one request for the conflict, and one for the refusal");
}
