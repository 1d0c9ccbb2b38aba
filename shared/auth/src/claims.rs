//! The claims of an access token.

use serde::{Deserialize, Serialize};

use identity::{Roles, SessionId, TokenId, UserId};

/// The `typ` of our access tokens (RFC 9068 §2.1).
pub const TOKEN_TYPE: &str = "at+jwt";

/// The content of an access token: the claims of RFC 9068 §2.2, and Latchkey's own. It contains no e-mail
/// address and nothing secret, because anyone who holds a token can read it.
///
/// Times are `NumericDate`s (RFC 7519 §2) in whole seconds; Latchkey issues no others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// The user's id.
    pub sub: UserId,
    /// For whom it is.
    pub aud: Audience,
    /// When it ends.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// The time before which the token is not valid, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The token's own id.
    pub jti: TokenId,
    /// The client that the token was issued to (RFC 9068 §2.2).
    pub client_id: String,
    /// The session.
    pub sid: SessionId,
    /// The account's session epoch at the time of login.
    pub ver: u64,
    /// The account's roles at the time of issue.
    pub roles: Roles,
    /// When the user authenticated.
    pub auth_time: i64,
    /// How (RFC 8176): `pwd`.
    pub amr: Vec<String>,
    /// The username in the form first given: for display alone.
    pub preferred_username: String,
}

/// One audience or several (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Audience {
    /// Whether `audience` is among them.
    #[must_use]
    pub fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}
