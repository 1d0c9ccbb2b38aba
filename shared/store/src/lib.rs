//! The users' table: its contents, and one handle per operation on it.
//!
//! A function holds only the handles that it needs, so that its type shows its needs. Its template resource
//! is granted the actions of its handles.
//!
//! | handle | does | actions |
//! |---|---|---|
//! | [`Registrations`] | creates an account, using an invitation up | `PutItem`, `DeleteItem` |
//! | [`Invites`] | creates an invitation, and checks one | `PutItem`, `GetItem` |
//! | [`Logins`] | finds an account by name, and begins a session | `GetItem`, `Query`, `PutItem`, `DeleteItem` |
//! | [`Hashes`] | reads the hash of a password | `GetItem` |
//! | [`Passwords`] | changes a password | `UpdateItem`, `PutItem` |
//! | [`Rotations`] | refreshes a session, and ends it on reuse | `GetItem`, `UpdateItem`, `DeleteItem` |
//! | [`Counters`] | counts attempts | `UpdateItem`, `DeleteItem` |
//! | [`KnownNetworks`] | remembers the networks from which an account signs in | `GetItem`, `Query`, `PutItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Endings`] | ends a session | `DeleteItem` |
//! | [`Sessions`] | lists the sessions of an account | `Query` |
//! | [`Epochs`] | ends all sessions of an account | `UpdateItem` |
//! | [`Accounts`] | reads an account and a session | `GetItem` |
//! | [`Outbox`] | requests mails | `PutItem` |
//! | [`Mailings`] | finds the mail and its recipient, and stores codes | `GetItem`, `PutItem`, `DeleteItem` |
//! | [`Codes`] | finds a code by mail, and limits tries | `GetItem`, `UpdateItem` |
//! | [`Resets`] | sets a password by a code | `PutItem`, `UpdateItem` |
//! | [`Verifications`] | claims an address by a code | `PutItem`, `UpdateItem`, `DeleteItem` |
//! | [`Administration`] | finds accounts and changes them | `GetItem`, `UpdateItem` |
//!
//! No write depends on an earlier read: conditions and transactions decide. Reads that decide are strongly
//! consistent. Expiry is compared in code; the table's TTL only cleans up.

mod accounts;
mod administration;
mod chain;
mod codes;
mod counters;
mod expression;
mod invites;
mod item;
mod key;
mod limit;
mod logins;
mod networks;
mod outbox;
mod passwords;
mod registrations;
mod resets;
mod sessions;
mod table;
mod write;

pub use accounts::Accounts;
pub use administration::Administration;
pub use chain::{Chain, Judgement};
pub use codes::{CodeRecord, Codes, DIGITS_TRIES, DigitsOf, DigitsTry, Mailings, Outgoing};
pub use counters::{CounterKey, Counters, Receipt, Reserved};
pub use invites::Invites;
pub use item::PasswordEpoch;
pub use limit::{Beyond, Limit};
pub use logins::{Credential, Logins, NewSession};
pub use networks::KnownNetworks;
pub use outbox::{CODE_VALID_FOR, ConfirmedEmail, Mail, NewMail, Notice, Outbox};
pub use passwords::{Changed, Hashes, Passwords};
pub use registrations::{AddressClaim, NewAccount, NewEmail, RegisterError, Registrations};
pub use resets::{Redeemed, Resets, Verifications};
pub use sessions::{
    Endings, Epochs, Grace, Refreshed, Rotation, Rotations, Session, SessionLimits, Sessions,
};
pub use table::{Config, StoreError};
