//! Names that users may not register.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::{CanonicalName, NameError, Username};

/// Names that users could mistake for the service or its operator. Only whole names are reserved: `adminuser`
/// is free although `admin` is not.
///
/// Only registration checks them. On the command line, an operator can create an account with a reserved name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedNames(BTreeSet<CanonicalName>);

/// The mailboxes defined in RFC 2142 that represent a service, and the usual names of operators.
const DEFAULT: &str = "\
    abuse, hostmaster, noc, postmaster, security, support, webmaster, \
    admin, administrator, anonymous, daemon, moderator, nobody, no-reply, noreply, official, \
    root, super-admin, super_admin, superadmin, superuser, sysadmin, system";

impl ReservedNames {
    /// Whether `name` is reserved, in any spelling.
    #[must_use]
    pub fn refuses(&self, name: &Username) -> bool {
        self.0.contains(name.canonical())
    }
}

impl Default for ReservedNames {
    fn default() -> Self {
        DEFAULT.parse().expect("a test parses the default list")
    }
}

/// Parses a comma-separated list, which replaces the default one. Spaces around names and empty
/// entries are ignored. The list `,` reserves nothing.
impl FromStr for ReservedNames {
    type Err = NameError;

    /// # Errors
    /// When an entry is not a valid username, for example because the list uses another separator.
    fn from_str(list: &str) -> Result<Self, NameError> {
        list.split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| Username::parse(name).map(|name| name.canonical().clone()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(names: &ReservedNames, name: &str) -> bool {
        names.refuses(&Username::parse(name).unwrap())
    }

    #[test]
    fn every_spelling_is_refused() {
        let names = ReservedNames::default();
        for name in ["root", "Admin", "ADMINISTRATOR", "ｓｙｓｔｅｍ", "poſtmaster", "super_admin"]
        {
            // Some spellings are not even valid usernames, which also prevents their registration.
            assert!(Username::parse(name).is_err() || refuses(&names, name), "{name}");
        }
        assert!(refuses(&names, "ｓｙｓｔｅｍ"));
    }

    #[test]
    fn only_whole_names_are_reserved() {
        let names = ReservedNames::default();
        for name in ["alice", "testuser", "adminuser", "admin1", "rooted", "user", "moderators"] {
            assert!(!refuses(&names, name), "{name}");
        }
    }

    #[test]
    fn a_list_replaces_the_default() {
        let names: ReservedNames = " Straße ,boss,, ".parse().unwrap();
        assert!(refuses(&names, "strasse"));
        assert!(refuses(&names, "BOSS"));
        assert!(!refuses(&names, "admin"));
        assert!(!refuses(&",".parse().unwrap(), "admin"));
        assert_eq!("root system".parse::<ReservedNames>(), Err(NameError::InvalidCharacters));
    }
}
