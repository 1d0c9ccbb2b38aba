//! The identity of a user: ids ([`UserId`], [`SessionId`]), names ([`Username`], [`Email`]), roles ([`Role`],
//! [`Roles`]), the [`Account`] and the [`Network`] of a client.

mod account;
mod epoch;
mod id;
mod mailed;
mod names;
mod network;
mod role;
mod stored_hash;

pub use account::{Account, EmailStanding, Standing};
pub use epoch::SessionEpoch;
pub use id::{IdError, MailId, SessionId, TokenId, UserId};
pub use mailed::MailedFor;
pub use names::{CanonicalName, Email, NameError, Presented, ReservedNames, Username, is_hidden};
pub use network::{Network, NetworkError};
pub use role::*;
pub use stored_hash::StoredHash;
