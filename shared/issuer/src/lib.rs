//! Private keys and the minting of access tokens. Only functions that issue tokens depend on this.

mod keys;
mod mint;
mod sign;

pub use keys::{SigningKey, SigningKeyError, SigningKeys};
pub use mint::{Config, Grant, Issuer, MintError, Minted};
