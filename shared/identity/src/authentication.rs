//! How and when the user of a session authenticated.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A method of authentication: a value of `amr` (RFC 8176 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Method {
    /// `pwd`: the password.
    #[serde(rename = "pwd")]
    Password,
    /// `otp`: a one-time code.
    #[serde(rename = "otp")]
    Otp,
    /// `pop`: the possession of a key.
    #[serde(rename = "pop")]
    Possession,
    /// `user`: the presence of the user at the key.
    #[serde(rename = "user")]
    UserPresence,
}

/// The methods by which a user has authenticated in a session (`amr`): a set that is never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<Method>", into = "BTreeSet<Method>")]
pub struct Methods(BTreeSet<Method>);

impl Methods {
    /// Adds `method` to the set.
    #[must_use]
    pub fn and(mut self, method: Method) -> Self {
        self.0.insert(method);
        self
    }

    /// The assurance of the methods: a password with a one-time code, or a key whose user is present, gives
    /// [`Acr::Two`].
    #[must_use]
    pub fn acr(&self) -> Acr {
        let has = |method| self.0.contains(&method);
        let two_factors = has(Method::Password) && has(Method::Otp);
        let passkey = has(Method::Possession) && has(Method::UserPresence);
        if two_factors || passkey { Acr::Two } else { Acr::One }
    }
}

impl From<Method> for Methods {
    fn from(method: Method) -> Self {
        Self(BTreeSet::from([method]))
    }
}

impl From<Methods> for BTreeSet<Method> {
    fn from(methods: Methods) -> Self {
        methods.0
    }
}

/// The set of methods is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected at least one method of authentication")]
pub struct NoMethod;

impl TryFrom<BTreeSet<Method>> for Methods {
    type Error = NoMethod;

    fn try_from(methods: BTreeSet<Method>) -> Result<Self, NoMethod> {
        if methods.is_empty() { Err(NoMethod) } else { Ok(Self(methods)) }
    }
}

/// The assurance of an authentication (`acr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Acr {
    /// `1`: one factor.
    #[default]
    #[serde(rename = "1")]
    One,
    /// `2`: two factors.
    #[serde(rename = "2")]
    Two,
}

/// When and how the user of a session authenticated, at login or at a later step-up. A refresh changes neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// The time of the last authentication (`auth_time`).
    pub at: Timestamp,
    /// All methods since the login (`amr`).
    pub methods: Methods,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_methods_determine_the_assurance() {
        for (amr, acr) in [
            (json!(["pwd"]), "1"),
            (json!(["otp"]), "1"),
            (json!(["pop"]), "1"),
            (json!(["pwd", "user"]), "1"),
            (json!(["pwd", "otp"]), "2"),
            (json!(["pop", "user"]), "2"),
            (json!(["pwd", "pop", "user"]), "2"),
        ] {
            let methods: Methods = serde_json::from_value(amr.clone()).unwrap();
            assert_eq!(serde_json::to_value(methods.acr()).unwrap(), acr, "{amr}");
            assert_eq!(serde_json::to_value(&methods).unwrap(), amr);
        }
        assert!(serde_json::from_value::<Methods>(json!([])).is_err());
    }

    #[test]
    fn a_further_method_never_lowers_the_assurance_and_a_password_never_raises_it() {
        let all = [Method::Password, Method::Otp, Method::Possession, Method::UserPresence];
        let sessions = [
            Methods::from(Method::Password),
            Methods::from(Method::Password).and(Method::Otp),
            Methods::from(Method::Possession).and(Method::UserPresence),
        ];
        for session in sessions {
            for method in all {
                assert!(session.clone().and(method).acr() >= session.acr(), "{method:?}");
            }
            assert_eq!(session.clone().and(Method::Password).acr(), session.acr());
        }
    }
}
