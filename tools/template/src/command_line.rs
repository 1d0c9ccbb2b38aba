//! The parts of a command line that all tools share.

use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use crate::project::{NotInProject, Project};
use crate::ui;

/// The option that all tools have, and the checkout that it applies to.
#[derive(Clone, Debug, clap::Args)]
pub struct Checkout {
    /// Use this folder for the local database, keys and emails [default: .local]
    #[arg(long, global = true, value_name = "PATH")]
    local: Option<PathBuf>,
}

impl Checkout {
    /// Finds the checkout of the current directory and applies `--local`.
    ///
    /// # Errors
    /// When the current directory is not in a checkout.
    pub fn find(self) -> Result<Project, NotInProject> {
        let project = Project::find()?;
        Ok(match self.local {
            Some(local) => project.with_local(local),
            None => project,
        })
    }
}

/// Converts the result of a command to its exit code. Prints an error with all its reasons on one line.
pub fn exit_code(result: anyhow::Result<impl Termination>) -> ExitCode {
    match result {
        Ok(outcome) => outcome.report(),
        Err(error) => {
            let reasons = format!("error: {error:#}");
            ui::note(ui::without_numbers(&reasons));
            ExitCode::FAILURE
        }
    }
}
