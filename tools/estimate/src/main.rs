//! `cargo xtask argon2`, `cost` and `scale`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use estimate::{argon2, cost, scale};
use template::command_line::{self, Checkout};

#[derive(Parser)]
#[command(name = "estimate", bin_name = "cargo xtask")]
struct Arguments {
    #[command(flatten)]
    checkout: Checkout,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the cost of password hashing
    #[command(subcommand)]
    Argon2(argon2::Argon2Command),
    /// Estimate the monthly cost on AWS
    Cost(cost::Load),
    /// Simulate the load on the most requested items of the tables
    Scale(scale::ScaleOptions),
}

fn main() -> ExitCode {
    command_line::exit_code(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let project = arguments.checkout.find()?;
    match arguments.command {
        Command::Argon2(command) => argon2::run(&command),
        Command::Cost(load) => cost::run(&project, &load),
        Command::Scale(options) => scale::run(&project, &options),
    }
}
