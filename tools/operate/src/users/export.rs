//! `cargo xtask users export`: writes all accounts to a file.
//!
//! The file gets its name only when it is complete. Until then, `.partial` is appended to the name. An interrupted
//! export continues after the last account in that file.

use std::fs::{File, OpenOptions, Permissions, rename};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use identity::Account;
use migrate::{Record, RecordPassword, count_lines};
use store::{ScanPosition, Transfers, WholeAccount};
use template::project::Project;
use template::ui;

use super::pace::{Pace, patiently};
use super::progress::Progress;
use crate::target::Target;

/// The maximum number of items that one request reads. DynamoDB also limits a page to one megabyte.
const PAGE: u32 = 1_000;

/// The maximum length of a line, in bytes.
const LINE_BYTES: u64 = 1024 * 1024;

/// The options of `users export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArguments {
    /// File to write, which must not exist yet. It contains password hashes, so only its owner can read it
    file: PathBuf,

    /// Number of table items to read per second [default: no limit]
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,

    #[command(flatten)]
    target: Target,
}

/// Runs the command.
///
/// # Errors
/// When the table cannot be read or the file cannot be written. The message is one line.
pub(super) async fn run(project: &Project, arguments: ExportArguments) -> anyhow::Result<()> {
    let ExportArguments { file, rate, target } = arguments;
    let shown = file.display();
    if file.try_exists().unwrap_or(true) {
        bail!("{shown} exists: choose another name, or delete it");
    }
    let mut partial = file.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let tables = target.open(project).await?;
    let transfers = Transfers::new(&tables.users, tables.client.clone());
    let (mut output, last) =
        continued(&partial).with_context(|| format!("cannot write to {}", partial.display()))?;
    let mut from = None;
    if let Some(last) = last {
        let existing = transfers.existing(&[last.id]).await?;
        if existing.get(&last.id).is_none_or(|account| account.username != last.username) {
            bail!(
                "{} ends with an account that does not exist in this table: delete the file to \
                 begin again",
                partial.display()
            );
        }
        ui::note(format_args!("continuing the export in {}", partial.display()));
        from = Some(ScanPosition::after(last.id));
    }
    let mut pace = Pace::new(rate);
    let items = rate.map_or(PAGE, |rate| rate.get().min(PAGE));
    let limit = i32::try_from(items).unwrap_or(i32::MAX);
    let mut progress = Progress::new(transfers.size().await?, "items");
    loop {
        pace.wait(items).await;
        let read = patiently(async || transfers.page(from.clone(), limit).await).await;
        let read = read.context("the export stopped: run the same command again to continue")?;
        for whole in read.accounts {
            writeln!(output, "{}", record(whole).to_line())?;
        }
        progress.advance(read.examined);
        from = read.next;
        if from.is_none() {
            break;
        }
    }
    drop(progress);
    let file_on_disk = output.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file_on_disk.sync_all()?;
    rename(&partial, &file).with_context(|| format!("cannot create {shown}"))?;
    let count = count_lines(&file)?;
    ui::line(format_args!("{shown} contains {count} accounts with their password hashes"));
    Ok(())
}

/// Opens the file at its end, and returns the last account in it. Removes an incomplete last line.
fn continued(path: &Path) -> anyhow::Result<(BufWriter<File>, Option<Account>)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    // The file may already exist. If another user owns it, this call fails, because that user could read the hashes.
    file.set_permissions(Permissions::from_mode(0o600))?;
    if file.try_lock().is_err() {
        bail!("another export is writing to it");
    }
    let length = file.metadata()?.len();
    // Read enough for two lines: the last complete one, and an incomplete one after it.
    let start = length.saturating_sub(2 * LINE_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let complete = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    end.truncate(complete);
    let kept = start + u64::try_from(complete)?;
    file.set_len(kept)?;
    file.seek(SeekFrom::Start(kept))?;
    let last = match end.strip_suffix(b"\n") {
        None => None,
        Some(lines) => {
            let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or(lines);
            let record = Record::parse(line).context("its last line is not an account")?;
            Some(record.account)
        }
    };
    Ok((BufWriter::new(file), last))
}

fn record(WholeAccount { account, password }: WholeAccount) -> Record {
    let password = password
        .map(|password| RecordPassword { hash: password.hash, set_in: password.set_in.epoch() });
    Record { account, password }
}
