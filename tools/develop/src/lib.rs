//! The commands for working on Latchkey itself: `cargo xtask new-route`, `roles`, `bench`, `clients`, `tools`,
//! `deploy-test`, `screenshots` and `test`.

pub mod bench;
pub mod clients;
pub mod new_route;
pub mod roles;
pub mod shipping;
pub mod snapshots;
pub mod test;
pub mod tools;
