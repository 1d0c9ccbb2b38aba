//! Which administrator may change which account.

use identity::{Account, Role};
use web::Problem;

use crate::change::Change;

/// The roles that only a super administrator may grant or revoke.
const PRIVILEGED: [Role; 2] = [Role::Admin, Role::SuperAdmin];

/// Checks that `caller`, an administrator, may make `change` to `account`. Only a super administrator may change an
/// account that has a privileged role, or grant one.
///
/// # Errors
/// When the caller may not make the change. The status is 403.
pub(crate) fn check(caller: &Account, account: &Account, change: &Change) -> Result<(), Problem> {
    let is_privileged = PRIVILEGED.into_iter().any(|role| {
        account.roles.contains(role) || matches!(change, Change::Roles(new) if new.contains(role))
    });
    if is_privileged && !caller.roles.contains(Role::SuperAdmin) {
        return Err(Problem::insufficient_role());
    }
    Ok(())
}
