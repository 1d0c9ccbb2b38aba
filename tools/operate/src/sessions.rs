//! `cargo xtask sessions`: ends the sessions of all accounts.

use anyhow::Context;
use auth::GlobalEpoch;
use jiff::Timestamp;
use template::project::Project;
use template::ui;

use crate::target::Target;

/// Commands that end sessions.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SessionsCommand {
    /// End every session of every account, for example after a restore from a backup
    EndAll {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
}

/// Runs a command.
///
/// # Errors
/// When the command fails or is not confirmed. The message is one line.
pub async fn run(project: &Project, command: SessionsCommand) -> anyhow::Result<()> {
    let SessionsCommand::EndAll { yes, target } = command;
    let tables = target.open(project).await?;
    if !yes {
        ui::line(
            "All users have to sign in again. The refresh route and checked routes refuse the ended \
             sessions within 5 minutes, because functions cache the keys' table for that long. Routes \
             that check only the token accept the access tokens until they expire.",
        );
        ui::confirm("End every session of every account?")?;
    }
    let epoch = GlobalEpoch::after(tables.clock.now());
    tables.keys.raise_epoch(epoch).await.map_err(anyhow::Error::new)?;
    // Read the epoch back, because the table may already contain a later one.
    let epoch = tables.keys.record().await.map_err(anyhow::Error::new)?.epoch;
    let from = Timestamp::from_second(epoch.second()).context("the clock is out of range")?;
    ui::line(format_args!("every session that began before {from} has ended"));
    Ok(())
}
