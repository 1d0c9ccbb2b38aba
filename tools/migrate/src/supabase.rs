//! Supabase: the table `auth.users` in CSV.

use identity::{EmailStanding, Standing};

use crate::rows::Row;
use crate::{Conversion, ForeignUser, OldId, Reason, RoleNames};

pub(crate) const REQUIRED: [&str; 4] = ["id", "email", "encrypted_password", "email_confirmed_at"];

pub(crate) fn user(row: &Row<'_>, conversion: &Conversion) -> Result<ForeignUser, Reason> {
    if row.get("deleted_at").is_some() {
        return Err(Reason::Deleted);
    }
    let is_banned = row.time("banned_until")?.is_some_and(|until| until > conversion.now);
    Ok(ForeignUser {
        id: OldId::Text(row.required("id")?.to_owned()),
        username: None,
        email: row.get("email").map(str::to_owned),
        email_standing: if row.get("email_confirmed_at").is_some() {
            EmailStanding::Verified
        } else {
            EmailStanding::Unverified
        },
        hash: row.get("encrypted_password").map(str::to_owned),
        roles: RoleNames::OnlyMapped(Vec::new()),
        created_at: row.time("created_at")?,
        standing: if is_banned { Standing::Disabled } else { Standing::Active },
    })
}
