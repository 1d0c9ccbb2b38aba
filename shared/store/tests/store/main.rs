//! Tests the users' table on an embedded DynamoDB, with injected faults.

#![expect(clippy::disallowed_methods, reason = "tests begin sessions without signing in")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod administration;
mod codes;
mod deletions;
mod events;
mod faults;
mod lists;
mod logins;
mod races;
mod registrations;
mod remains;
mod sessions;
mod tombstones;
mod transfers;

use std::collections::BTreeSet;

use dynamo::Client;
use identity::{Account, Email, Role, Roles, StoredHash, UserId, Username};
use peppers::Peppers;
use process::{Clock, Fault, FaultKind, SystemClock, SystemRandom};
use store::{NewAccount, NewEmail, RegisterError, Registrations};
use testkit::{Faults, Stack};

/// An account to create.
fn new_account(username: &str, email: Option<&str>) -> NewAccount {
    let now = SystemClock.now();
    NewAccount {
        id: UserId::new(now, &SystemRandom),
        username: Username::parse(username).unwrap(),
        email: email.map(|email| NewEmail::Claimed(Email::parse(email).unwrap())),
        roles: Roles::from_iter([Role::User]),
        password: StoredHash::new(format!("the hash of {username}")),
        created_at: now,
        invite: None,
        occasion: testkit::occasion(now),
    }
}

/// Creates accounts, with the peppers of a stack.
#[derive(Clone)]
struct Registering {
    registrations: Registrations,
    peppers: Peppers,
}

impl Registering {
    async fn create(&self, new: NewAccount) -> Result<Account, RegisterError> {
        self.registrations.create(new, &self.peppers).await
    }
}

fn registrations(stack: &Stack) -> Registering {
    let registrations = Registrations::new(&stack.users(), stack.client());
    Registering { registrations, peppers: stack.peppers().clone() }
}

fn faulty_registrations(stack: &Stack, faults: &Faults) -> Registering {
    let registrations = Registrations::new(&stack.users(), stack.faulty_client(faults));
    Registering { registrations, ..self::registrations(stack) }
}

/// The keys of all stored items except events.
async fn keys(client: &Client) -> BTreeSet<String> {
    let scanned =
        client.scan().table_name("UsersTable").consistent_read(true).send().await.unwrap();
    let key = |item: &std::collections::HashMap<_, aws_sdk_dynamodb::types::AttributeValue>| {
        format!("{} {}", item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap())
    };
    scanned.items().iter().map(key).filter(|key| !key.contains(" EVENT#")).collect()
}

/// The kind of a registration's failure. `None` if the registration succeeded.
fn failure<T>(result: Result<T, RegisterError>) -> Option<FaultKind> {
    result.err().map(|error| error.kind())
}
