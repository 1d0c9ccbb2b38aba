//! Tests `Administration`, which finds and changes accounts.

use identity::{Role, Roles, Username};
use store::{Administration, StoreError};
use testkit::{Fault, Faults, Stack};

use crate::{keys, new_account, registrations};

#[tokio::test]
async fn setting_roles_changes_nothing_else() {
    let stack = Stack::start().await;
    let account = new_account("testuser", Some("t@example.com"));
    let account = registrations(&stack).create(account).await.unwrap();
    let before = keys(&stack.client()).await;
    let administration = Administration::new(&stack.users(), stack.client());
    for roles in [vec![Role::Admin, Role::SuperAdmin], vec![Role::User], vec![]] {
        let roles = Roles::from_iter(roles);
        administration.set_roles(account.id, &roles).await.unwrap();
        let current = administration.account_by_name(account.username.canonical()).await.unwrap();
        assert_eq!(current, Some(identity::Account { roles, ..account.clone() }));
    }
    assert_eq!(keys(&stack.client()).await, before);
}

#[tokio::test]
async fn setting_the_roles_of_an_unknown_account_creates_no_item() {
    let stack = Stack::start().await;
    let administration = Administration::new(&stack.users(), stack.client());
    let result = administration.set_roles(new_account("n-n", None).id, &Roles::default()).await;
    assert!(matches!(result, Err(StoreError::Absent)), "{result:?}");
    assert!(keys(&stack.client()).await.is_empty());
    let nobody = Username::parse("nobody").unwrap();
    assert_eq!(administration.account_by_name(nobody.canonical()).await.unwrap(), None);
}

#[tokio::test]
async fn a_change_is_retried_after_a_lost_answer() {
    let stack = Stack::start().await;
    let account = registrations(&stack).create(new_account("testuser", None)).await.unwrap();
    let client = stack.faulty_client(&Faults::script(&[Fault::LostAnswer]));
    let administration = Administration::new(&stack.users(), client);
    let roles = Roles::from_iter([Role::Admin]);
    administration.set_roles(account.id, &roles).await.unwrap();
    let current =
        administration.account_by_name(account.username.canonical()).await.unwrap().unwrap();
    assert_eq!(current.roles, roles);
}
