//! Passwords: their form ([`Password`]), the rules for a new one ([`Policy`]), and their hashes ([`Hasher`],
//! [`PasswordHash`]). Only this crate depends on argon2. A [`BreachedFilter`], built by a [`FilterBuilder`],
//! recognizes breached passwords.
//!
//! Passwords and their hashes are never shown: they do not implement [`Display`](std::fmt::Display), cannot be
//! serialized, and appear in [`Debug`] output only as the name of their type.

mod breached;
mod common;
mod cost;
mod foreign;
mod hash;
mod hasher;
mod list;
mod password;
mod policy;
mod trial;

pub use breached::{BreachedFilter, BuildError, FALSE_POSITIVE_ONE_IN, FilterBuilder, FilterError};
pub use cost::Costs;
pub use hash::{HASH_FORMATS, HashError, PasswordHash};
pub use hasher::{Hasher, Verdict};
pub use list::ListError;
pub use password::{MAX_PASSWORD_BYTES, Password, PasswordError};
pub use policy::{Policy, PolicyViolation};
pub use trial::Trial;
