//! Estimates that need no running stack: the monthly cost (`cargo xtask cost`), the load that the tables support
//! (`scale`), and the time that a hash takes (`argon2`).

pub mod argon2;
pub mod cost;
pub mod scale;

/// A command's options, all with their default values.
fn defaults<A: clap::Args>() -> A {
    let matches = A::augment_args(clap::Command::new("")).get_matches_from([""]);
    A::from_arg_matches(&matches).expect("every option has a default")
}
