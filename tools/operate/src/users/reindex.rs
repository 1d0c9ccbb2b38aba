//! Corrects the list entries of accounts that versions without lists created or changed, and adds missing pointers to
//! codes.

use futures_util::{StreamExt, TryStreamExt, stream};
use identity::Account;
use store::{PermanentCode, Reindexing};
use template::ui;

use super::pace::patiently;
use crate::tables::Tables;

/// The number of accounts or codes that are written at once.
const CONCURRENT: usize = 16;

/// Adds every account to its lists, and every code that never expires to its account. Running this again changes
/// nothing.
pub(super) async fn run(tables: &Tables) -> anyhow::Result<()> {
    let reindexing = Reindexing::new(&tables.users, tables.client.clone());
    let super_admins = reindexing.super_admins().await.map_err(anyhow::Error::new)?;
    let (mut position, mut indexed, mut skipped) = (None, 0_u64, 0_u64);
    loop {
        let found = reindexing.scan(position).await.map_err(anyhow::Error::new)?;
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
        position = found.next;
        if position.is_none() {
            break;
        }
        ui::note(format_args!("{indexed} accounts are listed"));
    }
    patiently(async || reindexing.forget_deleted().await).await.map_err(anyhow::Error::new)?;
    ui::line(format_args!("{indexed} accounts are listed"));
    if skipped > 0 {
        anyhow::bail!("{skipped} accounts changed concurrently: run the command again");
    }
    Ok(())
}
