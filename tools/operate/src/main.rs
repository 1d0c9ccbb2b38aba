//! The command line of `cargo xtask admin`, `users`, `keys`, `sessions` and `passwords`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use operate::{admin, keys, passwords, sessions, users};
use template::command_line::{self, Checkout};

#[derive(Parser)]
#[command(name = "operate", bin_name = "cargo xtask")]
struct Arguments {
    #[command(flatten)]
    checkout: Checkout,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create and administer accounts in a local database or a deployed stack
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// List, find, delete, import and export accounts
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// List, rotate and revoke signing keys, and add peppers
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// End the sessions of all accounts
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Build and query the breached-password filter
    #[command(subcommand)]
    Passwords(passwords::PasswordsCommand),
}

#[tokio::main]
async fn main() -> ExitCode {
    command_line::exit_code(Box::pin(run(Arguments::parse())).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let project = arguments.checkout.find()?;
    match arguments.command {
        Command::Admin(command) => admin::run(&project, command).await,
        Command::Users(command) => users::run(&project, command).await,
        Command::Keys(command) => keys::run(&project, command).await,
        Command::Sessions(command) => sessions::run(&project, command).await,
        Command::Passwords(command) => passwords::run(&project, command),
    }
}
