//! Reads an account and a session, to decide whether a caller is admitted.

use auth::{AccountCheck, CheckError, Found};
use dynamo::Client;
use identity::{Account, SessionId, UserId};

use crate::item::{AccountItem, SessionItem};
use crate::key::Key;
use crate::table::{Config, Table};

/// Reads accounts and sessions.
#[derive(Clone, Debug)]
pub struct Accounts(Table);

impl Accounts {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }
}

impl AccountCheck for Accounts {
    async fn find(&self, user: UserId, session: SessionId) -> Result<Found, CheckError> {
        let (account, session) = tokio::try_join!(
            self.0.get::<AccountItem>(Key::account(user)),
            self.0.get::<SessionItem>(Key::session(user, session)),
        )?;
        let session =
            session.as_ref().map(TryInto::try_into).transpose().map_err(CheckError::from)?;
        Ok(Found { account: account.map(Account::from), session })
    }
}
