//! Finding an account by its name, and beginning a session.

use auth::{Account, CanonicalName, SessionId, UserId};
use dynamo::Client;
use jiff::Timestamp;

use crate::Secret;
use crate::item::{self, AccountItem, ClaimItem, PasswordItem, SessionItem};
use crate::key::Key;
use crate::table::{Config, StoreError, Table};

/// Finds accounts by name and begins sessions.
#[derive(Clone, Debug)]
pub struct Logins(Table);

/// By what somebody signs in.
#[derive(Clone, Debug)]
pub enum Identifier {
    /// A username.
    Username(CanonicalName),
    /// An e-mail address.
    Email(CanonicalName),
}

/// What is needed to check a password.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Whose it is.
    pub user_id: UserId,
    /// The hash.
    pub secret: Secret,
}

/// A session to be begun.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The account's epoch, as it was read.
    pub ver: u64,
    /// The time of login.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// What the client said of itself.
    pub user_agent: Option<String>,
    /// Where it came from.
    pub network: Option<String>,
}

impl Logins {
    /// The logins of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// What is needed to check a password, or `None` when nobody has that name.
    ///
    /// A name takes one wait. An address takes two, whether or not anybody has it, so that the time
    /// does not tell.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn credential(&self, by: &Identifier) -> Result<Option<Credential>, StoreError> {
        let (claim, password) = match by {
            Identifier::Username(name) => tokio::try_join!(
                self.0.get::<ClaimItem>(Key::username(name)),
                self.0.get::<PasswordItem>(Key::password(name)),
            )?,
            Identifier::Email(address) => {
                let claim = self.0.get::<ClaimItem>(Key::email(address)).await?;
                let name = claim.as_ref().map_or(address, |claim| claim.username.canonical());
                let password = self.0.get::<PasswordItem>(Key::password(name)).await?;
                (claim, password)
            }
        };
        Ok(claim.zip(password).map(|(claim, password)| Credential {
            user_id: claim.user_id,
            secret: Secret::new(password.hash),
        }))
    }

    /// The account, or `None` when it is gone.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.0.get::<AccountItem>(Key::account(id)).await?.map(Account::from))
    }

    /// Begins a session.
    ///
    /// It need not be one transaction with a look at the account: a session that begins while the
    /// account is being disabled carries the epoch from before and so never counts.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn begin(&self, user: UserId, session: NewSession) -> Result<(), StoreError> {
        let item = SessionItem {
            created_at: session.created_at,
            last_used_at: session.created_at,
            expires_at: session.expires_at.as_second(),
            counter: 0,
            ver: session.ver,
            user_agent: session.user_agent,
            network: session.network,
        };
        // Without a condition on purpose: the id is new and random, and a retry of ours after a
        // lost answer must not fail on what the first try wrote.
        self.0
            .client
            .put_item()
            .table_name(&self.0.name)
            .set_item(Some(item::with_key(Key::session(user, session.id), &item)?))
            .send()
            .await?;
        Ok(())
    }
}
