//! Passwords: their shape ([`Password`]), what a new one must be ([`Policy`]) and how they are
//! kept ([`Hasher`], [`PasswordHash`]). The one crate that names argon2.
//!
//! Passwords and their hashes are never shown: neither has a [`Display`](std::fmt::Display) or can
//! be serialized, and [`Debug`] says only what they are.

mod common;
mod foreign;
mod hash;
mod hasher;
mod password;
mod policy;

pub use hash::{HashError, PasswordHash};
pub use hasher::{Hasher, Verdict};
pub use password::{MAX_PASSWORD_BYTES, Password, PasswordError};
pub use policy::{Policy, PolicyViolation};
