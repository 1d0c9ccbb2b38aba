//! The vocabulary of Latchkey: who somebody is ([`UserId`], [`Username`], [`Account`]), what they may do
//! ([`Role`], [`Roles`]), what a token contains ([`Claims`]) and who has been admitted ([`Caller`],
//! [`CheckedCaller`]).
//!
//! Verification of access tokens lives here too, since nobody else may make a `Caller`. This crate
//! knows no HTTP and no database: keys come in through [`KeySource`], the state of an account
//! through [`AccountCheck`], time through [`Clock`] and randomness through [`Random`].

mod account;
mod caller;
mod claims;
mod clock;
pub mod crypto;
mod deadline;
mod env;
mod fault;
mod id;
mod key;
mod mailed;
pub mod metrics;
mod names;
mod random;
mod role;
mod verifier;

pub use account::{Account, AccountCheck, CheckError, EmailStanding, Found, LiveSession, Standing};
pub use caller::{Caller, CheckedCaller, Refusal};
pub use claims::{Audience, Claims, TOKEN_TYPE};
pub use clock::{Clock, SystemClock};
pub use deadline::{Deadline, DeadlinePassed};
pub use env::{AwsEnvironment, BootError, ConfigErrors, Env, Reader};
pub use fault::{Fault, FaultKind, Outage};
pub use id::{IdError, MailId, SessionId, TokenId, UserId};
pub use key::{
    Algorithm, AlgorithmError, GlobalEpoch, KeyError, KeySetError, KeySource, PublicKey,
    PublicKeySet,
};
pub use mailed::MailedFor;
pub use metrics::Metric;
pub use names::{CanonicalName, Email, NameError, ReservedNames, Username, is_hidden};
pub use random::{Random, SystemRandom};
pub use role::{Admin, Anyone, Role, RoleError, RoleRequirement, Roles, SuperAdmin, User};
pub use verifier::{LEEWAY_SECONDS, MAX_TOKEN_BYTES, TokenError, TokenRules, Verifier};
