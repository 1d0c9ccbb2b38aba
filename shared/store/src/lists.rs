//! Lists of accounts, and the set of super administrators.
//!
//! Every transaction that changes an account's roles, or disables or enables the account, also changes the lists that
//! contain it. A list is split into shards by the last digit of the account's id, which is random, so that no partition
//! gets all writes.

use std::collections::BTreeSet;
use std::fmt;

use aws_sdk_dynamodb::types::TransactWriteItem;
use dynamo::Client;
use identity::{Account, Role, Standing, UserId};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::codes::PermanentCode;
use crate::expression::{absent, attribute};
use crate::item::{AccountItem, StoredItem, stored_items};
use crate::key::{ACCOUNT, CODE_ITEM, Key, REMAINS};
use crate::outbox::Task;
use crate::table::{BATCH, Config, ScanPosition, Scanned, Table};

/// The number of shards of a list of accounts.
pub const LIST_SHARDS: u8 = 16;

/// The maximum number of accounts that one page examines. A page can therefore be short even if more accounts match.
const EXAMINED: usize = 1_000;

/// A list of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    /// All accounts.
    All,
    /// The accounts with this role. The role `user` has no list, because nearly every account has it.
    Role(Role),
    /// The disabled accounts.
    Disabled,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("ALL"),
            Self::Role(role) => write!(f, "ROLE#{role}"),
            Self::Disabled => f.write_str("DISABLED"),
        }
    }
}

impl List {
    /// All lists.
    fn all() -> impl Iterator<Item = Self> {
        let roles = Role::ALL.into_iter().filter(|role| *role != Role::User).map(Self::Role);
        [Self::All, Self::Disabled].into_iter().chain(roles)
    }

    /// The lists that contain an account.
    fn with(account: &Account) -> BTreeSet<Self> {
        let roles = account.roles.iter().filter(|role| *role != Role::User).map(Self::Role);
        let disabled = (account.standing == Standing::Disabled).then_some(Self::Disabled);
        [Self::All].into_iter().chain(roles).chain(disabled).collect()
    }

    /// The partition key of a shard.
    pub(crate) fn shard(self, shard: u8) -> String {
        format!("LIST#{self}#{shard:x}")
    }
}

/// The shard of an account in every list: the last digit of its id.
pub(crate) fn shard_of(id: UserId) -> u8 {
    id.to_bytes()[15] % LIST_SHARDS
}

/// The entry of an account in a list. It has no attributes except its key.
#[derive(Serialize, Deserialize)]
struct Entry {}

/// The set of all active accounts with the role `super_admin`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SuperAdmins {
    #[serde(default)]
    ids: BTreeSet<UserId>,
}

stored_items!(SuperAdmins, Entry);

/// The parts of a transaction that keep the lists and the set of super administrators up to date.
pub(crate) struct Memberships {
    pub(crate) parts: Vec<TransactWriteItem>,
    /// Whether the condition of the first part is that another active super administrator remains.
    pub(crate) first_keeps_super_admin: bool,
}

impl Table {
    /// Builds the parts for a transaction that changes an account from `before` to `after`, where `None` means that the
    /// account does not exist. If the account stops being an active super administrator, the first part has a
    /// condition: another one must remain.
    pub(crate) fn memberships(
        &self,
        before: Option<&Account>,
        after: Option<&Account>,
    ) -> Result<Memberships, StoreError> {
        let (mut parts, mut first_keeps_super_admin) = (Vec::new(), false);
        let is_super =
            |account: Option<&Account>| account.is_some_and(Account::is_active_super_admin);
        if let Some(account) = before.or(after) {
            let set = self.update(Key::super_admins());
            match (is_super(before), is_super(after)) {
                (true, false) => {
                    let is_not_last = attribute("ids")
                        .contains(&account.id)
                        .and(attribute("ids").has_more_than(1));
                    parts.push(set.when(is_not_last).remove_from_set("ids", [account.id]).into());
                    first_keeps_super_admin = true;
                }
                (false, true) => parts.push(set.add_to_set("ids", [account.id]).into()),
                (true, true) | (false, false) => {}
            }
        }
        let lists = |account: Option<&Account>| account.map(List::with).unwrap_or_default();
        let (old, new) = (lists(before), lists(after));
        for (account, list) in
            after.iter().flat_map(|account| new.difference(&old).map(move |list| (account, list)))
        {
            parts.push(self.put(Key::listed(*list, account.id), &Entry {})?.into());
        }
        for (account, list) in
            before.iter().flat_map(|account| old.difference(&new).map(move |list| (account, list)))
        {
            parts.push(self.delete_any(Key::listed(*list, account.id)));
        }
        Ok(Memberships { parts, first_keeps_super_admin })
    }

    /// Builds the deletions of the account's entries in lists that should not contain it. An older version may have
    /// changed the account but not its list entries.
    pub(crate) fn outdated_entries(
        &self,
        account: &Account,
    ) -> impl Iterator<Item = TransactWriteItem> {
        let lists = List::with(account);
        let others = List::all().filter(move |list| !lists.contains(list));
        others.map(|list| self.delete_any(Key::listed(list, account.id)))
    }

    /// Whether the account is the only active super administrator.
    pub(crate) async fn is_last_super_admin(&self, id: UserId) -> Result<bool, StoreError> {
        Ok(self.super_admins().await?.ids == BTreeSet::from([id]))
    }

    async fn super_admins(&self) -> Result<SuperAdmins, StoreError> {
        Ok(self.get(Key::super_admins()).await?.unwrap_or_default())
    }
}

/// Which accounts to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// Only accounts with this role.
    pub role: Option<Role>,
    /// Only active or only disabled accounts.
    pub standing: Option<Standing>,
}

impl AccountFilter {
    /// Whether the account passes.
    #[must_use]
    pub fn admits(self, account: &Account) -> bool {
        self.role.is_none_or(|role| account.roles.contains(role))
            && self.standing.is_none_or(|standing| account.standing == standing)
    }

    /// The shortest list that contains all accounts that pass, and whether every account in it passes.
    fn list(self) -> (List, Coverage) {
        let (list, answered) = match (self.role.filter(|role| *role != Role::User), self.standing) {
            (Some(role), _) => (List::Role(role), Self { role: Some(role), standing: None }),
            (None, disabled @ Some(Standing::Disabled)) => {
                (List::Disabled, Self { role: None, standing: disabled })
            }
            (None, _) => (List::All, Self::default()),
        };
        (list, if self == answered { Coverage::Exact } else { Coverage::Superset })
    }
}

/// How a list relates to a filter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coverage {
    /// Every account in the list passes the filter.
    Exact,
    /// Some accounts in the list may not pass.
    Superset,
}

/// A position in a list: after an account, or at the start of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    shard: u8,
    after: Option<UserId>,
}

/// A page of accounts.
#[derive(Clone, Debug)]
pub struct AccountPage {
    /// The accounts, as they were when the page was read.
    pub accounts: Vec<Account>,
    /// Where the next page begins. `None` after the last page.
    pub next: Option<Position>,
}

/// Lists accounts.
#[derive(Clone, Debug)]
pub struct Listings(Table);

impl Listings {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reads up to `limit` accounts that pass `filter`, beginning at the position `from`. Examines only about a
    /// thousand accounts, so the page may be short. Every account that exists and passes during the whole traversal is
    /// on exactly one page.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn page(
        &self,
        filter: AccountFilter,
        from: Position,
        limit: usize,
    ) -> Result<AccountPage, StoreError> {
        let (list, coverage) = filter.list();
        let mut page = AccountPage { accounts: Vec::new(), next: Some(from) };
        let mut examined = 0;
        while let Some(position) = page.next
            && page.accounts.len() < limit
            && examined < EXAMINED
        {
            // If every listed account passes, read only as many as the page still needs.
            let wanted = match coverage {
                Coverage::Exact => (limit - page.accounts.len()).min(BATCH),
                Coverage::Superset => BATCH,
            };
            let (ids, next) = self.0.listed(list, position, wanted).await?;
            examined += ids.len();
            page.next = next;
            let accounts = self.0.accounts(&ids).await?;
            for account in accounts.into_iter().filter(|account| filter.admits(account)) {
                if page.accounts.len() == limit {
                    // The next page begins after the last account on this one.
                    page.next = page
                        .accounts
                        .last()
                        .map(|last| Position { shard: shard_of(last.id), after: Some(last.id) });
                    break;
                }
                page.accounts.push(account);
            }
        }
        Ok(page)
    }

    /// Counts the accounts that pass `filter`. This reads the whole list.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn count(&self, filter: AccountFilter) -> Result<usize, StoreError> {
        let (list, coverage) = filter.list();
        let (mut count, mut position) = (0, Some(Position::default()));
        while let Some(from) = position {
            position = match coverage {
                Coverage::Exact => {
                    let (ids, next) = self.0.listed(list, from, EXAMINED).await?;
                    count += ids.len();
                    next
                }
                Coverage::Superset => {
                    let page = self.page(filter, from, EXAMINED).await?;
                    count += page.accounts.len();
                    page.next
                }
            };
        }
        Ok(count)
    }
}

impl Table {
    /// Reads the next `wanted` ids of a list, or all that are left, and returns the position after them.
    async fn listed(
        &self,
        list: List,
        from: Position,
        wanted: usize,
    ) -> Result<(Vec<UserId>, Option<Position>), StoreError> {
        let (mut ids, mut position) = (Vec::new(), from);
        while position.shard < LIST_SHARDS {
            let shard = list.shard(position.shard);
            let after = position.after.map(|id| id.to_string());
            let (found, is_end) =
                self.keys_after(&shard, after.as_deref(), wanted - ids.len()).await?;
            for id in found {
                let id = id.parse().map_err(StoreError::unusable)?;
                position.after = Some(id);
                ids.push(id);
            }
            if is_end {
                position = Position { shard: position.shard + 1, after: None };
            }
            if ids.len() >= wanted {
                break;
            }
        }
        Ok((ids, Some(position).filter(|position| position.shard < LIST_SHARDS)))
    }
}

/// Corrects what earlier versions have left: accounts whose list entries are missing or outdated, used codes without
/// pointers, and deletions that a mailer without postponement has not completed.
#[derive(Clone, Debug)]
pub struct Reindexing(Table);

/// The items in a part of the table that may have to be corrected.
#[derive(Clone, Debug)]
pub struct Unindexed {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// The codes that never expire.
    pub codes: Vec<PermanentCode>,
    /// The deleted accounts of which something may remain.
    pub deleted: Vec<UserId>,
    /// The number of accounts and codes that cannot be read, for example because a newer version wrote them.
    pub unreadable: usize,
    /// Where the scan continues. `None` at the end of the table.
    pub next: Option<ScanPosition>,
}

impl Reindexing {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reads the set of super administrators. It may contain accounts that have lost the role.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn super_admins(&self) -> Result<BTreeSet<UserId>, StoreError> {
        Ok(self.0.super_admins().await?.ids)
    }

    /// Reads the accounts in a part of the table, whether or not they are listed, the codes that never expire, and the
    /// outbox items of deleted accounts. `from` is the position that the previous call returned.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn scan(&self, from: Option<ScanPosition>) -> Result<Unindexed, StoreError> {
        let is_code = attribute("sk").is(CODE_ITEM).and(attribute("expires_at").is_absent());
        let filter = attribute("sk").is(ACCOUNT).or(is_code).or(attribute("sk").is(REMAINS));
        let Scanned { items, next, .. } = self.0.scan(from, None, filter).await?;
        let (mut accounts, mut codes, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        let mut unreadable = 0;
        for item in items {
            let key = Key::of(&item).ok_or(StoreError::Contradiction)?;
            // An item that cannot be read must not prevent the correction of the others.
            let read = if let Some(Task::Remains(id)) = Key::task(&key.pk, &key.sk) {
                deleted.push(id);
                Ok(())
            } else if key.sk == ACCOUNT {
                AccountItem::parse(item).map(|account| accounts.push(account.into()))
            } else {
                PermanentCode::of(item).map(|code| codes.push(code))
            };
            unreadable += usize::from(read.is_err());
        }
        Ok(Unindexed { accounts, codes, deleted, unreadable, next })
    }

    /// Adds an account to the lists that should contain it, and removes it from all others. Returns `false` if the
    /// account has changed since it was read.
    ///
    /// `super_admins` is the set as it was before the account was read. Only a super administrator or a member of the
    /// set writes the set: concurrent writes to this one item would conflict.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn index(
        &self,
        account: &Account,
        super_admins: &BTreeSet<UserId>,
    ) -> Result<bool, StoreError> {
        let Self(table) = self;
        let mut parts = vec![table.check(Key::account(account.id), Table::is_current(account))];
        parts.extend(table.memberships(None, Some(account))?.parts);
        parts.extend(table.outdated_entries(account));
        if super_admins.contains(&account.id) && !account.is_active_super_admin() {
            let set = table.update(Key::super_admins());
            parts.push(set.remove_from_set("ids", [account.id]).into());
        }
        Ok(table.transact(parts).await?.is_empty())
    }

    /// Makes the deletion of the code's account find the code, or deletes the code if its account no longer exists.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn link(&self, code: PermanentCode) -> Result<(), StoreError> {
        self.0.link(code).await
    }

    /// Removes deleted accounts from the set of super administrators.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn forget_deleted(&self) -> Result<(), StoreError> {
        let Self(table) = self;
        let ids: Vec<_> = table.super_admins().await?.ids.into_iter().collect();
        let existing = table.accounts(&ids).await?;
        for id in ids.into_iter().filter(|id| existing.iter().all(|account| account.id != *id)) {
            let set = table.update(Key::super_admins()).remove_from_set("ids", [id]);
            table.transact(vec![table.check(Key::account(id), absent()), set.into()]).await?;
        }
        Ok(())
    }
}
