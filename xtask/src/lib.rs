//! The parts of `cargo xtask` that tests use too: the template as data, the local gateway, the
//! embedded database, the dev server.

pub mod admin;
pub mod bench;
pub mod binaries;
pub mod database;
pub mod dev;
pub mod gateway;
pub mod keys;
pub mod local_secrets;
pub mod new_route;
pub mod passwords;
pub mod process;
pub mod project;
pub mod sessions;
pub mod snapshots;
pub mod state;
pub mod streams;
pub mod target;
pub mod template;
pub mod test;
pub mod tools;
pub mod ui;
pub mod watch;
