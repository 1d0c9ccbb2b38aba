//! `cargo xtask new-route`, `roles`, `bench`, `clients`, `tools`, `deploy-test`, `screenshots` and `test`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use develop::{bench, clients, new_route, roles, test, tools};
use template::command_line::{self, Checkout};
use template::process::interrupted;

#[derive(Parser)]
#[command(name = "develop", bin_name = "cargo xtask")]
struct Arguments {
    #[command(flatten)]
    checkout: Checkout,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a route: its package, template resource, event and API description
    NewRoute(new_route::NewRoute),
    /// Write the roles of shared/identity/src/role.rs into the files that repeat them
    Roles,
    /// Measure binary sizes and login times
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Generate the clients in TypeScript and Python from openapi.yaml
    Clients(clients::ClientsOptions),
    /// Install the tools for development, tests and deployment into .tools
    Tools,
    /// Compile for release what the deployment test deploys, so that the test need not compile it
    #[command(hide = true)]
    ReleaseBuild,
    /// Follow docs/deploy.md against an AWS emulator, and test the deployed stack
    DeployTest,
    /// Test the pages in Chromium and write screenshots into docs/images
    Screenshots,
    /// Run all tests and checks
    Test(test::TestOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = tokio::select! {
        result = run(Arguments::parse()) => result,
        // Dropping the command ends the programs that it has started.
        interrupted = interrupted() => {
            interrupted.map_err(Into::into).and_then(|()| Err(anyhow::anyhow!("interrupted")))
        }
    };
    command_line::exit_code(result)
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let project = arguments.checkout.find()?;
    // A step that fails has already been reported.
    let of = |passed| if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match arguments.command {
        Command::NewRoute(new) => new_route::run(&project, &new).await?,
        Command::Roles => roles::run(&project)?,
        Command::Bench(command) => bench::run(&project, command).await?,
        Command::Clients(options) => clients::run(&project, options).await?,
        Command::Tools => tools::install(&project).await?,
        Command::ReleaseBuild => return test::release_build(&project).await.map(of),
        Command::DeployTest => return test::deploy(&project).await.map(of),
        Command::Screenshots => return test::screenshots(&project).await.map(of),
        Command::Test(options) => return test::run(&project, options).await.map(of),
    }
    Ok(ExitCode::SUCCESS)
}
