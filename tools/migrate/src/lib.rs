//! The formats in which accounts move between systems.
//!
//! [`Record`] is Latchkey's own format: one account per line, with its password hash. The other formats can
//! be read, but not written: they yield [`ForeignUser`]s, which [`Conversion`] turns into records. Every reader streams
//! its file, so memory does not grow with the number of accounts. An [`Entry`] that cannot be imported has a [`Reason`], which
//! never repeats a hash or an address.

mod auth0;
mod cognito;
mod django;
mod foreign;
mod lines;
mod members;
mod reason;
mod record;
mod rows;
mod supabase;
mod time;

pub use foreign::{Addresses, Conversion, ForeignUser, OldId, RoleNames, SourceName, Unconfirmed};
pub use lines::{Lines, count_lines};
pub use reason::Reason;
pub use record::{FORMAT, Record, RecordPassword};
pub use rows::TableError;
pub use time::parse_time;

/// An account in a file, or the reason why it cannot be imported.
#[derive(Debug)]
pub struct Entry {
    /// The number of its line or row, counted from 1.
    pub line: u64,
    /// The account.
    pub record: Result<Record, Reason>,
}

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system reported an error.
    #[error("cannot read the file")]
    Io(#[from] std::io::Error),
    /// The table lacks a column.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The accounts of a file, one after another.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, ReadError>> + Send>;

/// Another system's format with one JSON object per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonLines {
    /// The output of Django's `manage.py dumpdata auth.user --format jsonl`.
    Django,
    /// Auth0's export of users or of password hashes.
    Auth0,
}

/// Another system's CSV format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Csv {
    /// The CSV of Amazon Cognito's import jobs.
    Cognito,
    /// The table `auth.users` of Supabase.
    Supabase,
}

/// Reads accounts in Latchkey's own format.
///
/// # Errors
/// When the file cannot be opened.
pub fn latchkey(path: &std::path::Path) -> Result<Entries, ReadError> {
    let lines = Lines::open(path)?;
    Ok(Box::new(lines.map(|line| {
        let (line, text) = line?;
        Ok(Entry { line, record: text.and_then(|text| Record::parse(&text)) })
    })))
}

/// Reads users of another system from lines of JSON.
///
/// # Errors
/// When the file cannot be opened.
pub fn json_lines(
    path: &std::path::Path,
    format: JsonLines,
    conversion: Conversion,
) -> Result<Entries, ReadError> {
    let read = match format {
        JsonLines::Django => django::user,
        JsonLines::Auth0 => auth0::user,
    };
    let lines = Lines::open(path)?;
    Ok(Box::new(lines.map(move |line| {
        let (line, text) = line?;
        let record = text.and_then(|text| read(&text)).and_then(|user| conversion.record(user));
        Ok(Entry { line, record })
    })))
}

/// Reads users of another system from a CSV file whose first row names the columns.
///
/// # Errors
/// When the file cannot be opened or lacks a required column.
pub fn csv(
    path: &std::path::Path,
    format: Csv,
    conversion: Conversion,
) -> Result<Entries, ReadError> {
    let (required, read): (&[&'static str], fn(&rows::Row<'_>, &Conversion) -> _) = match format {
        Csv::Cognito => (&cognito::REQUIRED, cognito::user),
        Csv::Supabase => (&supabase::REQUIRED, supabase::user),
    };
    let rows = rows::Rows::open(path, required)?;
    Ok(Box::new(rows.map(conversion, read)))
}
