//! `cargo xtask dev`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local::dev;
use template::command_line::{self, Checkout};

#[derive(Parser)]
#[command(name = "local", bin_name = "cargo xtask")]
struct Arguments {
    #[command(flatten)]
    checkout: Checkout,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the API on this machine: the compiled functions, an embedded DynamoDB and a local gateway
    Dev(dev::DevOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    command_line::exit_code(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let project = arguments.checkout.find()?;
    let Command::Dev(options) = arguments.command;
    dev::run(&project, &options).await
}
