//! Test support: keys, clocks, events, an embedded DynamoDB, an emulated Secrets Manager, and fault injection.
//!
//! Most tests need a [`Stack`]: an embedded DynamoDB with the tables of the template and a published key set, and
//! the environment of a function that uses this database.

#![expect(clippy::disallowed_methods, reason = "tests begin sessions without signing in")]

mod answers;
mod aws;
mod clock;
mod cognito;
mod concurrent_event;
mod corpora;
mod email_service;
mod events;
mod faults;
mod forge;
mod guarded;
mod interceptor;
mod mails;
mod ministack;
pub mod privilege;
mod random;
mod secrets_manager;
mod stack;

pub use answers::{body, claims, readable, status, token_header};
pub use aws::Aws;
pub use clock::TestClock;
pub use cognito::Cognito;
pub use concurrent_event::ConcurrentEvent;
pub use corpora::{json_test_suite, naughty_strings};
pub use email_service::EmailService;
pub use events::{
    bearer, event, events_of, from_network, head, header, json_body, json_request, load, signed_in,
    without_token,
};
pub use faults::{Fault, Faults};
pub use forge::{BadToken, Forge, decode, encode, encode_json};
pub use guarded::{guarded_by_account, guarded_by_fresh_session, guarded_by_token};
pub use interceptor::{Call, Interceptor};
pub use mails::{Received, deliver, mails_in};
pub use random::SeededRandom;
pub use secrets_manager::SecretsManager;
pub use stack::{AUDIENCE, ISSUER, LINK_BASE, NewUser, PASSWORD, Stack, occasion, occasion_now};
