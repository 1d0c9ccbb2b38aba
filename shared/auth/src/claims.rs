//! The claims of an access token.

use serde::{Deserialize, Serialize};

use identity::{Acr, Methods, Roles, SessionEpoch, SessionId, TokenId, UserId};

/// The `typ` of access tokens (RFC 9068 §2.1).
pub const TOKEN_TYPE: &str = "at+jwt";

/// The content of an access token: the claims defined in RFC 9068 §2.2, and Latchkey's own. It contains no email
/// address and nothing secret, because anyone who holds a token can read it.
///
/// Times are `NumericDate`s (RFC 7519 §2). Latchkey issues them in whole seconds only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The user id.
    pub sub: UserId,
    /// The audience: the services that may accept the token.
    pub aud: Audience,
    /// The time of expiry.
    pub exp: i64,
    /// The time of issue.
    pub iat: i64,
    /// The time before which the token is not valid, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The id of the token.
    pub jti: TokenId,
    /// The client that the token was issued to (RFC 9068 §2.2).
    pub client_id: String,
    /// The session to which the token belongs.
    pub sid: SessionId,
    /// The account's session epoch at the time of login.
    #[serde(rename = "ver")]
    pub epoch: SessionEpoch,
    /// The account's roles at the time of issue.
    pub roles: Roles,
    /// The time at which the user last authenticated in this session.
    pub auth_time: i64,
    /// The assurance level of the authentication (RFC 9470). Tokens of earlier versions lack it.
    #[serde(default)]
    pub acr: Acr,
    /// The methods by which the user authenticated (RFC 8176).
    pub amr: Methods,
    /// The username as first entered, for display only.
    pub preferred_username: String,
}

/// One audience or several (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// A single audience, as a string.
    One(String),
    /// A list of audiences.
    Many(Vec<String>),
}

impl Audience {
    /// Whether `audience` is one of the audiences.
    #[must_use]
    pub fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}
