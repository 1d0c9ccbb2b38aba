//! The users' table: what is in it, and one handle per thing that can be done with it.
//!
//! A function holds just the handles that it needs, so that its needs show in its type; the actions
//! that its template resource is granted are those of its handles.
//!
//! | handle | does | actions |
//! |---|---|---|
//! | [`Registrations`] | creates an account, and uses an invitation up | `PutItem`, `DeleteItem` |
//! | [`Invites`] | makes an invitation, and looks whether one counts | `PutItem`, `GetItem` |
//! | [`Logins`] | finds an account by name, begins a session | `GetItem`, `Query`, `PutItem`, `DeleteItem` |
//! | [`Passwords`] | reads and changes a password | `GetItem`, `UpdateItem`, `PutItem` |
//! | [`Rotations`] | refreshes a session, and ends it on reuse | `GetItem`, `UpdateItem`, `DeleteItem` |
//! | [`Counters`] | counts attempts | `GetItem`, `UpdateItem`, `DeleteItem`, `PutItem` |
//! | [`Endings`] | ends a session | `DeleteItem` |
//! | [`Sessions`] | lists sessions and ends one | `Query`, `DeleteItem` |
//! | [`Epochs`] | ends all sessions of an account | `UpdateItem` |
//! | [`Accounts`] | reads an account and a session | `GetItem` |
//! | [`Administration`] | looks accounts up and changes them | `GetItem`, `UpdateItem` |
//!
//! A decision is never taken on a read that a write then relies on: conditions and transactions
//! carry it. Reads that decide are strongly consistent. Expiry is compared in code; the table's TTL
//! only sweeps.

mod accounts;
mod administration;
mod chain;
mod counters;
mod invites;
mod item;
mod key;
mod logins;
mod passwords;
mod registrations;
mod secret;
mod sessions;
mod table;

pub use accounts::Accounts;
pub use administration::Administration;
pub use chain::{Chain, Judgement};
pub use counters::{Beyond, CounterKey, Counters, Limit, Receipt, Reserved};
pub use invites::Invites;
pub use logins::{Credential, Identifier, Logins, NewSession};
pub use passwords::{Changed, Passwords};
pub use registrations::{NewAccount, RegisterError, Registrations};
pub use secret::Secret;
pub use sessions::{
    Endings, Epochs, Grace, Presented, Refreshed, Rotations, Session, SessionLimits, Sessions,
};
pub use table::{Config, StoreError};
