//! `cargo xtask sessions`: what concerns the sessions of all accounts.

use anyhow::Context;
use auth::{Clock, GlobalEpoch, SystemClock};
use jiff::Timestamp;

use crate::project::Project;
use crate::target::Target;
use crate::ui;

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SessionsCommand {
    /// End every session of every account, as after a restore from a backup
    EndAll {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Which database
        #[command(flatten)]
        target: Target,
    },
}

/// Carries the command out.
///
/// # Errors
/// When it cannot be done, or is not confirmed. In one line.
pub async fn run(project: &Project, command: SessionsCommand) -> anyhow::Result<()> {
    let SessionsCommand::EndAll { yes, target } = command;
    let tables = target.open(project).await?;
    if !yes {
        ui::line(
            "Everybody will have to sign in again. Refresh and checked routes refuse what is from \
             before within 5 minutes, which is how long functions keep the keys' table; routes by \
             token go on until the access tokens expire.",
        );
        ui::confirm("End every session of every account?")?;
    }
    let epoch = GlobalEpoch::after(SystemClock.now());
    tables.keys.raise_epoch(epoch).await.map_err(anyhow::Error::new)?;
    let from = Timestamp::from_second(epoch.second()).context("the clock is out of range")?;
    ui::line(format_args!("no session from before {from} counts any more"));
    Ok(())
}
