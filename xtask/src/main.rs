//! `cargo xtask`: the project's own commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::project::Project;
use xtask::{admin, dev, test, ui};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Latchkey's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the API on this machine: the real functions, an embedded DynamoDB, a local gateway
    Dev(dev::DevOptions),
    /// Make and look after administrators of the local database
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Run everything that must pass
    Test(test::TestOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let project = Project::here();
    let result = match arguments.command {
        Command::Dev(options) => dev::run(&project, &options).await,
        Command::Admin(command) => admin::run(&project, command).await,
        Command::Test(options) => test::run(&project, options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain of reasons, in one line.
            ui::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
