//! Django: the lines of `manage.py dumpdata auth.user --format jsonl`.

use identity::{EmailStanding, Standing};
use serde_json::Value;

use crate::members::Members;
use crate::{ForeignUser, OldId, Reason, RoleNames, parse_time};

pub(crate) fn user(line: &[u8]) -> Result<ForeignUser, Reason> {
    let mut object = Members::parse(line)?;
    let id = match object.required::<Value>("pk")? {
        Value::Number(number) => OldId::Number(number.as_i64().ok_or(Reason::Invalid("pk"))?),
        Value::String(text) => OldId::Text(text),
        _ => return Err(Reason::Invalid("pk")),
    };
    let mut fields = object.object("fields")?.ok_or(Reason::Missing("fields"))?;
    let created_at = fields.text("date_joined")?;
    let created_at = created_at.map(|text| parse_time(&text).ok_or(Reason::Invalid("date_joined")));
    let mut roles = Vec::new();
    for (field, role) in [("is_staff", "staff"), ("is_superuser", "superuser")] {
        if fields.take::<bool>(field)? == Some(true) {
            roles.push(role.to_owned());
        }
    }
    Ok(ForeignUser {
        id,
        username: Some(fields.text("username")?.ok_or(Reason::Missing("username"))?),
        email: fields.text("email")?,
        email_standing: EmailStanding::Unverified,
        // For a user without a password, Django stores a hash that begins with `!`.
        hash: fields.text("password")?.filter(|hash| !hash.starts_with('!')),
        roles: RoleNames::OnlyMapped(roles),
        created_at: created_at.transpose()?,
        standing: if fields.take("is_active")?.unwrap_or(true) {
            Standing::Active
        } else {
            Standing::Disabled
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"model": "auth.user", "pk": 4, "fields": {"password": "pbkdf2_sha256$1$s$aA==",
        "last_login": null, "is_superuser": true, "username": "rosa", "first_name": "Rosa", "last_name": "",
        "email": "rosa@example.com", "is_staff": false, "is_active": false,
        "date_joined": "2024-05-01T12:00:00.123Z", "groups": [], "user_permissions": []}}"#;

    #[test]
    fn a_user_is_read_from_a_line_of_dumpdata() {
        let found = user(LINE.as_bytes()).unwrap();
        assert_eq!(found.id, OldId::Number(4));
        assert_eq!(found.username.as_deref(), Some("rosa"));
        assert_eq!(found.email.as_deref(), Some("rosa@example.com"));
        assert_eq!(found.hash.as_deref(), Some("pbkdf2_sha256$1$s$aA=="));
        assert_eq!(found.roles, RoleNames::OnlyMapped(vec!["superuser".to_owned()]));
        assert_eq!(found.created_at.unwrap().to_string(), "2024-05-01T12:00:00.123Z");
        assert_eq!(found.standing, Standing::Disabled);
        let unusable = LINE.replace("pbkdf2_sha256$1$s$aA==", "!Vx9");
        assert_eq!(user(unusable.as_bytes()).unwrap().hash, None);
    }

    #[test]
    fn a_line_of_another_model_is_refused() {
        let group = br#"{"model": "auth.group", "pk": 1, "fields": {"name": "editors"}}"#;
        assert_eq!(user(group).map(drop), Err(Reason::Missing("username")));
    }
}
