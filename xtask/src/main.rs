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
#[command(name = "cargo xtask", about = "Latchkey's own commands")]
struct Arguments {
    /// Folder of database, development keys and the like, instead of .local
    #[arg(long, global = true, value_name = "PATH")]
    local: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the API on this machine: the real functions, an embedded DynamoDB, a local gateway
    Dev(dev::DevOptions),
    /// Make and look after administrators, of the local database or of a deployed stack
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Rotate signing keys and peppers by hand, and revoke a key that has leaked
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// End the sessions of all accounts
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Make and ask the list of breached passwords
    #[command(subcommand)]
    Passwords(passwords::PasswordsCommand),
    /// Measure what hashing passwords takes
    #[command(subcommand)]
    Argon2(argon2::Argon2Command),
    /// Reckon what a month costs
    Cost(cost::Load),
    /// Simulate which items of the tables are asked for most
    Scale(scale::ScaleOptions),
    /// Write a new protected route: package, template, event, description, and the rest
    NewRoute(new_route::NewRoute),
    /// Measure what depends on the machine
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Install the tools that tests and CI need into .tools, as the other commands do when needed
    Tools,
    /// Deploy to an emulator of AWS on this machine as docs/deploy.md says, and test what is there
    DeployTest,
    /// Run everything that must pass
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
    let mut project = Project::here();
    if let Some(local) = arguments.local {
        project = project.with_local(local);
    }
    let result = match arguments.command {
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
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        // Whatever is wrong has been said.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // The whole chain of reasons, in one line.
            ui::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
