//! Why an account cannot be imported.

use identity::{AttributesError, NameError};
use passwords::HashError;

use crate::record::FORMAT;

/// The reason why an account cannot be imported. It never repeats a username, an address or a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text is not a JSON object in UTF-8.
    #[error("the line is not a JSON object")]
    NotAnObject,
    /// The line is longer than any account.
    #[error("the line is longer than 1 MiB")]
    LineTooLong,
    /// The row of a table has too many or too few fields, or is not UTF-8.
    #[error("the row does not have the fields of the first row, or is not UTF-8")]
    Row,
    /// The line is in another format, or in another version of this one.
    #[error("the format is not {FORMAT}")]
    Format,
    /// A required member or column is absent or empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A member or column has the wrong type or an invalid form.
    #[error("{0} is invalid")]
    Invalid(&'static str),
    /// A member that this version does not know. Without it, the imported account would differ from the exported one.
    #[error("this version does not know the member {0:?}")]
    Unknown(String),
    /// The account has second factors.
    #[error("this version cannot import factors")]
    Factors,
    /// The username is invalid.
    #[error("the username {0}")]
    Username(NameError),
    /// The address is invalid.
    #[error("the email address {0}")]
    Email(NameError),
    /// The hash cannot be verified.
    #[error("{}", hash_reason(.0))]
    Hash(HashError),
    /// The role does not exist in Latchkey. The name is absent if it does not look like the name of a role.
    #[error("unknown role{}", role_advice(.0.as_deref()))]
    Role(Option<String>),
    /// The attributes are invalid.
    #[error("the attributes {0}")]
    Attributes(AttributesError),
    /// The owner could never sign in.
    #[error(
        "there is no password, and no confirmed email address with which the owner could set one"
    )]
    NoWayIn,
    /// The other system has marked the account as deleted.
    #[error("the account is marked as deleted")]
    Deleted,
}

impl Reason {
    /// The reason for refusing a role. Text that may be from the wrong column, such as a hash, is not repeated.
    pub(crate) fn role(name: &str) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        Self::Role((name.len() <= 32 && name.chars().all(is_plain)).then(|| name.to_owned()))
    }
}

fn role_advice(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| {
        format!(" {name}: state what it becomes, for example with --role {name}=user")
    })
}

fn hash_reason(error: &HashError) -> String {
    match error {
        HashError::Stored => "the format of the password hash is unknown".to_owned(),
        other => other.to_string(),
    }
}
