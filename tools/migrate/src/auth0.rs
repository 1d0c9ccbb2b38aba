//! Auth0: the export of users, and the export of password hashes that Auth0's support provides.

use identity::{EmailStanding, Standing};
use serde_json::Value;

use crate::members::Members;
use crate::{ForeignUser, OldId, Reason, RoleNames, parse_time};

/// The prefix of the ids of users with a password.
const PREFIX: &str = "auth0|";

pub(crate) fn user(line: &[u8]) -> Result<ForeignUser, Reason> {
    let mut user = Members::parse(line)?;
    let id = match user.text("user_id")? {
        Some(id) => id,
        // An export of hashes contains the same id in another member, without the prefix.
        None => format!("{PREFIX}{}", id(&mut user)?),
    };
    let mut roles = Vec::new();
    if let Some(mut metadata) = user.object("app_metadata")? {
        roles = metadata.take::<Vec<String>>("roles").unwrap_or_default().unwrap_or_default();
    }
    let hash = match user.text("passwordHash")? {
        Some(hash) => Some(hash),
        None => user.text("password_hash")?,
    };
    Ok(ForeignUser {
        id: OldId::Text(id),
        username: user.text("username")?,
        email: user.text("email")?,
        email_standing: if user.take("email_verified")? == Some(true) {
            EmailStanding::Verified
        } else {
            EmailStanding::Unverified
        },
        hash,
        roles: RoleNames::OnlyMapped(roles),
        created_at: created_at(&mut user)?,
        standing: if user.take("blocked")? == Some(true) {
            Standing::Disabled
        } else {
            Standing::Active
        },
    })
}

/// The id as text or, as MongoDB exports it, in `{"$oid": …}`.
fn id(user: &mut Members) -> Result<String, Reason> {
    match user.required::<Value>("_id")? {
        Value::String(id) => Ok(id),
        object => {
            let id = object.get("$oid").and_then(Value::as_str);
            Ok(id.ok_or(Reason::Invalid("_id"))?.to_owned())
        }
    }
}

/// The time as text or, as MongoDB exports it, in `{"$date": …}`.
fn created_at(user: &mut Members) -> Result<Option<jiff::Timestamp>, Reason> {
    let Some(value) = user.take::<Value>("created_at")? else { return Ok(None) };
    let text = value.as_str().or_else(|| value.get("$date").and_then(Value::as_str));
    let time = text.and_then(parse_time).ok_or(Reason::Invalid("created_at"))?;
    Ok(Some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_exports_of_a_user_have_the_same_id() {
        let hashes = br#"{"_id":{"$oid":"60425dc43519d90068f82973"},"email_verified":true,
            "email":"rosa@example.com","passwordHash":"$2b$10$abc","password_set_date":{"$date":"2024-05-01"},
            "tenant":"t","connection":"Username-Password-Authentication","_tmp_is_unique":true}"#;
        let users = br#"{"user_id":"auth0|60425dc43519d90068f82973","email":"rosa@example.com",
            "email_verified":true,"username":"rosa","created_at":"2024-05-01T12:00:00.000Z","blocked":true,
            "app_metadata":{"roles":["editor"]},"user_metadata":{"colour":"red"}}"#;
        let (hashes, users) = (user(hashes).unwrap(), user(users).unwrap());
        assert_eq!(hashes.id, users.id);
        assert_eq!(hashes.hash.as_deref(), Some("$2b$10$abc"));
        assert_eq!(hashes.email_standing, EmailStanding::Verified);
        assert_eq!((hashes.username, hashes.standing), (None, Standing::Active));
        assert_eq!(users.roles, RoleNames::OnlyMapped(vec!["editor".to_owned()]));
        assert_eq!((users.hash, users.standing), (None, Standing::Disabled));
        assert_eq!(users.created_at.unwrap().as_second(), 1_714_564_800);
    }

    #[test]
    fn a_line_without_an_id_is_refused() {
        let refused = |line: &[u8]| user(line).map(drop).unwrap_err();
        assert_eq!(refused(br#"{"email":"rosa@example.com"}"#), Reason::Missing("_id"));
        assert_eq!(refused(br#"{"_id":{}}"#), Reason::Invalid("_id"));
    }
}
