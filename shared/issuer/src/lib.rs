//! Issues tokens: access tokens, signed with a private key, and refresh tokens, authenticated with a pepper. Only
//! functions that issue tokens depend on this crate.

mod jwk;
mod keys;
mod mint;
mod refresh;
mod service;
mod sign;

pub use keys::{SigningKey, SigningKeyError, SigningKeys};
pub use mint::{
    AccessTokens, Config as AccessConfig, Grant, MAX_SECONDS as MAX_ACCESS_TOKEN_SECONDS,
    MintError, Minted,
};
pub use refresh::{MAX_REFRESH_TOKEN_BYTES, RefreshToken, RefreshTokenError};
pub use service::{Config, IssueError, Issuer, Ready, SessionGrant, Tokens};
