//! Latchkey's own format: one account per line, as a JSON object.

use identity::{
    Account, Attributes, Email, EmailStanding, Revision, Role, Roles, SessionEpoch, Standing,
    StoredHash, UserId, Username,
};
use jiff::Timestamp;
use passwords::PasswordHash;
use serde::Serialize;
use serde_json::Value;

use crate::Reason;
use crate::members::Members;

/// The name and version of the format. Every line states them, so files can be split and joined.
pub const FORMAT: &str = "latchkey-account/1";

/// An account with its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The account. A line does not contain its revision.
    pub account: Account,
    /// The password. `None` if the owner has to set one by email.
    pub password: Option<RecordPassword>,
}

/// A password in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPassword {
    /// The hash.
    pub hash: StoredHash,
    /// The account's epoch when the password was set. `None` for a password that an old version of Latchkey set.
    pub set_in: Option<SessionEpoch>,
}

/// The members of a line, in order. They must not change within a version.
#[derive(Serialize)]
struct Line<'a> {
    format: &'static str,
    id: UserId,
    username: &'a Username,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a Email>,
    email_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_email: Option<&'a Email>,
    roles: &'a Roles,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_login_at: Option<Timestamp>,
    disabled: bool,
    ver: SessionEpoch,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: &'a Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<PasswordMember<'a>>,
}

#[derive(Serialize)]
struct PasswordMember<'a> {
    hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ver: Option<SessionEpoch>,
}

impl Record {
    /// Parses a line. Refuses a member that this version does not know, because the imported account would differ from
    /// the exported one: it might lack a second factor, for example.
    ///
    /// # Errors
    /// When the line is not an account in this version of the format, or its password hash cannot be verified.
    pub fn parse(line: &[u8]) -> Result<Self, Reason> {
        let mut members = Members::parse(line)?;
        if members.required::<String>("format")? != FORMAT {
            return Err(Reason::Format);
        }
        let roles: Vec<String> = members.required("roles")?;
        let role = |name: &String| name.parse::<Role>().map_err(|_| Reason::role(name));
        let attributes = members.take::<Value>("attributes")?.map(Attributes::try_from);
        let account = Account {
            id: members.required("id")?,
            username: Username::parse(&members.required::<String>("username")?)
                .map_err(Reason::Username)?,
            email: email(&mut members, "email")?,
            email_standing: if members.required("email_verified")? {
                EmailStanding::Verified
            } else {
                EmailStanding::Unverified
            },
            pending_email: email(&mut members, "pending_email")?,
            roles: roles.iter().map(role).collect::<Result<_, _>>()?,
            created_at: members.required("created_at")?,
            last_login_at: members.take("last_login_at")?,
            standing: if members.required("disabled")? {
                Standing::Disabled
            } else {
                Standing::Active
            },
            epoch: epoch(members.required("ver")?)?,
            attributes: attributes.transpose().map_err(Reason::Attributes)?.unwrap_or_default(),
            revision: Revision::FIRST,
        };
        let password = members.object("password")?.map(password).transpose()?;
        // A later version will export the account's second factors here.
        if members.take::<Vec<Value>>("factors")?.is_some_and(|factors| !factors.is_empty()) {
            return Err(Reason::Factors);
        }
        members.end()?;
        Ok(Self { account, password })
    }

    /// Writes the account as a line, without the line break. The same account is always written as the same bytes.
    #[must_use]
    pub fn to_line(&self) -> String {
        let Self { account, password } = self;
        let password = password
            .as_ref()
            .map(|password| PasswordMember { hash: password.hash.expose(), ver: password.set_in });
        let line = Line {
            format: FORMAT,
            id: account.id,
            username: &account.username,
            email: account.email.as_ref(),
            email_verified: account.email_standing == EmailStanding::Verified,
            pending_email: account.pending_email.as_ref(),
            roles: &account.roles,
            created_at: account.created_at,
            last_login_at: account.last_login_at,
            disabled: account.standing == Standing::Disabled,
            ver: account.epoch,
            attributes: &account.attributes,
            password,
        };
        serde_json::to_string(&line).expect("an account can be written as JSON")
    }
}

fn email(members: &mut Members, name: &'static str) -> Result<Option<Email>, Reason> {
    let text = members.take::<String>(name)?;
    text.map(|text| Email::parse(&text)).transpose().map_err(Reason::Email)
}

fn password(mut members: Members) -> Result<RecordPassword, Reason> {
    let hash = verifiable(members.required("hash")?)?;
    let set_in = members.take("ver")?.map(epoch).transpose()?;
    members.end()?;
    Ok(RecordPassword { hash, set_in })
}

/// The largest accepted epoch: the largest integer that every JSON parser represents exactly (RFC 8259, section 6). The
/// type allows far larger ones, so an imported account can still get later epochs.
const MAX_EPOCH: SessionEpoch = SessionEpoch::new((1 << 53) - 1);

fn epoch(epoch: SessionEpoch) -> Result<SessionEpoch, Reason> {
    if epoch <= MAX_EPOCH { Ok(epoch) } else { Err(Reason::Invalid("ver")) }
}

/// The maximum length of a password hash, in bytes. A hash in any supported format is much shorter, unless its salt is
/// huge.
const MAX_HASH: usize = 1_024;

/// Refuses a hash that a login could not verify, or could verify only at too high a cost.
pub(crate) fn verifiable(hash: String) -> Result<StoredHash, Reason> {
    if hash.len() > MAX_HASH {
        return Err(Reason::Invalid("hash"));
    }
    let parsed = PasswordHash::from_stored(&StoredHash::new(hash)).map_err(Reason::Hash)?;
    Ok(parsed.into_stored())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = concat!(
        r#"{"format":"latchkey-account/1","id":"0190a0f0-7c3a-7abc-8def-0123456789ab","#,
        r#""username":"Rosa","email":"Rosa@example.com","email_verified":true,"#,
        r#""pending_email":"new@example.com","roles":["user","admin"],"#,
        r#""created_at":"2024-05-01T12:00:00.25Z","last_login_at":"2024-06-01T12:00:00Z","#,
        r#""disabled":true,"ver":7,"attributes":{"flask_id":17},"#,
        r#""password":{"hash":"pbkdf2:sha256:1$s$"#,
        r#"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc","ver":3}}"#
    );

    fn parse(line: &str) -> Result<Record, Reason> {
        Record::parse(line.as_bytes())
    }

    #[test]
    fn a_line_round_trips_byte_for_byte() {
        assert_eq!(parse(LINE).unwrap().to_line(), LINE);
        let least = concat!(
            r#"{"format":"latchkey-account/1","id":"0190a0f0-7c3a-7abc-8def-0123456789ab","#,
            r#""username":"Rosa","email_verified":false,"roles":[],"#,
            r#""created_at":"2024-05-01T12:00:00Z","disabled":false,"ver":1}"#
        );
        let record = parse(least).unwrap();
        assert_eq!(record.password, None);
        assert_eq!(record.to_line(), least);
        let more = least.replace(r#""ver":1}"#, r#""ver":1,"factors":[],"email":null}"#);
        assert_eq!(parse(&more).unwrap(), record);
    }

    #[test]
    fn a_line_that_cannot_be_imported_unchanged_is_refused() {
        for (from, to, reason) in [
            ("account/1", "account/2", Reason::Format),
            (r#""id":"0190"#, r#""id":"zzzz"#, Reason::Invalid("id")),
            (r#""username":"Rosa","#, "", Reason::Missing("username")),
            (r#""username":"Rosa""#, r#""username":7"#, Reason::Invalid("username")),
            ("Rosa@example.com", "nobody", Reason::Email(identity::NameError::InvalidFormat)),
            (r#""admin"]"#, r#""owner"]"#, Reason::Role(Some("owner".to_owned()))),
            (r#""disabled":true"#, r#""disabled":"yes""#, Reason::Invalid("disabled")),
            (r#""ver":7"#, r#""ver":-1"#, Reason::Invalid("ver")),
            (r#""ver":7"#, r#""ver":9007199254740992"#, Reason::Invalid("ver")),
            (r#"{"flask_id":17}"#, "[]", Reason::Attributes(identity::AttributesError::NoObject)),
            ("pbkdf2:sha256:1$", "md5$", Reason::Hash(passwords::HashError::Stored)),
            (r#""ver":3}"#, r#""ver":3,"pepper":1}"#, Reason::Unknown("pepper".to_owned())),
            (r#""ver":7"#, r#""ver":7,"factors":[{}]"#, Reason::Factors),
            (r#""ver":7"#, r#""ver":7,"tenant":1"#, Reason::Unknown("tenant".to_owned())),
            (r#"{"format""#, r#"["format""#, Reason::NotAnObject),
        ] {
            assert!(LINE.contains(from), "{from}");
            assert_eq!(parse(&LINE.replace(from, to)), Err(reason), "{to}");
        }
    }

    #[test]
    fn a_hash_with_a_huge_salt_is_refused() {
        let salt = "s".repeat(MAX_HASH);
        let line = LINE.replace("pbkdf2:sha256:1$s$", &format!("pbkdf2:sha256:1${salt}$"));
        assert_eq!(parse(&line), Err(Reason::Invalid("hash")));
    }

    /// Reasons are printed, and any member of a line may contain a misplaced secret.
    #[test]
    fn no_reason_repeats_a_value() {
        let mut members: serde_json::Map<String, Value> = serde_json::from_str(LINE).unwrap();
        for name in members.keys().cloned().collect::<Vec<_>>() {
            for value in [Value::from("Secret$7"), Value::from(vec!["Secret$7"; 3])] {
                let before = members.insert(name.clone(), value);
                let line = serde_json::to_string(&members).unwrap();
                if let Err(reason) = parse(&line) {
                    assert!(!reason.to_string().contains("Secret"), "{reason}");
                }
                members.insert(name.clone(), before.unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,60}", cut in 0..LINE.len()) {
            let _ = parse(&text);
            let _ = parse(&format!("{}{text}", &LINE[..cut]));
        }
    }
}
