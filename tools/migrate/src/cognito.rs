//! Amazon Cognito: CSV with the columns that `get-csv-header` prints. Cognito exports no hashes.

use identity::{EmailStanding, Standing, UserId};

use crate::rows::Row;
use crate::{Conversion, ForeignUser, OldId, Reason, RoleNames};

pub(crate) const REQUIRED: [&str; 3] = ["cognito:username", "email", "email_verified"];

pub(crate) fn user(row: &Row<'_>, _: &Conversion) -> Result<ForeignUser, Reason> {
    let name = row.required("cognito:username")?;
    // In a pool where users sign in by email address, the username is the address or a UUID.
    let is_name = !name.contains('@') && name.to_ascii_lowercase().parse::<UserId>().is_err();
    let preferred = row.get("preferred_username").or(is_name.then_some(name));
    Ok(ForeignUser {
        id: OldId::Text(row.get("sub").unwrap_or(name).to_owned()),
        username: preferred.map(str::to_owned),
        email: row.get("email").map(str::to_owned),
        email_standing: if row.flag("email_verified")? == Some(true) {
            EmailStanding::Verified
        } else {
            EmailStanding::Unverified
        },
        hash: None,
        roles: RoleNames::OnlyMapped(row.get("groups").map_or_else(Vec::new, |names| {
            names.split(',').map(|name| name.trim().to_owned()).collect()
        })),
        created_at: row.time("created_at")?,
        standing: if row.flag("enabled")? == Some(false) {
            Standing::Disabled
        } else {
            Standing::Active
        },
    })
}
