//! The identity of a user: ids ([`UserId`], [`SessionId`]), names ([`Username`], [`Email`]), roles ([`Role`],
//! [`Roles`]), the [`Account`] and the [`Network`] of a client.

mod account;
mod attributes;
mod authentication;
mod epoch;
mod id;
mod mailed;
mod names;
mod network;
mod revision;
mod role;
mod stored_hash;

pub use account::{Account, EmailStanding, Standing};
pub use attributes::{Attributes, AttributesError};
pub use authentication::{Acr, Authentication, Method, Methods, NoMethod};
pub use epoch::SessionEpoch;
pub use id::{EventId, IdError, MailId, SessionId, TokenId, UserId};
pub use mailed::MailedFor;
pub use names::{
    CanonicalName, Email, NameError, NameTagger, Presented, ReservedNames, UniqueName, Username,
    is_hidden,
};
pub use network::{Network, NetworkError};
pub use revision::Revision;
pub use role::*;
pub use stored_hash::StoredHash;
