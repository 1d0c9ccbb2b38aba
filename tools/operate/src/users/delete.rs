//! Deletes accounts.

use anyhow::Context;
use deletion::AccountDeletion;
use events::Occasion;
use identity::{Account, UserId};
use process::SystemRandom;
use store::{ChangeError, Deletions, StoreError};
use template::ui;

use super::listing;
use super::pace::patiently;
use crate::admin;
use crate::tables::Tables;

/// Deletes the account with this id or username, and prints the receipt as the JSON that the routes return. If an
/// earlier deletion was interrupted, completes it.
pub(super) async fn run(tables: &Tables, user: &str, yes: bool) -> anyhow::Result<()> {
    let deletions = Deletions::new(&tables.users, tables.client.clone());
    if let Ok(id) = user.parse()
        && deletions.remains(id).await?.is_some()
    {
        sweep(&deletions, id).await.context("some sessions or events may remain")?;
        ui::line("the account was already deleted; the rest of its data is now deleted, too");
        return Ok(());
    }
    let account = listing::account(tables, user).await?;
    if !yes {
        admin::print(&admin::rows(&account, tables.clock.now()));
        ui::confirm("Delete this account and all of its data? This cannot be undone.")?;
    }
    let deletion = AccountDeletion::new(deletions.clone(), tables.env.settings()?);
    let peppers = tables.peppers().await?;
    let occasion = Occasion::of_operator(tables.clock.now(), &SystemRandom);
    let permit = |_: &Account| Ok::<_, ChangeError>(());
    let receipt = deletion.delete(account.id, &occasion, &peppers, None, permit).await?;
    ui::line(serde_json::to_string(&receipt)?);
    // A function leaves the remains of a large account to the mailer. Delete them here, because the mailer may not be
    // running.
    let swept = sweep(&deletions, account.id).await;
    swept.context(
        "the account is deleted, but some of its sessions or events may remain: run the command again with the \
         account's id",
    )
}

/// Deletes the remains of an account, if there are any.
pub(super) async fn sweep(deletions: &Deletions, id: UserId) -> Result<(), StoreError> {
    patiently(async || {
        let Some(remains) = deletions.remains(id).await? else { return Ok(()) };
        let mut budget = usize::MAX;
        deletions.sweep(&remains, &mut budget).await?;
        deletions.done(id).await
    })
    .await
}
