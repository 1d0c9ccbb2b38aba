//! Tests the classification of errors for every kind of operation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Get, TransactGetItem, TransactWriteItem};
use dynamo::{Client, DynamoError};
use process::{Deadline, Env, Fault as _, FaultKind};
use testkit::{Fault, Faults};

/// The kinds of operation that functions use.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Get,
    Query,
    Put,
    Update,
    Delete,
    TransactGet,
    TransactWrite,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::Get,
        Self::Query,
        Self::Put,
        Self::Update,
        Self::Delete,
        Self::TransactGet,
        Self::TransactWrite,
    ];

    async fn perform(self, client: &Client) -> Result<(), DynamoError> {
        let (table, pk, key) = ("Table", "pk", AttributeValue::S("key".to_owned()));
        match self {
            Self::Get => {
                client.get_item().table_name(table).key(pk, key).send().await?;
            }
            Self::Query => {
                let query = client.query().table_name(table).key_condition_expression("pk = :pk");
                query.expression_attribute_values(":pk", key).send().await?;
            }
            Self::Put => {
                client.put_item().table_name(table).item(pk, key).send().await?;
            }
            Self::Update => {
                client.update_item().table_name(table).key(pk, key).send().await?;
            }
            Self::Delete => {
                client.delete_item().table_name(table).key(pk, key).send().await?;
            }
            Self::TransactGet => {
                let get = Get::builder().table_name(table).key(pk, key).build().unwrap();
                let get = TransactGetItem::builder().get(get).build();
                client.transact_get_items().transact_items(get).send().await?;
            }
            Self::TransactWrite => {
                let delete = Delete::builder().table_name(table).key(pk, key).build().unwrap();
                let delete = TransactWriteItem::builder().delete(delete).build();
                client.transact_write_items().transact_items(delete).send().await?;
            }
        }
        Ok(())
    }
}

fn connected() -> Client {
    let env = Env::from_iter([
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        // Nothing listens here: every response is an injected fault.
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ]);
    dynamo::connect(&env.settings::<dynamo::Config>().unwrap())
}

/// The client of a function, but with short attempts and pauses, and without an operation deadline.
fn client(faults: &Faults) -> Client {
    let connected = connected();
    let attempt = Duration::from_millis(100);
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt);
    let retries = connected.config().retry_config().unwrap().clone();
    let retries = retries
        .with_initial_backoff(Duration::from_millis(1))
        .with_max_backoff(Duration::from_millis(1));
    // The clients of a process share a retry quota, which these tests would use up.
    let quota = RetryPartition::custom("test").token_bucket(TokenBucket::unlimited()).build();
    let builder = connected.config().to_builder().http_client(faults.http_client());
    let builder = builder.timeout_config(timeouts.build()).retry_config(retries);
    Client::from_conf(builder.retry_partition(quota).build())
}

/// All transient faults except a lost response, which requires a database that carries out the request.
fn transient() -> impl Iterator<Item = Fault> {
    Fault::TRANSIENT.into_iter().filter(|fault| *fault != Fault::LostAnswer)
}

#[tokio::test]
async fn transient_errors_are_retried() {
    for operation in Operation::ALL {
        for fault in transient() {
            let faults = Faults::script(&[fault, fault, Fault::Empty]);
            let performed = operation.perform(&client(&faults)).await;
            assert!(performed.is_ok(), "{operation:?} {fault:?}: {performed:?}");
            assert_eq!(faults.requests(), 3, "{operation:?} {fault:?}");
        }
    }
}

#[tokio::test]
async fn five_transient_errors_in_a_row_are_an_outage() {
    for operation in Operation::ALL {
        for fault in transient() {
            let faults = Faults::always(fault);
            let error = operation.perform(&client(&faults)).await.unwrap_err();
            assert_eq!(error.kind(), FaultKind::Unavailable, "{operation:?} {fault:?}");
            assert_eq!(faults.requests(), 5, "{operation:?} {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_permanent_error_is_internal_and_not_retried() {
    for operation in Operation::ALL {
        for fault in Fault::PERMANENT {
            let faults = Faults::always(fault);
            let error = operation.perform(&client(&faults)).await.unwrap_err();
            assert_eq!(error.kind(), FaultKind::Internal, "{operation:?} {fault:?}");
            assert_eq!(faults.requests(), 1, "{operation:?} {fault:?}");
        }
    }
}

/// Shows that the SDK would not retry a conflict without this crate's classification of errors.
#[tokio::test]
async fn the_sdk_alone_does_not_retry_a_conflict() {
    for (operation, fault) in [
        (Operation::Put, Fault::Code(400, "TransactionConflictException")),
        (Operation::TransactGet, Fault::Canceled(&["TransactionConflict"])),
        (Operation::TransactWrite, Fault::Conflict),
    ] {
        let faults = Faults::script(&[fault, Fault::Empty]);
        let mut sdk = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::v2026_01_12())
            .http_client(faults.http_client());
        sdk.set_region(connected().config().region().cloned());
        let credentials = aws_sdk_dynamodb::config::Credentials::new("id", "key", None, None, "");
        let sdk = sdk.credentials_provider(credentials);
        let performed = operation.perform(&Client::from_conf(sdk.build())).await;
        assert!(performed.is_err(), "{operation:?}");
        assert_eq!(faults.requests(), 1, "{operation:?}");
    }
}

#[tokio::test]
async fn an_operation_ends_before_the_handler_that_waits_for_it() {
    let faults = Faults::always(Fault::Silence);
    let config = connected().config().to_builder().http_client(faults.http_client());
    let client = Client::from_conf(config.build());
    let handler = Box::pin(Operation::Get.perform(&client));
    let ended = Deadline::within(Duration::from_secs(1)).bound(handler).await;
    assert_eq!(
        ended.expect("the operation ends before the deadline").unwrap_err().kind(),
        FaultKind::Unavailable
    );
    assert_eq!(faults.requests(), 1, "the deadline ended the first attempt, which may take 2.5 s");
}
