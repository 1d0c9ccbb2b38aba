//! The users' table: its contents, and one handle per operation on it.
//!
//! A Lambda function holds only the handles that it needs, so its type shows what it does with the table. In
//! the template, the function is granted the actions of its handles.
//!
//! | handle | does | actions |
//! |---|---|---|
//! | [`Registrations`] | creates an account and uses up its invitation | `PutItem`, `DeleteItem` |
//! | [`Invites`] | creates invitations and checks them | `PutItem`, `GetItem` |
//! | [`Logins`] | finds an account by name and begins a session | `GetItem`, `Query`, `PutItem`, `DeleteItem` |
//! | [`Hashes`] | reads the hash of an account's password | `GetItem` |
//! | [`Passwords`] | changes a password | `UpdateItem`, `PutItem` |
//! | [`Rotations`] | refreshes a session, or ends it if its token was reused | `GetItem`, `UpdateItem`, `DeleteItem` |
//! | [`Counters`] | counts attempts | `UpdateItem`, `DeleteItem` |
//! | [`KnownNetworks`] | remembers the networks from which an account signs in | `GetItem`, `Query`, `PutItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Endings`] | ends a session | `DeleteItem` |
//! | [`Sessions`] | lists an account's sessions | `Query` |
//! | [`Epochs`] | ends all of an account's sessions | `UpdateItem` |
//! | [`Accounts`] | reads an account and a session | `GetItem` |
//! | [`Outbox`] | requests emails | `PutItem` |
//! | [`Mailings`] | finds an email and its recipient, and stores its code | `GetItem`, `PutItem`, `DeleteItem` |
//! | [`Codes`] | finds an emailed code and limits guesses at it | `GetItem`, `UpdateItem` |
//! | [`Resets`] | sets a password with an emailed code | `PutItem`, `UpdateItem` |
//! | [`Verifications`] | claims an address with an emailed code | `PutItem`, `UpdateItem`, `DeleteItem` |
//! | [`Administration`] | finds and changes accounts | `GetItem`, `UpdateItem` |
//!
//! No write relies on an earlier read: conditions and transactions decide. Reads that decide anything are
//! strongly consistent. The code checks expiry times itself. The table's TTL only cleans up.

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
