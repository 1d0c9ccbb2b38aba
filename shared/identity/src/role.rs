//! Roles. An account has a set of them, and no role implies another.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares the roles. Each role has a name (on the wire and in the table), a list of permissions, and a type with
/// which routes require it.
macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = $name:literal [$($permission:literal),*];)*) => {
        /// A role of an account.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Role {
            $($(#[$doc])* #[serde(rename = $name)] $role,)*
        }

        impl Role {
            /// Every role.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$role),*];

            /// The name on the wire and in the table.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$role => $name,)*
                }
            }

            /// The permissions, for the claim `scope` (RFC 9068 §2.2.3).
            #[must_use]
            pub const fn permissions(self) -> &'static [&'static str] {
                match self {
                    $(Self::$role => &[$($permission),*],)*
                }
            }

            /// The name of the type with which routes require the role.
            #[must_use]
            pub const fn requirement(self) -> &'static str {
                match self {
                    $(Self::$role => stringify!($role),)*
                }
            }
        }

        $(requirement! { $(#[$doc])* $role, Some(Role::$role) })*
    };
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role: expected {}", expected())]
pub struct RoleError;

/// The names of all roles: `user`, `admin` or `super_admin`.
fn expected() -> String {
    let names = Role::ALL.map(|role| format!("`{role}`"));
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "none".to_owned(),
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(name: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == name).ok_or(RoleError)
    }
}

/// The roles of an account: a set, written as an array in the order of [`Role`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// Whether the set contains `role`.
    #[must_use]
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// The roles in order.
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().collect())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, role) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            role.fmt(f)?;
        }
        Ok(())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The role that a route requires, as a type. Sealed: only this module declares requirements.
pub trait RoleRequirement: sealed::Sealed + Send + Sync + 'static {
    /// The role that the caller must have; `None` if every account is admitted.
    const REQUIRED: Option<Role>;
}

macro_rules! requirement {
    ($(#[$doc:meta])* $name:ident, $required:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl RoleRequirement for $name {
            const REQUIRED: Option<Role> = $required;
        }
    };
}

requirement! {
    /// Accepts every signed-in account, regardless of its roles.
    Anyone, None
}

// To add a role, add a line (type, name and permissions) and run `cargo xtask roles`. No role implies another.
roles! {
    /// `user`: every new account has it.
    User = "user" [];
    /// `admin`: manages accounts.
    Admin = "admin" [];
    /// `super_admin`: manages administrators.
    SuperAdmin = "super_admin" [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_round_trip() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!("Admin".parse::<Role>(), Err(RoleError));
    }

    #[test]
    fn no_role_implies_another() {
        let roles = Roles::from_iter([Role::SuperAdmin]);
        assert!(!roles.contains(Role::Admin));
        assert!(!roles.contains(Role::User));
    }

    #[test]
    fn roles_are_an_ordered_set() {
        let roles = Roles::from_iter([Role::Admin, Role::User, Role::Admin]);
        assert_eq!(serde_json::to_string(&roles).unwrap(), r#"["user","admin"]"#);
        assert_eq!(roles.to_string(), "user,admin");
    }
}
