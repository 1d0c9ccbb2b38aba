//! Changes passwords and reads their hashes.

use dynamo::Client;
use events::{Event, Kind};
use identity::{Account, Presented, StoredHash};

use crate::expression::{absent, attribute};
use crate::item::PasswordItem;
use crate::key::Key;
use crate::logins::NewSession;
use crate::outbox::NewMail;
use crate::sessions::{Session, SessionLimits};
use crate::table::{Config, StoreError, Table};

/// Changes passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    table: Table,
    limits: SessionLimits,
}

/// Reads the hashes of passwords.
#[derive(Clone, Debug)]
pub struct Hashes(Table);

impl Hashes {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reads the hash of an account's password. Returns `None` if the account has no password.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn of(&self, account: &Account) -> Result<Option<StoredHash>, StoreError> {
        let key = Key::password(account.username.canonical());
        let password = self.0.get::<PasswordItem>(key).await?;
        Ok(password.map(|password| StoredHash::new(password.hash)))
    }

    /// Records that a password check for `account` failed or was refused, unless an event with this id exists. A
    /// failure to record it is only logged.
    pub async fn note(&self, account: &Account, event: &Event) {
        let presented = Presented::Username(account.username.canonical().clone());
        self.0.note(Some(account.id), &presented, event).await;
    }
}

/// The outcome of a password change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The password was replaced, all earlier sessions ended, and this session began.
    Done(Box<Session>),
    /// The account or its password has changed since it was read. Nothing was written.
    Conflict,
}

impl Passwords {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client, limits: SessionLimits) -> Self {
        Self { table: Table::new(config, client), limits }
    }

    /// Replaces the hash `old` with `new`, raises the account's epoch to end all of its sessions, begins
    /// `session` in the new epoch, and requests `notice`, if any.
    ///
    /// This is one transaction. Nothing is written unless `account` and `old` are still current. A notice that cannot
    /// be written does not prevent the change.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn change(
        &self,
        account: &Account,
        old: &StoredHash,
        new: StoredHash,
        session: NewSession,
        notice: Option<&NewMail>,
    ) -> Result<Changed, StoreError> {
        let Self { table, limits } = self;
        let next = account.epoch.next();
        let raised = table
            .update_account(account.id)
            .when(attribute("ver").is(account.epoch).and(attribute("disabled").is(false)))
            .set("ver", next)
            .set("password_ver", next);
        let replaced = table
            .update(Key::password(account.username.canonical()))
            .when(attribute("hash").is(old.expose()))
            .set("hash", new.expose())
            .set("ver", next);
        let id = session.id;
        let event = session.event(account.id, Kind::PasswordChanged { session_id: id });
        let item = session.item(limits);
        let added = table.put(Key::session(account.id, id), &item)?.when(absent());
        let change = vec![raised.into(), replaced.into(), added.into()];
        let failed = table.transact_and_record(change, account.id, &event, notice).await?;
        if failed.is_empty() {
            Ok(Changed::Done(Box::new(Session::of(id, item)?)))
        } else {
            Ok(Changed::Conflict)
        }
    }
}
