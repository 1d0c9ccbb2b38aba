//! Tests that the remains of deleted accounts are deleted in parts of a bounded size.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use identity::UserId;
use process::{Clock, SystemClock, SystemRandom};
use store::{Deletions, Remains, StoreError, Swept};
use testkit::{Fault, Faults, Stack};

/// A stack with this many remains of an account.
async fn with_remains(count: usize) -> (Stack, Remains) {
    let stack = Stack::start().await;
    let user = UserId::new(SystemClock.now(), &SystemRandom);
    let item = |n: usize| {
        let part = |name: &str, value: String| (name.to_owned(), AttributeValue::S(value));
        HashMap::from([part("pk", format!("USER#{user}")), part("sk", format!("SESSION#{n:04}"))])
    };
    let put = |n: usize| {
        let put = PutRequest::builder().set_item(Some(item(n))).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let puts: Vec<_> = (0..count).map(put).collect();
    for batch in puts.chunks(25) {
        let write = stack.client().batch_write_item().request_items("UsersTable", batch.to_vec());
        write.send().await.unwrap();
    }
    (stack, Remains::of(user))
}

async fn sweep(
    stack: &Stack,
    faults: &Faults,
    remains: &Remains,
    mut budget: usize,
) -> Result<Swept, StoreError> {
    let deletions = Deletions::new(&stack.users(), stack.faulty_client(faults));
    deletions.sweep(remains, &mut budget).await
}

/// Otherwise, an account with many items would exhaust the memory, and a sweep that is always interrupted would never
/// delete anything.
#[tokio::test]
async fn each_page_of_remains_is_deleted_before_the_next_is_read() {
    let (stack, remains) = with_remains(250).await;
    let faults = Faults::script(&[]);
    assert_eq!(sweep(&stack, &faults, &remains, usize::MAX).await.unwrap(), Swept::All);
    let operations = faults.operations();
    let after_queries = operations.split(|operation| operation == "Query").skip(1);
    let deleted: Vec<_> = after_queries.map(<[String]>::len).collect();
    // The last query reads the pointers to codes.
    assert_eq!(deleted, [100, 100, 50, 0]);
    assert!(faults.most_at_once() <= 25, "{}", faults.most_at_once());
    assert!(stack.items().await.is_empty());
}

#[tokio::test]
async fn a_sweep_deletes_no_more_than_its_budget_and_one_page() {
    let (stack, remains) = with_remains(250).await;
    let none = Faults::script(&[]);
    for (budget, outcome, left) in
        [(0, Swept::Part, 250), (50, Swept::Part, 150), (150, Swept::All, 0), (0, Swept::All, 0)]
    {
        assert_eq!(sweep(&stack, &none, &remains, budget).await.unwrap(), outcome, "{budget}");
        assert_eq!(stack.items().await.len(), left, "{budget}");
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_deleted_does_not_prevent_the_deletion_of_the_others() {
    let (stack, remains) = with_remains(250).await;
    // The account is read, a page is listed, and the first deletion is refused.
    let faults = Faults::script(&[Fault::None, Fault::None, Fault::AccessDenied]);
    let swept = sweep(&stack, &faults, &remains, usize::MAX).await;
    assert!(matches!(swept, Err(StoreError::Dynamo(_))), "{swept:?}");
    assert_eq!(stack.items().await.len(), 1);
    assert_eq!(sweep(&stack, &faults, &remains, usize::MAX).await.unwrap(), Swept::All);
    assert!(stack.items().await.is_empty());
}
