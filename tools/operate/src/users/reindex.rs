//! Corrects the lists of accounts after an update from a version that did not maintain them.

use futures_util::{StreamExt, TryStreamExt, stream};
use identity::Account;
use store::{Reindexing, StoreError};
use template::ui;

use crate::tables::Tables;

/// The number of accounts that are written at once.
const CONCURRENT: usize = 16;

/// Adds every account to its lists. Running this again changes nothing.
pub(super) async fn run(tables: &Tables) -> anyhow::Result<()> {
    let reindexing = Reindexing::new(&tables.users, tables.client.clone());
    let (mut position, mut indexed, mut skipped) = (None, 0_u64, 0_u64);
    loop {
        let scanned = reindexing.scan(position).await.map_err(anyhow::Error::new)?;
        let index = async |account: Account| reindexing.index(&account).await;
        let outcomes: Vec<bool> = stream::iter(scanned.accounts)
            .map(index)
            .buffer_unordered(CONCURRENT)
            .try_collect()
            .await
            .map_err(|error: StoreError| anyhow::Error::new(error))?;
        for is_indexed in outcomes {
            if is_indexed { indexed += 1 } else { skipped += 1 }
        }
        position = scanned.next;
        if position.is_none() {
            break;
        }
        ui::note(format_args!("{indexed} accounts are listed"));
    }
    ui::line(format_args!("{indexed} accounts are listed"));
    if skipped > 0 {
        anyhow::bail!("{skipped} accounts changed concurrently: run the command again");
    }
    Ok(())
}
