//! The parts of `cargo xtask` that tests use too: the template as data, the local gateway, the
//! embedded database, the dev server.

pub mod admin;
pub mod argon2;
pub mod bench;
pub mod binaries;
pub mod cost;
pub mod database;
pub mod dev;
pub mod gateway;
pub mod keys;
pub mod lambda;
pub mod local_secrets;
mod loopback;
pub mod new_route;
pub mod passwords;
pub mod privilege;
pub mod process;
pub mod project;
pub mod rebuild;
pub mod scale;
pub mod sessions;
pub mod shipping;
pub mod snapshots;
pub mod stack;
pub mod state;
pub mod streams;
pub mod target;
pub mod template;
pub mod test;
pub mod tools;
pub mod ui;
mod variables;
