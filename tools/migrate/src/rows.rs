//! Reads a table in CSV (RFC 4180) row by row.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord};

use crate::{Conversion, Entry, ForeignUser, ReadError, Reason};

/// A table cannot be read because of its first row.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A required column is absent.
    #[error("there is no column {missing}: the columns are {}", .found.join(", "))]
    Column {
        /// The required column.
        missing: String,
        /// The existing columns.
        found: Vec<String>,
    },
    /// The first row is not valid UTF-8.
    #[error("the first row must name the columns")]
    Header,
}

/// The rows of a table whose first row names the columns.
pub(crate) struct Rows {
    reader: Reader<File>,
    columns: HashMap<String, usize>,
}

/// A row, whose fields are found by the names of their columns.
pub(crate) struct Row<'a> {
    columns: &'a HashMap<String, usize>,
    fields: &'a StringRecord,
}

impl Rows {
    /// Opens a table that must have the `required` columns.
    ///
    /// # Errors
    /// When the file cannot be read or lacks a column.
    pub(crate) fn open(path: &Path, required: &[&str]) -> Result<Self, ReadError> {
        let mut reader = ReaderBuilder::new().from_reader(File::open(path)?);
        let header = reader
            .headers()
            .map_err(|error| failure(error).unwrap_or(TableError::Header.into()))?;
        let names: Vec<_> = header
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        for column in required {
            if !names.iter().any(|name| name == column) {
                let missing = (*column).to_owned();
                return Err(TableError::Column { missing, found: names }.into());
            }
        }
        let columns = names.into_iter().enumerate().map(|(at, name)| (name, at)).collect();
        Ok(Self { reader, columns })
    }

    /// Reads an account from each row.
    pub(crate) fn map(
        mut self,
        conversion: Conversion,
        read: fn(&Row<'_>, &Conversion) -> Result<ForeignUser, Reason>,
    ) -> impl Iterator<Item = Result<Entry, ReadError>> + Send {
        let mut fields = StringRecord::new();
        std::iter::from_fn(move || {
            let line = self.reader.position().line();
            match self.reader.read_record(&mut fields) {
                Ok(false) => None,
                Ok(true) => {
                    let line = fields.position().map_or(line, csv::Position::line);
                    let row = Row { columns: &self.columns, fields: &fields };
                    let record = read(&row, &conversion).and_then(|user| conversion.record(user));
                    Some(Ok(Entry { line, record }))
                }
                Err(error) => {
                    let line = error.position().map_or(line, csv::Position::line);
                    Some(match failure(error) {
                        Some(error) => Err(error),
                        None => Ok(Entry { line, record: Err(Reason::Row) }),
                    })
                }
            }
        })
    }
}

/// The operating system's error, if one caused the failure.
fn failure(error: csv::Error) -> Option<ReadError> {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Some(error.into()),
        _ => None,
    }
}

impl Row<'_> {
    /// A field, unless it is empty or there is no such column.
    pub(crate) fn get(&self, column: &str) -> Option<&str> {
        let field = self.fields.get(*self.columns.get(column)?)?.trim();
        Some(field).filter(|field| !field.is_empty())
    }

    pub(crate) fn required(&self, column: &'static str) -> Result<&str, Reason> {
        self.get(column).ok_or(Reason::Missing(column))
    }

    /// A boolean field, in any of the forms that databases write.
    pub(crate) fn flag(&self, column: &'static str) -> Result<Option<bool>, Reason> {
        let Some(text) = self.get(column) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Ok(Some(true)),
            "false" | "f" | "0" => Ok(Some(false)),
            _ => Err(Reason::Invalid(column)),
        }
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Option<jiff::Timestamp>, Reason> {
        let time =
            self.get(column).map(|text| crate::parse_time(text).ok_or(Reason::Invalid(column)));
        time.transpose()
    }
}
