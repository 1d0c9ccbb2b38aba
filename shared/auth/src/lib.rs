//! The content of an access token ([`Claims`]), its verification ([`Verifier`]), and the admitted callers
//! ([`Caller`], [`CheckedCaller`], [`FreshCaller`]), which only verification creates.
//!
//! This crate knows neither HTTP nor the database: keys come from a [`KeySource`], and the state of an account comes
//! from an [`AccountCheck`].

mod account;
mod caller;
mod claims;
pub mod crypto;
mod freshness;
mod key;
mod verifier;

pub use account::{AccountCheck, CheckError, Found, LiveSession};
pub use caller::{Caller, CheckedCaller, Refusal};
pub use claims::{Audience, Claims, TOKEN_TYPE};
pub use freshness::{FreshCaller, MaxAge};
pub use key::{
    Algorithm, AlgorithmError, GlobalEpoch, KeyError, KeySetError, KeySource, PublicKey,
    PublicKeySet,
};
pub use verifier::{LEEWAY_SECONDS, MAX_TOKEN_BYTES, TokenError, TokenRules, Verifier};
