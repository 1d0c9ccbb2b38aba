//! `cargo xtask users import`: creates accounts from a file.
//!
//! The table is the only record of the imported accounts: an account whose id exists is not written again. So an
//! interrupted import continues when it runs again, on any machine, and there is no state file that could be lost or
//! out of date. For this purpose, an account from another system gets an id that is derived from its old id. Looking up
//! a hundred ids takes a few milliseconds, so a second run skips existing accounts much faster than the first run wrote
//! them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use events::Occasion;
use futures_util::stream::{self, StreamExt};
use identity::{Account, Role, UserId};
use migrate::{
    Addresses, Conversion, Csv, Entries, Entry, JsonLines, Record, SourceName, Unconfirmed,
    count_lines,
};
use peppers::Peppers;
use process::{Clock, SystemRandom};
use store::{
    AddressClaim, Arrival, PasswordEpoch, StoreError, Transfers, WholeAccount, WholePassword,
};
use template::project::Project;
use template::ui;

use super::flask::{self, Columns};
use super::pace::{Pace, patiently};
use super::progress::Progress;
use crate::target::{IfMissing, Location, Target};

/// The number of accounts that are looked up together.
const BATCH: usize = 100;

/// The number of concurrent transactions.
const CONCURRENT: usize = 16;

/// The number of accounts written to a deployed stack per second, unless the operator sets a rate. An account costs
/// about 20 write units, so this is half of what a new on-demand table accepts.
const STACK_RATE: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// The options of `users import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArguments {
    #[command(flatten)]
    origin: Origin,

    #[command(flatten)]
    columns: Columns,

    /// Name of the other system. Users of different sources are different users, even if their ids are
    /// equal. The old id becomes the attribute `NAME_id` [default: flask, django, cognito, auth0 or
    /// supabase]
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    source: Option<SourceName>,

    /// Role that replaces a role of the other system: in Django, staff or superuser; in Cognito, a name in the column
    /// groups; in Auth0, a name in `app_metadata.roles`
    #[arg(long = "role", value_name = "OLD=NEW", value_parser = equivalent, conflicts_with = "file")]
    roles: Vec<(String, Role)>,

    /// Treat all email addresses as confirmed, because the other system required confirmation
    #[arg(long, conflicts_with = "file")]
    emails_confirmed: bool,

    /// Check the file against the table without writing any accounts
    #[arg(long)]
    dry_run: bool,

    /// Number of accounts to write per second [default: 100 for a stack, otherwise no limit]
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,

    #[command(flatten)]
    target: Target,
}

/// The file to import and its format.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Origin {
    /// File that `users export` has written
    file: Option<PathBuf>,

    /// SQLite database of a Flask application
    #[arg(long, value_name = "FILE")]
    from_flask: Option<PathBuf>,

    /// Output of Django's `manage.py dumpdata auth.user --format jsonl`
    #[arg(long, value_name = "FILE")]
    from_django: Option<PathBuf>,

    /// CSV of Amazon Cognito's users, who must then set a password by email
    #[arg(long, value_name = "FILE")]
    from_cognito: Option<PathBuf>,

    /// Auth0's export of users or password hashes, as lines of JSON
    #[arg(long, value_name = "FILE")]
    from_auth0: Option<PathBuf>,

    /// CSV of Supabase's table auth.users
    #[arg(long, value_name = "FILE")]
    from_supabase: Option<PathBuf>,
}

/// The format of a file.
#[derive(Clone, Copy, Debug)]
enum Format {
    Latchkey,
    Flask,
    JsonLines(JsonLines),
    Csv(Csv),
}

impl Origin {
    /// The file, its format, and the default name of the source.
    fn chosen(&self) -> Option<(&Path, Format, &'static str)> {
        let chosen = [
            (&self.file, Format::Latchkey, "latchkey"),
            (&self.from_flask, Format::Flask, "flask"),
            (&self.from_django, Format::JsonLines(JsonLines::Django), "django"),
            (&self.from_cognito, Format::Csv(Csv::Cognito), "cognito"),
            (&self.from_auth0, Format::JsonLines(JsonLines::Auth0), "auth0"),
            (&self.from_supabase, Format::Csv(Csv::Supabase), "supabase"),
        ];
        let mut chosen = chosen.into_iter();
        chosen.find_map(|(path, format, source)| Some((path.as_deref()?, format, source)))
    }
}

/// Parses `OLD=NEW`.
fn equivalent(text: &str) -> Result<(String, Role), String> {
    let (old, new) = text.split_once('=').ok_or("expected OLD=NEW, such as staff=admin")?;
    Ok((old.to_owned(), new.parse().map_err(|error: identity::RoleError| error.to_string())?))
}

/// Runs the command.
///
/// # Errors
/// When the import cannot begin or continue, or accounts were refused. The message is one line.
pub(super) async fn run(project: &Project, arguments: ImportArguments) -> anyhow::Result<()> {
    let (path, format, source) = arguments.origin.chosen().context("name a file to import")?;
    let shown = path.display();
    if matches!(format, Format::Flask)
        && !arguments.roles.is_empty()
        && !arguments.columns.has_roles()
    {
        bail!("--role replaces the roles of a column: name the column with --role-column");
    }
    // If the file cannot be read, fail before a database is created.
    File::open(path)
        .map_err(|error| anyhow::anyhow!("cannot read {shown}: {}", ui::reason(&error)))?;
    let location = arguments.target.find(project, IfMissing::CreateDefault).await?;
    let rate = arguments.rate.or(matches!(location, Location::Deployed(_)).then_some(STACK_RATE));
    let claim = location.settings().read(AddressClaim::read)?;
    let tables = location.open(project).await?;
    let conversion = Conversion {
        source: match &arguments.source {
            Some(source) => source.clone(),
            None => source.parse()?,
        },
        roles: arguments.roles.iter().cloned().collect::<BTreeMap<_, _>>(),
        addresses: if arguments.emails_confirmed {
            Addresses::Confirmed
        } else {
            Addresses::AsStated
        },
        unconfirmed: match claim {
            AddressClaim::AtOnce => Unconfirmed::Claimed,
            AddressClaim::OnceVerified => Unconfirmed::Pending,
        },
        now: tables.clock.now(),
    };
    let (entries, total) = open(path, format, &arguments.columns, conversion)
        .with_context(|| format!("cannot import {shown}"))?;
    ui::note(format_args!("importing {total} accounts from {shown}"));
    let import = Import {
        peppers: Arc::new(tables.peppers().await?),
        clock: Arc::clone(&tables.clock),
        transfers: Transfers::new(&tables.users, tables.client.clone()),
        mode: if arguments.dry_run { Mode::Dry(Seen::default()) } else { Mode::Write },
        pace: Pace::new(rate),
        progress: Progress::new(total, "accounts"),
        tally: Tally::default(),
        unit: if matches!(format, Format::Flask) { "row" } else { "line" },
    };
    import.all(entries).await
}

/// Opens a file and estimates how many accounts it contains.
fn open(
    path: &Path,
    format: Format,
    columns: &Columns,
    conversion: Conversion,
) -> anyhow::Result<(Entries, u64)> {
    Ok(match format {
        Format::Flask => flask::open(path, columns, conversion)?,
        Format::Latchkey => (migrate::latchkey(path)?, count_lines(path)?),
        Format::JsonLines(lines) => {
            (migrate::json_lines(path, lines, conversion)?, count_lines(path)?)
        }
        // The first line names the columns.
        Format::Csv(csv) => {
            (migrate::csv(path, csv, conversion)?, count_lines(path)?.saturating_sub(1))
        }
    })
}

/// Whether to write the accounts or only check them.
enum Mode {
    Write,
    /// Only check. Remembers the accounts that would be imported, to find conflicts within the file.
    Dry(Seen),
}

/// The ids and names in a file, as 64-bit hashes: a dry run of ten million accounts needs half a gigabyte.
#[derive(Default)]
struct Seen {
    /// The username of each id.
    ids: HashMap<u64, u64>,
    usernames: HashSet<u64>,
    addresses: HashSet<u64>,
}

impl Seen {
    /// Records the id and the names of an account. Returns what importing it would do, given the earlier accounts.
    fn add(&mut self, account: &Account) -> Outcome {
        let username = digest(account.username.canonical());
        let address = account.email.as_ref().map(|email| digest(email.canonical()));
        match self.ids.get(&digest(&account.id)) {
            Some(earlier) if *earlier == username => return Outcome::Present,
            Some(_) => return Outcome::Refused(ID_TAKEN),
            None => {}
        }
        if self.usernames.contains(&username) {
            return Outcome::Refused(USERNAME_TAKEN);
        }
        if address.is_some_and(|address| !self.addresses.insert(address)) {
            return Outcome::Refused(EMAIL_TAKEN);
        }
        self.usernames.insert(username);
        self.ids.insert(digest(&account.id), username);
        Outcome::Imported
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The number of accounts with each outcome.
#[derive(Default)]
struct Tally {
    imported: u64,
    present: u64,
    refused: u64,
}

/// What happened to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Imported,
    /// An earlier import has created it.
    Present,
    Refused(&'static str),
}

const ID_TAKEN: &str = "an account with this id has another username: if that account comes \
    from another system, name the system of this import with --source";
const USERNAME_TAKEN: &str = "the username is taken";
const EMAIL_TAKEN: &str = "another account uses the email address";

/// The outcome for an account whose id is already in the table.
fn of_existing(record: &Record, existing: &Account) -> Outcome {
    if existing.username.canonical() == record.account.username.canonical() {
        Outcome::Present
    } else {
        Outcome::Refused(ID_TAKEN)
    }
}

struct Import {
    peppers: Arc<Peppers>,
    clock: Arc<dyn Clock>,
    transfers: Transfers,
    mode: Mode,
    pace: Pace,
    progress: Progress,
    tally: Tally,
    unit: &'static str,
}

impl Import {
    async fn all(mut self, mut entries: Entries) -> anyhow::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            while batch.len() < BATCH {
                match entries.next().transpose().context("the import stopped")? {
                    None => break,
                    Some(Entry { line, record: Ok(record) }) => batch.push((line, record)),
                    Some(Entry { line, record: Err(reason) }) => self.refuse(line, &reason),
                }
            }
            if batch.is_empty() {
                break;
            }
            let outcome = self.batch(batch).await;
            batch = outcome.with_context(|| {
                format!(
                    "the import stopped after {} new accounts: run the same command again to \
                     continue",
                    self.tally.imported
                )
            })?;
        }
        let Self { tally: Tally { imported, present, refused }, mode, unit, progress, .. } = self;
        drop(progress);
        let verb = if matches!(mode, Mode::Write) { "imported" } else { "can be imported" };
        ui::line(format_args!("{imported} {verb}, {present} already present, {refused} refused"));
        if refused > 0 {
            bail!("{refused} {unit}s were refused: the output above lists them");
        }
        Ok(())
    }

    /// Imports the accounts of a batch. Returns the accounts that share an id, a username or an address with an earlier
    /// one in the batch. The caller moves them to the next batch, so that they are written in the order of the file.
    async fn batch(&mut self, batch: Vec<(u64, Record)>) -> Result<Vec<(u64, Record)>, StoreError> {
        let (mut names, mut now, mut later) = (HashSet::new(), Vec::new(), Vec::new());
        for (line, record) in batch {
            let Account { id, username, email, .. } = &record.account;
            let keys = [
                Some(format!("id {id}")),
                Some(format!("username {}", username.canonical().as_str())),
                email.as_ref().map(|email| format!("address {}", email.canonical().as_str())),
            ];
            let keys: Vec<_> = keys.into_iter().flatten().collect();
            if keys.iter().any(|key| names.contains(key)) {
                later.push((line, record));
            } else {
                names.extend(keys);
                now.push((line, record));
            }
        }
        let ids: Vec<_> = now.iter().map(|(_, record)| record.account.id).collect();
        let existing = patiently(async || self.transfers.existing(&ids).await).await?;
        let mut new = Vec::new();
        for (line, record) in now {
            match existing.get(&record.account.id) {
                Some(account) => self.count(line, of_existing(&record, account)),
                None => new.push((line, record)),
            }
        }
        if matches!(self.mode, Mode::Dry(_)) {
            self.check(new).await?;
        } else {
            self.write(new).await?;
        }
        Ok(later)
    }

    async fn check(&mut self, new: Vec<(u64, Record)>) -> Result<(), StoreError> {
        let accounts: Vec<_> = new.iter().map(|(_, record)| &record.account).collect();
        let conflicts: HashMap<UserId, Arrival> =
            patiently(async || self.transfers.conflicts(&accounts).await).await?;
        for (line, record) in &new {
            let outcome = match (conflicts.get(&record.account.id), &mut self.mode) {
                (Some(Arrival::UsernameTaken), _) => Outcome::Refused(USERNAME_TAKEN),
                (Some(Arrival::EmailTaken), _) => Outcome::Refused(EMAIL_TAKEN),
                // The account was created after its id was looked up.
                (Some(Arrival::IdTaken), _) => Outcome::Present,
                (_, Mode::Dry(seen)) => seen.add(&record.account),
                (_, Mode::Write) => Outcome::Imported,
            };
            self.count(*line, outcome);
        }
        Ok(())
    }

    async fn write(&mut self, new: Vec<(u64, Record)>) -> Result<(), StoreError> {
        let Self { peppers, clock, transfers, pace, .. } = &mut *self;
        let writes = new.into_iter().map(|(line, record)| {
            let (at, transfers) = (pace.reserve(1), transfers.clone());
            let (peppers, clock) = (Arc::clone(peppers), Arc::clone(clock));
            async move {
                tokio::time::sleep_until(at).await;
                Ok::<_, StoreError>((line, create(&transfers, record, &peppers, &*clock).await?))
            }
        });
        // Every write is awaited, even after one has failed, so that the tally is right.
        let writes: Vec<_> = writes.collect();
        let mut outcomes = stream::iter(writes).buffered(CONCURRENT);
        let mut failure = None;
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok((line, outcome)) => self.count(line, outcome),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn count(&mut self, line: u64, outcome: Outcome) {
        match outcome {
            Outcome::Imported => self.tally.imported += 1,
            Outcome::Present => self.tally.present += 1,
            Outcome::Refused(reason) => return self.refuse(line, &reason),
        }
        self.progress.advance(1);
    }

    fn refuse(&mut self, line: u64, reason: &dyn std::fmt::Display) {
        self.tally.refused += 1;
        self.progress.print(&format!("{} {line}: {reason}", self.unit));
        self.progress.advance(1);
    }
}

/// Creates an account.
async fn create(
    transfers: &Transfers,
    record: Record,
    peppers: &Peppers,
    clock: &dyn Clock,
) -> Result<Outcome, StoreError> {
    let whole = whole(record.clone());
    let arrival = patiently(async || {
        let occasion = Occasion::of_operator(clock.now(), &SystemRandom);
        transfers.create(&whole, peppers, &occasion).await
    });
    let arrival = arrival.await?;
    Ok(match arrival {
        Arrival::Created => Outcome::Imported,
        Arrival::UsernameTaken => Outcome::Refused(USERNAME_TAKEN),
        Arrival::EmailTaken => Outcome::Refused(EMAIL_TAKEN),
        // Another import may have created the account, or an earlier attempt may have succeeded without a response.
        Arrival::IdTaken => {
            let id = record.account.id;
            let existing = patiently(async || transfers.existing(&[id]).await).await?;
            existing.get(&id).map_or(Outcome::Refused(ID_TAKEN), |it| of_existing(&record, it))
        }
    })
}

fn whole(Record { account, password }: Record) -> WholeAccount {
    let password = password.map(|password| WholePassword {
        hash: password.hash,
        set_in: password.set_in.map_or_else(PasswordEpoch::default, PasswordEpoch::of),
    });
    WholeAccount { account, password }
}
