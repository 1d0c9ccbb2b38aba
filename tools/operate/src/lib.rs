//! The commands that administer a local database or a deployed stack: `cargo xtask admin`, `users`, `keys`,
//! `sessions` and `passwords`.

pub mod admin;
pub mod keys;
pub mod passwords;
pub mod sessions;
pub mod stack;
pub mod tables;
pub mod target;
pub mod users;
