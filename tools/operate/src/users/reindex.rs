//! Corrects the list entries of accounts that versions without lists created or changed, adds missing pointers to codes,
//! and completes deletions that were not completed.

use futures_util::{StreamExt, TryStreamExt, stream};
use identity::Account;
use store::{Deletions, PermanentCode, Reindexing};
use template::ui;

use super::delete;
use super::pace::patiently;
use crate::tables::Tables;

/// The number of accounts or codes that are written at once.
const CONCURRENT: usize = 16;

/// Adds every account to its lists, adds every code that never expires to its account, and deletes what remains of
/// deleted accounts. Running this again changes nothing.
pub(super) async fn run(tables: &Tables) -> anyhow::Result<()> {
    let reindexing = Reindexing::new(&tables.users, tables.client.clone());
    let deletions = Deletions::new(&tables.users, tables.client.clone());
    let super_admins = patiently(async || reindexing.super_admins().await).await;
    let super_admins = super_admins.map_err(anyhow::Error::new)?;
    let (mut position, mut indexed, mut skipped) = (None, 0_u64, 0_u64);
    let (mut completed, mut incomplete, mut unreadable) = (0_u64, 0_u64, 0);
    loop {
        let found = patiently(async || reindexing.scan(position.clone()).await).await;
        let found = found.map_err(anyhow::Error::new)?;
        let index = async |account: Account| {
            patiently(async || reindexing.index(&account, &super_admins).await).await
        };
        let outcomes = stream::iter(found.accounts).map(index).buffer_unordered(CONCURRENT);
        let outcomes: Vec<bool> = outcomes.try_collect().await.map_err(anyhow::Error::new)?;
        for is_indexed in outcomes {
            if is_indexed { indexed += 1 } else { skipped += 1 }
        }
        let link =
            async |code: PermanentCode| patiently(async || reindexing.link(code).await).await;
        let links = stream::iter(found.codes).map(link).buffer_unordered(CONCURRENT);
        links.try_collect::<()>().await.map_err(anyhow::Error::new)?;
        for id in found.deleted {
            match delete::sweep(&deletions, id).await {
                Ok(()) => completed += 1,
                Err(error) => {
                    ui::note(format_args!("{id}: {error}"));
                    incomplete += 1;
                }
            }
        }
        unreadable += found.unreadable;
        position = found.next;
        if position.is_none() {
            break;
        }
        ui::note(format_args!("{indexed} accounts are listed"));
    }
    patiently(async || reindexing.forget_deleted().await).await.map_err(anyhow::Error::new)?;
    ui::line(format_args!("{indexed} accounts are listed"));
    if completed > 0 {
        ui::line(format_args!("interrupted deletions completed: {completed}"));
    }
    if incomplete > 0 {
        anyhow::bail!("{incomplete} deletions of accounts could not be completed");
    }
    if unreadable > 0 {
        anyhow::bail!(
            "{unreadable} accounts or codes cannot be read: a newer version may have written them"
        );
    }
    if skipped > 0 {
        anyhow::bail!("{skipped} accounts changed concurrently: run the command again");
    }
    Ok(())
}
