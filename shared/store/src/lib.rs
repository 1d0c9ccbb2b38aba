//! The users' table: its contents, and one handle per operation on it.
//!
//! A function holds only the handles that it needs, so that its type shows its needs. The actions that its
//! template resource is granted are those of its handles.
//!
//! | handle | does | actions |
//! |---|---|---|
//! | [`Registrations`] | creates an account, and uses an invitation up | `PutItem`, `DeleteItem` |
//! | [`Invites`] | makes an invitation, and looks whether one counts | `PutItem`, `GetItem` |
//! | [`Logins`] | finds an account by name, begins a session | `GetItem`, `Query`, `PutItem`, `DeleteItem` |
//! | [`Hashes`] | reads the hash of a password | `GetItem` |
//! | [`Passwords`] | changes a password | `UpdateItem`, `PutItem` |
//! | [`Rotations`] | refreshes a session, and ends it on reuse | `GetItem`, `UpdateItem`, `DeleteItem` |
//! | [`Counters`] | counts attempts | `GetItem`, `Query`, `UpdateItem`, `DeleteItem`, `PutItem` |
//! | [`Endings`] | ends a session | `DeleteItem` |
//! | [`Sessions`] | lists sessions and ends one | `Query`, `DeleteItem` |
//! | [`Epochs`] | ends all sessions of an account | `UpdateItem` |
//! | [`Accounts`] | reads an account and a session | `GetItem` |
//! | [`Outbox`] | asks for mails | `PutItem` |
//! | [`Mailings`] | finds what to mail to whom, and stores codes | `GetItem`, `PutItem`, `DeleteItem` |
//! | [`Codes`] | finds a code by mail, and counts tries | `GetItem`, `UpdateItem` |
//! | [`Resets`] | sets a password by a code | `PutItem`, `UpdateItem` |
//! | [`Verifications`] | claims an address by a code | `PutItem`, `UpdateItem`, `DeleteItem` |
//! | [`Administration`] | looks accounts up and changes them | `GetItem`, `UpdateItem` |
//!
//! No write depends on an earlier read: conditions and transactions decide. Reads that decide are strongly
//! consistent. Expiry is compared in code; the table's TTL only cleans up.

mod accounts;
mod administration;
mod chain;
mod codes;
mod counters;
mod invites;
mod item;
mod key;
mod logins;
mod outbox;
mod passwords;
mod registrations;
mod resets;
mod secret;
mod sessions;
mod table;

pub use accounts::Accounts;
pub use administration::Administration;
pub use chain::{Chain, Judgement};
pub use codes::{Code, Codes, DIGITS_TRIES, DigitsOf, DigitsTry, Mailings, Outgoing};
pub use counters::{Beyond, CounterKey, Counters, Limit, Receipt, Reserved};
pub use invites::Invites;
pub use item::PasswordVer;
pub use logins::{Credential, Identifier, Logins, NewSession};
pub use outbox::{CODE_VALID_FOR, ConfirmedEmail, Mail, NewMail, Notice, Outbox};
pub use passwords::{Changed, Hashes, Passwords};
pub use registrations::{
    AddressClaim, FIRST_VER, NewAccount, NewEmail, RegisterError, Registrations,
};
pub use resets::{Redeemed, Resets, Verifications};
pub use secret::Secret;
pub use sessions::{
    Endings, Epochs, Grace, Presented, Refreshed, Rotations, Session, SessionLimits, Sessions,
};
pub use table::{Config, StoreError};
