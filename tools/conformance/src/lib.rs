//! Tests across all routes and tools.
//!
//! - `layout`: folders, packages, binaries, template, events and `openapi.yaml` agree, and crates depend on one
//!   another only as listed in `tests/layout.rs`
//! - `end_to_end`: the compiled functions over HTTP: behind the local gateway, and deployed to an AWS emulator. A
//!   snapshot lists the access to every route, so that a reviewer sees a new route as a new row
//! - `operate` and `privilege`: alarms, logs, limits and permissions in the template
//! - `restore`, `tools` and `worked_examples`: commands and code behave as the documentation says
