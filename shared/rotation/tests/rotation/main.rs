//! Rotation of signing keys and peppers, with secrets in files and in an emulated Secrets Manager.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod end_to_end;
mod kill;
mod lifecycle;
mod pepper;
mod race;
mod revoke;
mod steps;
