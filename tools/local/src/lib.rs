//! `cargo xtask dev` runs the API on this machine: the compiled functions, an embedded `DynamoDB`, and a gateway that
//! sends functions the events of an HTTP API.

pub mod binaries;
pub mod database;
pub mod dev;
pub mod gateway;
pub mod lambda;
pub mod local_secrets;
mod loopback;
pub mod rebuild;
pub mod streams;
mod variables;
