//! `cargo xtask`: the project's own commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::process::interrupted;
use xtask::project::Project;
use xtask::{
    admin, argon2, bench, cost, dev, keys, new_route, passwords, scale, sessions, test, tools, ui,
};

#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "Run, test, administer and deploy Latchkey"
)]
struct Arguments {
    /// Use this folder for the local database, keys and mails [default: .local]
    #[arg(long, global = true, value_name = "PATH")]
    local: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the API on this machine: the compiled functions, an embedded DynamoDB and a local gateway
    Dev(dev::DevOptions),
    /// Create and administer accounts in a local database or a deployed stack
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// List, rotate and revoke signing keys, and add peppers
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// End the sessions of all accounts
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Build and query the breached-password filter
    #[command(subcommand)]
    Passwords(passwords::PasswordsCommand),
    /// Measure the cost of password hashing
    #[command(subcommand)]
    Argon2(argon2::Argon2Command),
    /// Estimate the monthly cost on AWS
    Cost(cost::Load),
    /// Simulate the load on the most requested items of the tables
    Scale(scale::ScaleOptions),
    /// Create a protected route: its package, template resource, event and API description
    NewRoute(new_route::NewRoute),
    /// Measure binary sizes and login times
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Install the tools for development, tests and deployment into .tools
    Tools,
    /// Follow docs/deploy.md against an emulator of AWS, and test the deployed stack
    DeployTest,
    /// Run all tests and checks
    Test(test::TestOptions),
}

/// What `work` gives, unless it is interrupted: then what it started is ended with it.
async fn or_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        result = work => result,
        interrupted = interrupted() => {
            interrupted?;
            anyhow::bail!("interrupted")
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        // The command has said what is wrong.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // The whole chain of reasons, in one line.
            let reasons = format!("error: {error:#}");
            ui::note(ui::without_numbers(&reasons));
            ExitCode::FAILURE
        }
    }
}

/// Whether the command found all well.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let mut project = Project::find()?;
    if let Some(local) = arguments.local {
        project = project.with_local(local);
    }
    match arguments.command {
        Command::Dev(options) => dev::run(&project, &options).await.map(|()| true),
        Command::Admin(command) => admin::run(&project, command).await.map(|()| true),
        Command::Keys(command) => keys::run(&project, command).await.map(|()| true),
        Command::Sessions(command) => sessions::run(&project, command).await.map(|()| true),
        Command::Passwords(command) => passwords::run(&project, command).map(|()| true),
        Command::Argon2(command) => argon2::run(&command).map(|()| true),
        Command::Cost(load) => {
            cost::run(&load);
            Ok(true)
        }
        Command::Scale(options) => scale::run(&options).map(|()| true),
        Command::NewRoute(new) => new_route::run(&project, &new).await.map(|()| true),
        Command::Bench(command) => {
            or_interrupted(bench::run(&project, command)).await.map(|()| true)
        }
        Command::Tools => or_interrupted(tools::install(&project)).await.map(|()| true),
        Command::DeployTest => or_interrupted(test::deploy(&project)).await,
        Command::Test(options) => or_interrupted(test::run(&project, options)).await,
    }
}
