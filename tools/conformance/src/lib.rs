//! Tests about all routes at once.
//!
//! - `layout`: folders, packages, binaries, template, events and `openapi.yaml` agree, and crates
//!   depend on one another as `tests/layout.rs` lists
//! - `end_to_end`: the compiled functions behind the local gateway, over HTTP; with a snapshot of who
//!   may call what, so that a reviewer sees a new route as a new row
