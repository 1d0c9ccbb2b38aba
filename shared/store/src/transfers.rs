//! Moves whole accounts into the table and out of it.

use std::collections::HashMap;

use dynamo::Client;
use events::Occasion;
use identity::{Account, NameTagger, StoredHash, UserId};

use crate::expression::attribute;
use crate::item::{AccountItem, ClaimItem, PasswordEpoch, PasswordItem, StoredItem};
use crate::key::{ACCOUNT, Key};
use crate::registrations::{Conflict, Creation};
use crate::table::{Config, ScanPosition, Scanned, StoreError, Table};

/// The maximum number of attempts to read an account and its password in a consistent state.
const READS: usize = 5;

/// Creates whole accounts and reads them page by page.
#[derive(Clone, Debug)]
pub struct Transfers(Table);

/// An account with its password: everything that moves to another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeAccount {
    /// The account.
    pub account: Account,
    /// The password. `None` if the owner has to set one by email.
    pub password: Option<WholePassword>,
}

/// A password as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholePassword {
    /// The hash of the password.
    pub hash: StoredHash,
    /// The account's epoch in which the password was set.
    pub set_in: PasswordEpoch,
}

/// The outcome of creating a whole account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The account was created.
    Created,
    /// An account with this id exists. Nothing was written.
    IdTaken,
    /// Another account has the username, or a recently deleted account had it. Nothing was written.
    UsernameTaken,
    /// Another account has the address, or a recently deleted account had it. Nothing was written.
    EmailTaken,
}

/// A part of the table's accounts.
#[derive(Clone, Debug)]
pub struct Page {
    /// The accounts on the page. There may be none.
    pub accounts: Vec<WholeAccount>,
    /// The number of items of any kind that were read to find them.
    pub examined: u64,
    /// Where the next page begins. `None` after the last page.
    pub next: Option<ScanPosition>,
}

impl Transfers {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Creates an account in the given state, with its claims to the name and the address, or nothing at all. This is
    /// the same transaction as for a registration, with the same conditions.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn create(
        &self,
        whole: &WholeAccount,
        tagger: &dyn NameTagger,
        occasion: &Occasion,
    ) -> Result<Arrival, StoreError> {
        let WholeAccount { account, password } = whole;
        let creation = Creation {
            account: account.clone(),
            password: password.as_ref().map(|password| PasswordItem {
                hash: password.hash.expose().to_owned(),
                epoch: password.set_in,
            }),
            invite: None,
            mail: None,
            occasion,
        };
        let conflicts = self.0.create_account(creation, tagger).await?;
        // An account that has already been imported conflicts in every part, so the id is checked first.
        if conflicts.is_empty() {
            Ok(Arrival::Created)
        } else if conflicts.contains(&Conflict::Id) {
            Ok(Arrival::IdTaken)
        } else if conflicts.contains(&Conflict::Username) {
            Ok(Arrival::UsernameTaken)
        } else if conflicts.contains(&Conflict::Email) {
            Ok(Arrival::EmailTaken)
        } else {
            Err(StoreError::Contradiction)
        }
    }

    /// Finds the accounts with these ids.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn existing(&self, ids: &[UserId]) -> Result<HashMap<UserId, Account>, StoreError> {
        let items = self.0.get_all(ids.iter().map(|id| Key::account(*id))).await?;
        let accounts = items.into_values().map(|item| {
            let account = Account::from(AccountItem::parse(item)?);
            Ok((account.id, account))
        });
        accounts.collect()
    }

    /// Predicts the outcomes of [`Self::create`] from the claims of existing accounts. Accounts without a conflict are
    /// absent from the result. Tombstones of deleted accounts are not read.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn conflicts(
        &self,
        accounts: &[&Account],
    ) -> Result<HashMap<UserId, Arrival>, StoreError> {
        let keys = accounts.iter().flat_map(|account| {
            let address = account.email.as_ref().map(|email| Key::email(email.canonical()));
            [Some(Key::username(account.username.canonical())), address].into_iter().flatten()
        });
        let claims = self.0.get_all(keys).await?;
        let mut conflicts = HashMap::new();
        for account in accounts {
            let name = Key::username(account.username.canonical());
            let address = account.email.as_ref().map(|email| Key::email(email.canonical()));
            if let Some(claim) = claims.get(&name) {
                let claim = ClaimItem::parse(claim.clone())?;
                let is_own = claim.user_id == account.id;
                let arrival = if is_own { Arrival::IdTaken } else { Arrival::UsernameTaken };
                conflicts.insert(account.id, arrival);
            } else if address.is_some_and(|address| claims.contains_key(&address)) {
                conflicts.insert(account.id, Arrival::EmailTaken);
            }
        }
        Ok(conflicts)
    }

    /// The approximate number of items in the table. DynamoDB updates it every six hours.
    ///
    /// # Errors
    /// When the table cannot be described.
    pub async fn size(&self) -> Result<u64, StoreError> {
        let describe = self.0.client.describe_table().table_name(&self.0.name);
        let described = Box::pin(describe.send()).await?;
        let size =
            described.table().and_then(aws_sdk_dynamodb::types::TableDescription::item_count);
        Ok(size.and_then(|size| size.try_into().ok()).unwrap_or(0))
    }

    /// Reads the accounts among the next `limit` items of the table, beginning after `from`. Every account that exists
    /// throughout the traversal is on exactly one page.
    ///
    /// This scans the table, because the lists may lack accounts that an older version created.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn page(&self, from: Option<ScanPosition>, limit: i32) -> Result<Page, StoreError> {
        let is_account = attribute("sk").is(ACCOUNT);
        let Scanned { items, examined, next } = self.0.scan(from, Some(limit), is_account).await?;
        let accounts = items.into_iter().map(AccountItem::parse).collect::<Result<_, _>>()?;
        let accounts = self.with_passwords(accounts).await?;
        Ok(Page { accounts, examined, next })
    }

    async fn with_passwords(
        &self,
        accounts: Vec<AccountItem>,
    ) -> Result<Vec<WholeAccount>, StoreError> {
        let key = |account: &AccountItem| Key::password(account.username().canonical());
        let mut passwords = self.0.get_all(accounts.iter().map(key)).await?;
        let mut whole = Vec::with_capacity(accounts.len());
        for mut account in accounts {
            let password = passwords.remove(&key(&account));
            let mut password = password.map(PasswordItem::parse).transpose()?;
            let mut reads = 1;
            // If the two do not match, the password was changed or the account deleted between the reads: read again.
            while !is_password_of(&account, password.as_ref()) {
                let (id, name) = (account.id(), key(&account));
                let again = tokio::try_join!(self.0.get(Key::account(id)), self.0.get(name))?;
                let (Some(current), current_password) = again else { break };
                (account, password) = (current, current_password);
                reads += 1;
                if reads > READS {
                    return Err(StoreError::Contradiction);
                }
            }
            if is_password_of(&account, password.as_ref()) {
                let password = password.map(|password| WholePassword {
                    hash: StoredHash::new(password.hash),
                    set_in: password.epoch,
                });
                whole.push(WholeAccount { account: account.into(), password });
            }
        }
        Ok(whole)
    }
}

/// Whether `password` is the one that `account` had when the account was read.
fn is_password_of(account: &AccountItem, password: Option<&PasswordItem>) -> bool {
    let set_in = password.map_or_else(PasswordEpoch::default, |password| password.epoch);
    account.password_epoch() == set_in
}
