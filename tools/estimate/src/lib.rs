//! Figures that no stack is needed for: what a month costs (`cargo xtask cost`), what load the tables support
//! (`scale`), and what a hash takes (`argon2`).

pub mod argon2;
pub mod cost;
pub mod scale;

/// The options of a command with their defaults.
fn defaults<A: clap::Args>() -> A {
    let matches = A::augment_args(clap::Command::new("")).get_matches_from([""]);
    A::from_arg_matches(&matches).expect("every option has a default")
}
