//! `cargo xtask keys`: lists, rotates and revokes keys.

use anyhow::{Context, bail};
use auth::Algorithm;
use jiff::Timestamp;
use keys::PublishedKey;
use process::{Clock, SystemClock};
use rotation::Plan;
use template::project::Project;
use template::ui;

use crate::target::Target;

/// Commands that list, rotate and revoke keys, and add peppers.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Activate the next key and create its successor
    Rotate {
        /// Rotate even if the next key was published too recently for every verifier to know it
        #[arg(long, conflicts_with = "peppers")]
        now: bool,
        /// Create the new key with this algorithm instead of the configured one. The key signs after
        /// one more rotation
        #[arg(long, conflicts_with = "peppers")]
        algorithm: Option<Algorithm>,
        /// Add a pepper instead of rotating keys; refresh tokens use it ten minutes later
        #[arg(long)]
        peppers: bool,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// List the published keys with their states, and the ids of the peppers
    List {
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Print the secret that the proxy in front of the API sends (docs/edge.md)
    EdgeSecret {
        /// Print the SHA-256 digests of the accepted secrets instead, for the parameter
        /// `EdgeSecretDigests`
        #[arg(long)]
        digests: bool,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Revoke a leaked key, or all keys: tokens signed with them are refused
    Retire {
        /// Id of the key, as `keys list` prints it
        #[arg(value_name = "KID", required_unless_present = "all", conflicts_with = "all")]
        kid: Option<String>,
        /// Revoke all keys
        #[arg(long)]
        all: bool,
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
/// When the command fails, must wait or is not confirmed. The message is one line.
pub async fn run(project: &Project, command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Rotate { peppers: true, target, .. } => {
            let tables = target.open(project).await?;
            let peppers = tables.secrets.pepper_rotation(&tables.env)?.add().await?;
            let begins = peppers.begins_at().map_or("now".to_owned(), |at| at.to_string());
            let newest = peppers.ids().last().unwrap_or_default();
            ui::line(format_args!("added the pepper {newest}; it is used from {begins} on"));
            Ok(())
        }
        KeysCommand::Rotate { now, algorithm, peppers: false, target } => {
            let tables = target.open(project).await?;
            let mut rotation = tables.secrets.rotation(tables.keys, &tables.env)?;
            if let Some(algorithm) = algorithm {
                rotation = rotation.with_algorithm(algorithm);
            }
            let plan = if now { Plan::RotateNow } else { Plan::Rotate };
            rotation.perform(&plan).await?;
            show(&rotation.record().await?.keys);
            Ok(())
        }
        KeysCommand::List { target } => {
            let tables = target.open(project).await?;
            let record = tables.keys.record().await.map_err(anyhow::Error::new)?;
            show(&record.keys);
            if let Some(peppers) = tables.secrets.pepper_rotation(&tables.env)?.current().await? {
                let ids: Vec<_> = peppers.ids().collect();
                ui::line(format_args!("peppers  {}", ids.join(", ")));
            }
            if record.epoch.second() > 0 {
                let from = Timestamp::from_second(record.epoch.second())
                    .context("the epoch is out of range")?;
                ui::line(format_args!("sessions that began before {from} have ended"));
            }
            Ok(())
        }
        KeysCommand::EdgeSecret { digests, target } => {
            let tables = target.open(project).await?;
            let peppers = tables.secrets.pepper_rotation(&tables.env)?.current().await?;
            let peppers = peppers.context("there are no peppers yet")?;
            if digests {
                ui::line(peppers.edge_digests());
            } else {
                ui::line(peppers.edge_secret(SystemClock.now()).expose());
            }
            Ok(())
        }
        KeysCommand::Retire { kid, all, yes, target } => {
            let tables = target.open(project).await?;
            let rotation = tables.secrets.rotation(tables.keys, &tables.env)?;
            if rotation.resume().await? {
                ui::line("completed an interrupted rotation. Published keys:");
                show(&rotation.record().await?.keys);
            }
            let record = rotation.record().await?;
            let plan = match kid {
                Some(kid) if record.key(&kid).is_some() => Plan::Revoke(kid),
                Some(kid) => {
                    bail!("unknown or revoked key {kid}: cargo xtask keys list shows the keys")
                }
                None if all => Plan::RevokeAll,
                None => bail!("name a key, or use --all"),
            };
            show(&record.keys);
            if !yes {
                ui::line(COST);
                ui::confirm(if all { "Revoke all keys?" } else { "Revoke the key?" })?;
            }
            rotation.perform(&plan).await?;
            ui::line("revoked. Published keys:");
            show(&rotation.record().await?.keys);
            Ok(())
        }
    }
}

/// The consequences of a revocation, shown before it happens.
const COST: &str = "\
Every access token signed with a revoked key is refused. This API refuses it within 5 minutes, because functions
cache the keys for that long. Other verifiers refuse it once they reload the key set, after 15 minutes at most.
Both periods are 5 minutes longer while functions cannot read the keys' table.
Sessions continue; their clients have to refresh. For up to a minute, functions still sign with the old key,
and those tokens are refused too. If the new key has not been published before (with --all), other verifiers
may refuse valid tokens for up to 15 minutes.";

fn show(keys: &[PublishedKey]) {
    let row = |key: &PublishedKey| {
        let algorithm = key.jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
        let until = key.not_after.map(|until| format!("until {}", second(until)));
        [
            key.kid().to_owned(),
            algorithm.unwrap_or_default(),
            key.state.as_str().to_owned(),
            format!("public since {}", second(key.published_at)),
            until.unwrap_or_default(),
        ]
    };
    for line in ui::columns(&keys.iter().map(row).collect::<Vec<_>>()) {
        ui::line(line);
    }
}

fn second(time: Timestamp) -> String {
    time.strftime("%FT%TZ").to_string()
}
