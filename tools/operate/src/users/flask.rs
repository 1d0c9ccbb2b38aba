//! Reads the users of a Flask application from its SQLite database, as Flask-SQLAlchemy writes it.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Context, bail};
use identity::{EmailStanding, Standing};
use migrate::{Conversion, Entries, Entry, ForeignUser, OldId, Reason, RoleNames, parse_time};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// The number of rows that one query reads.
const PAGE: usize = 500;

/// The options for other formats, which conflict with the options for Flask.
const OTHERS: [&str; 5] = ["file", "from_django", "from_cognito", "from_auth0", "from_supabase"];

/// The table of users and its columns.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Columns {
    /// Table of the users [default: user]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    table: Option<String>,
    /// Column of the id, which becomes an attribute of the account [default: id]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    id_column: Option<String>,
    /// Column of the username [default: username]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    username_column: Option<String>,
    /// Column of the email address [default: email, if there is one]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    email_column: Option<String>,
    /// Column of the password hash [default: `password_hash` or `password`]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    password_column: Option<String>,
    /// Column of the role, or of several roles separated by commas [default: none; every account has
    /// the role user]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    role_column: Option<String>,
    /// Column of the time of registration, in UTC [default: `created_at`, if there is one]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    created_column: Option<String>,
    /// Column that is false if the user may not sign in [default: `is_active` or `active`, if
    /// there is one]
    #[arg(long, conflicts_with_all = OTHERS, value_name = "NAME")]
    active_column: Option<String>,
}

impl Columns {
    /// Whether a column with roles is named.
    pub(super) fn has_roles(&self) -> bool {
        self.role_column.is_some()
    }
}

/// Opens a database and counts its users.
///
/// # Errors
/// When the file is not an SQLite database, or lacks the table or a column. The message is one line.
pub(super) fn open(
    path: &Path,
    columns: &Columns,
    conversion: Conversion,
) -> anyhow::Result<(Entries, u64)> {
    let shown = path.display();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .with_context(|| format!("cannot open the database {shown}"))?;
    let table = columns.table.as_deref().unwrap_or("user");
    let existing = names(&connection, "SELECT name FROM pragma_table_info(?1)", &[table])
        .with_context(|| format!("cannot read the database {shown}"))?;
    if existing.is_empty() {
        let query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
        let tables = names(&connection, query, &[])?;
        bail!("there is no table {table} in {shown}: the tables are {}", tables.join(", "));
    }
    let of = |given: &Option<String>, defaults: &[&str]| match given {
        Some(name) if existing.contains(name) => Ok(Some(name.clone())),
        Some(name) => bail!(
            "there is no column {name} in the table {table}: the columns are {}",
            existing.join(", ")
        ),
        None => {
            let default = defaults.iter().find(|name| existing.iter().any(|it| it == *name));
            Ok(default.map(|name| (*name).to_owned()))
        }
    };
    let required = |given: &Option<String>, defaults: &[&str], option: &str| {
        of(given, defaults)?.with_context(|| {
            format!(
                "the table {table} has no column {}: name it with {option}; the columns are {}",
                defaults.join(" or "),
                existing.join(", ")
            )
        })
    };
    let selected = [
        Some(required(&columns.id_column, &["id"], "--id-column")?),
        Some(required(&columns.username_column, &["username"], "--username-column")?),
        of(&columns.email_column, &["email"])?,
        Some(required(
            &columns.password_column,
            &["password_hash", "password"],
            "--password-column",
        )?),
        of(&columns.role_column, &[])?,
        of(&columns.created_column, &["created_at"])?,
        of(&columns.active_column, &["is_active", "active"])?,
    ];
    let table = quoted(table);
    let count: i64 =
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    let selected =
        selected.map(|column| column.map_or_else(|| "NULL".to_owned(), |name| quoted(&name)));
    // Each query is short, so a running application can write to the database.
    let query = format!(
        "SELECT rowid, {} FROM {table} WHERE rowid >= ?1 ORDER BY rowid LIMIT {PAGE}",
        selected.join(", ")
    );
    let rows = Rows { connection, query, from: Some(i64::MIN), read: VecDeque::new() };
    let entries = rows.map(move |row| {
        let row = row.map_err(|error| migrate::ReadError::Io(std::io::Error::other(error)))?;
        let line = row.number.unsigned_abs();
        let record = row.user().and_then(|user| conversion.record(user));
        Ok(Entry { line, record })
    });
    Ok((Box::new(entries), u64::try_from(count).unwrap_or(0)))
}

fn names(
    connection: &Connection,
    query: &str,
    parameters: &[&str],
) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get(0))?;
    rows.collect()
}

/// Quotes a name for SQL. The caller must check that the name exists, because SQLite treats an unknown one as a
/// string.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The rows of the table, a page at a time.
struct Rows {
    connection: Connection,
    query: String,
    /// The lowest possible number of the next row. `None` after the last row.
    from: Option<i64>,
    read: VecDeque<Row>,
}

/// A row: its number, and the selected columns.
struct Row {
    number: i64,
    values: [Value; 7],
}

impl Rows {
    fn page(&self, from: i64) -> rusqlite::Result<VecDeque<Row>> {
        let mut statement = self.connection.prepare_cached(&self.query)?;
        let rows = statement.query_map([from], |row| {
            let mut values = [const { Value::Null }; 7];
            for (at, value) in values.iter_mut().enumerate() {
                *value = row.get(at + 1)?;
            }
            Ok(Row { number: row.get(0)?, values })
        })?;
        rows.collect()
    }
}

impl Iterator for Rows {
    type Item = rusqlite::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if let (true, Some(from)) = (self.read.is_empty(), self.from) {
            match self.page(from) {
                Ok(rows) => self.read = rows,
                Err(error) => {
                    self.from = None;
                    return Some(Err(error));
                }
            }
            self.from = self.read.back().and_then(|row| row.number.checked_add(1));
        }
        self.read.pop_front().map(Ok)
    }
}

impl Row {
    fn user(self) -> Result<ForeignUser, Reason> {
        let [id, username, email, password, role, created_at, active] = self.values;
        let id = match id {
            Value::Integer(number) => OldId::Number(number),
            other => OldId::Text(text(other, "id")?.ok_or(Reason::Missing("id"))?),
        };
        let roles = text(role, "role")?.unwrap_or_default();
        let roles = roles.split(',').map(str::trim).filter(|role| !role.is_empty());
        let created_at = text(created_at, "created_at")?
            .map(|text| parse_time(&text).ok_or(Reason::Invalid("created_at")));
        Ok(ForeignUser {
            id,
            username: Some(text(username, "username")?.ok_or(Reason::Missing("username"))?),
            email: text(email, "email")?,
            email_standing: EmailStanding::Unverified,
            hash: text(password, "password_hash")?,
            roles: RoleNames::All(roles.map(str::to_owned).collect()),
            created_at: created_at.transpose()?,
            standing: match active {
                Value::Integer(0) => Standing::Disabled,
                Value::Null | Value::Integer(_) => Standing::Active,
                _ => return Err(Reason::Invalid("active")),
            },
        })
    }
}

/// The text of a value. Accepts a blob, because Flask-Bcrypt stores hashes as bytes.
fn text(value: Value, column: &'static str) -> Result<Option<String>, Reason> {
    let text = match value {
        Value::Null => None,
        Value::Text(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Blob(bytes) => Some(String::from_utf8(bytes).map_err(|_| Reason::Invalid(column))?),
        Value::Real(_) => return Err(Reason::Invalid(column)),
    };
    Ok(text.filter(|text| !text.is_empty()))
}
