//! The users' table: its contents, and one handle for each way in which it is used.
//!
//! A Lambda function holds only the handles that it needs, so its type shows what it does with the table. The
//! template grants the function the actions of its handles.
//!
//! | handle | does | actions |
//! |---|---|---|
//! | [`Registrations`] | creates an account and uses up its invitation | `PutItem`, `DeleteItem`, `ConditionCheckItem`; `UpdateItem` for a super administrator |
//! | [`Invites`] | creates invitations and checks them | `PutItem`, `GetItem` |
//! | [`Logins`] | finds an account by name and begins a session | `GetItem`, `Query`, `PutItem`, `UpdateItem`, `DeleteItem` |
//! | [`Hashes`] | reads an account's password hash, and records failed password checks | `GetItem`, `PutItem`, `DeleteItem` |
//! | [`Passwords`] | changes a password | `UpdateItem`, `PutItem` |
//! | [`Rotations`] | refreshes a session, or ends it if its token was reused | `GetItem`, `PutItem`, `UpdateItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`StepUps`] | records that a user authenticated again | `UpdateItem` |
//! | [`Counters`] | counts attempts | `UpdateItem`, `DeleteItem` |
//! | [`KnownNetworks`] | remembers the networks from which an account signs in | `GetItem`, `Query`, `PutItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Endings`] | ends a session | `PutItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Sessions`] | lists an account's sessions | `Query` |
//! | [`Epochs`] | ends all of an account's sessions | `PutItem`, `UpdateItem` |
//! | [`Accounts`] | reads an account and a session | `GetItem` |
//! | [`Outbox`] | requests emails | `PutItem` |
//! | [`Mailings`] | finds an email and its recipient, and stores its code | `GetItem`, `PutItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Codes`] | finds an emailed code and limits guesses at it | `GetItem`, `UpdateItem` |
//! | [`Resets`] | sets a password with an emailed code | `PutItem`, `UpdateItem` |
//! | [`Verifications`] | claims an address with an emailed code | `PutItem`, `UpdateItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Events`] | records an event that reports no change, and lists an account's events | `PutItem`, `Query`, `ConditionCheckItem` |
//! | [`Deletions`] | deletes an account, and then its remains | `GetItem`, `Query`, `PutItem`, `UpdateItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Administration`] | finds and changes accounts | `GetItem`, `UpdateItem`, `PutItem`, `DeleteItem`, `ConditionCheckItem` |
//! | [`Listings`] | lists accounts | `Query`, `BatchGetItem` |
//! | [`Reindexing`] | corrects the list entries and pointers to codes of accounts written by older versions, for the command line | `Scan`, `GetItem`, `BatchGetItem`, `ConditionCheckItem`, `PutItem`, `UpdateItem`, `DeleteItem` |
//! | [`Transfers`] | creates whole accounts and reads them page by page, for the command line | `PutItem`, `ConditionCheckItem`, `GetItem`, `BatchGetItem`, `Scan`, `DescribeTable`; `UpdateItem` for a super administrator |
//!
//! No write relies on an earlier read: the conditions of the write check the state again. A read on which a decision
//! depends is strongly consistent. The code checks expiry times itself. The table's TTL only cleans up.

mod accounts;
mod administration;
mod chain;
mod codes;
mod counters;
mod deletions;
mod event;
mod expression;
mod invites;
mod item;
mod key;
mod limit;
mod lists;
mod logins;
mod networks;
mod outbox;
mod passwords;
mod registrations;
mod resets;
mod sessions;
mod table;
mod tombstones;
mod transfers;
mod write;

pub use accounts::Accounts;
pub use administration::{Administration, Authority, ChangeError, Edited};
pub use chain::{Chain, Judgement};
pub use codes::{
    CodeRecord, Codes, DIGITS_TRIES, DigitsOf, DigitsTry, Mailings, Outgoing, PermanentCode, Stored,
};
pub use counters::{CounterKey, Counters, Receipt, Reserved};
pub use deletions::{Deleted, Deletion, Deletions, Remains, Swept};
pub use event::{EventKey, EventPage, Events, Retention};
pub use invites::Invites;
pub use item::PasswordEpoch;
pub use limit::{Beyond, Limit};
pub use lists::{
    AccountFilter, AccountPage, LIST_SHARDS, Listings, Position, Reindexing, Unindexed,
};
pub use logins::{Credential, Logins, NewSession};
pub use networks::KnownNetworks;
pub use outbox::{CODE_VALID_FOR, ConfirmedEmail, Mail, NewMail, Notice, Outbox, Task};
pub use passwords::{Changed, Hashes, Passwords};
pub use registrations::{AddressClaim, NewAccount, NewEmail, RegisterError, Registrations};
pub use resets::{Redeemed, Resets, Verifications};
pub use sessions::{
    Endings, Epochs, Grace, Refreshed, Rotation, Rotations, Session, SessionLimits, Sessions,
    StepUps,
};
pub use table::{Config, ScanPosition, StoreError};
pub use transfers::{Arrival, Page, Transfers, WholeAccount, WholePassword};
