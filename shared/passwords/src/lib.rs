//! Passwords: their shape ([`Password`]), what a new one must be ([`Policy`]) and how they are
//! kept ([`Hasher`], [`PasswordHash`]). The one crate that names argon2.
//! Breached ones are known by a [`BreachedFilter`], which a [`FilterBuilder`] makes.
//!
//! Passwords and their hashes are never shown: neither has a [`Display`](std::fmt::Display) or can
//! be serialized, and [`Debug`] says only what they are.

mod breached;
mod common;
mod foreign;
mod hash;
mod hasher;
mod list;
mod password;
mod policy;
mod trial;

pub use breached::{BreachedFilter, BuildError, FALSE_POSITIVE_ONE_IN, FilterBuilder, FilterError};
pub use hash::{HASH_FORMATS, HashError, PasswordHash};
pub use hasher::{Hasher, Verdict};
pub use list::ListError;
pub use password::{MAX_PASSWORD_BYTES, Password, PasswordError};
pub use policy::{Policy, PolicyViolation};
pub use trial::{Costs, Trial};
