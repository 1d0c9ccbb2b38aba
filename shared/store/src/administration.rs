//! Finds and changes accounts on behalf of administrators.

use aws_sdk_dynamodb::types::TransactWriteItem;
use dynamo::Client;
use events::{Event, Kind, Occasion};
use identity::{
    Account, CanonicalName, Email, EmailStanding, NameTagger, Role, Roles, SessionEpoch, SessionId,
    Standing, UniqueName, UserId,
};
use process::{Fault, FaultKind};

use crate::expression::{Condition, absent, attribute, exists};
use crate::item::ClaimItem;
use crate::key::Key;
use crate::outbox::NewMail;
use crate::table::{Config, StoreError, Table};

/// The maximum number of attempts at a change when other requests change the same account concurrently.
pub(crate) const TRIES: usize = 3;

/// Finds and changes accounts.
#[derive(Clone, Debug)]
pub struct Administration {
    table: Table,
    authority: Option<Authority>,
}

/// The administrator on whose behalf an account is changed or deleted, as admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    admin: UserId,
    roles: Roles,
    epoch: SessionEpoch,
    session: SessionId,
}

impl Authority {
    /// The authority of the administrator with this account, in this session.
    #[must_use]
    pub fn of(admin: &Account, session: SessionId) -> Self {
        Self { admin: admin.id, roles: admin.roles.clone(), epoch: admin.epoch, session }
    }

    /// Builds the checks that the administrator is still active, has not lost a role and has not been logged out, and
    /// that the session has not ended, for a transaction that is conditional on the state `target` of an account.
    ///
    /// If `target` is the administrator's own account, this function checks `target` itself, because a transaction cannot
    /// contain the same item twice.
    ///
    /// # Errors
    /// When `target` is the administrator's own account and fails the check.
    pub(crate) fn check(
        &self,
        table: &Table,
        target: &Account,
    ) -> Result<Vec<TransactWriteItem>, ChangeError> {
        let Self { admin, roles, epoch, session } = self;
        let mut checks = vec![table.check(Key::session(*admin, *session), exists())];
        if *admin == target.id {
            self.check_account(Some(target))?;
        } else {
            let has = |role: Role| attribute("roles").contains(&role);
            let is_active = attribute("disabled").is(false).and(attribute("ver").is(*epoch));
            let is_unchanged = roles.iter().map(has).fold(is_active, Condition::and);
            checks.push(table.check(Key::account(*admin), is_unchanged));
        }
        Ok(checks)
    }

    /// Checks the administrator's account.
    fn check_account(&self, admin: Option<&Account>) -> Result<(), ChangeError> {
        let is_active =
            |admin: &&Account| admin.standing == Standing::Active && admin.epoch == self.epoch;
        let admin = admin.filter(is_active).ok_or(ChangeError::SessionEnded)?;
        let has_all = self.roles.iter().all(|role| admin.roles.contains(role));
        if has_all { Ok(()) } else { Err(ChangeError::NotPermitted) }
    }

    /// Why one of the checks of [`Self::check`] has failed.
    pub(crate) async fn refusal(&self, table: &Table) -> ChangeError {
        match table.account(self.admin).await {
            Ok(admin) => {
                self.check_account(admin.as_ref()).err().unwrap_or(ChangeError::SessionEnded)
            }
            Err(error) => error.into(),
        }
    }
}

/// A change that was made to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The account before the change.
    pub before: Account,
    /// The account after the change.
    pub after: Account,
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The account has changed since it was read.
    #[error("the account changed concurrently")]
    Raced,
    /// The account is the only active one with the role `super_admin`.
    #[error(
        "the account is the last active super_admin (after an update from a version without user lists, first run \
         `cargo xtask users reindex`)"
    )]
    LastSuperAdmin,
    /// Another account has the address, or a recently deleted account had it.
    #[error("another account uses the email address")]
    EmailTaken,
    /// The administrator has lost a role since the request was admitted.
    #[error("the administrator has lost a role")]
    NotPermitted,
    /// The administrator has been deleted, disabled or logged out since the request was admitted.
    #[error("the administrator has been deleted, disabled or logged out")]
    SessionEnded,
    /// The table could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault for ChangeError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Raced => FaultKind::Unavailable,
            Self::LastSuperAdmin | Self::EmailTaken => FaultKind::Conflict,
            Self::NotPermitted => FaultKind::Forbidden,
            Self::SessionEnded => FaultKind::Unauthenticated,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::LastSuperAdmin => "last_super_admin",
            Self::NotPermitted => "insufficient_role",
            Self::Raced | Self::EmailTaken | Self::SessionEnded => self.kind().code(),
            Self::Store(error) => error.code(),
        }
    }

    fn detail(&self) -> Option<&'static str> {
        match self {
            Self::LastSuperAdmin => Some("The account is the last active super_admin."),
            Self::EmailTaken => Some("Another account uses this email address."),
            Self::Raced | Self::NotPermitted | Self::SessionEnded => None,
            Self::Store(error) => error.detail(),
        }
    }
}

impl Administration {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self { table: Table::new(config, client), authority: None }
    }

    /// Returns a handle whose changes are refused if the administrator is disabled or logged out, or loses a role, before
    /// the change is made.
    #[must_use]
    pub fn on_behalf_of(&self, authority: Authority) -> Self {
        Self { table: self.table.clone(), authority: Some(authority) }
    }

    /// Reads an account.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.table.account(id).await
    }

    /// Finds the account with this username.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account_by_name(
        &self,
        name: &CanonicalName,
    ) -> Result<Option<Account>, StoreError> {
        let Some(claim) = self.table.get::<ClaimItem>(Key::username(name)).await? else {
            return Ok(None);
        };
        self.table.account(claim.user_id).await
    }

    /// Finds the account that has claimed this address.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account_by_email(
        &self,
        address: &CanonicalName,
    ) -> Result<Option<Account>, StoreError> {
        self.table.owner(address).await
    }

    /// Whether the account is the only active one with the role `super_admin`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn is_last_super_admin(&self, id: UserId) -> Result<bool, StoreError> {
        self.table.is_last_super_admin(id).await
    }

    /// Replaces an account with the one that `edit` returns for it. If the account changes in between, reads it again
    /// and retries, a few times at most. `edit` also returns a notice to the owner, if there is one to send. `occasion`
    /// describes the request, with a new id for each event that reports a part of the change. `tagger` computes the
    /// tags of a new address, which are needed to refuse the address of a recently deleted account.
    ///
    /// # Errors
    /// When the account does not exist, `edit` fails, the change is refused, or the table cannot be written.
    pub async fn edit<E: From<ChangeError>>(
        &self,
        id: UserId,
        occasion: impl Fn() -> Occasion,
        tagger: &dyn NameTagger,
        edit: impl Fn(&Account) -> Result<(Account, Option<NewMail>), E>,
    ) -> Result<Edited, E> {
        self.try_edit(id, occasion, Some(tagger), edit).await
    }

    /// Carries out [`Self::edit`]. Without a `tagger`, the address must not change.
    async fn try_edit<E: From<ChangeError>>(
        &self,
        id: UserId,
        occasion: impl Fn() -> Occasion,
        tagger: Option<&dyn NameTagger>,
        edit: impl Fn(&Account) -> Result<(Account, Option<NewMail>), E>,
    ) -> Result<Edited, E> {
        for _ in 0..TRIES {
            let before = self.table.account(id).await.map_err(ChangeError::from)?;
            let before = before.ok_or(ChangeError::Store(StoreError::Absent))?;
            let (after, notice) = edit(&before)?;
            match self.write(&before, after, notice.as_ref(), &occasion, tagger).await {
                Err(ChangeError::Raced) => {}
                after => return Ok(Edited { after: after?, before }),
            }
        }
        Err(ChangeError::Raced.into())
    }

    /// Changes an account from `before` to `after`, updates its list entries and its claim to an address, records the
    /// events, and returns the new state. If nothing differs, nothing is written.
    ///
    /// This is one transaction. It fails unless the account is still in the state `before`, the new address can be
    /// claimed, and an active super administrator remains. A notice that cannot be written does not prevent the change.
    ///
    /// # Errors
    /// When a condition fails, or the table cannot be written.
    pub async fn replace(
        &self,
        before: &Account,
        after: Account,
        notice: Option<&NewMail>,
        occasion: impl Fn() -> Occasion,
        tagger: &dyn NameTagger,
    ) -> Result<Account, ChangeError> {
        self.write(before, after, notice, &occasion, Some(tagger)).await
    }

    /// Carries out [`Self::replace`]. Without a `tagger`, the address must not change.
    async fn write(
        &self,
        before: &Account,
        after: Account,
        notice: Option<&NewMail>,
        occasion: &impl Fn() -> Occasion,
        tagger: Option<&dyn NameTagger>,
    ) -> Result<Account, ChangeError> {
        let Self { table, authority } = self;
        if after == *before {
            return Ok(after);
        }
        let mut update = table.update_account(before.id).when(Table::is_current(before));
        if after.roles != before.roles {
            update = update.set("roles", &after.roles);
        }
        if after.standing != before.standing {
            update = update.set("disabled", after.standing == Standing::Disabled);
        }
        if after.epoch != before.epoch {
            update = update.set("ver", after.epoch);
        }
        if after.email_standing != before.email_standing {
            let is_verified = after.email_standing == EmailStanding::Verified;
            update = update.set("email_verified", is_verified);
        }
        for (name, old, new) in [
            ("email", &before.email, &after.email),
            ("pending_email", &before.pending_email, &after.pending_email),
        ] {
            match new {
                Some(address) if new != old => update = update.set(name, address),
                None if old.is_some() => update = update.remove(name),
                Some(_) | None => {}
            }
        }
        if before.email != after.email || before.pending_email != after.pending_email {
            // A code that was sent to another address earlier must no longer work: it would replace the new address.
            update = update.set("codes_after", occasion().id);
        }
        if after.attributes != before.attributes {
            update = if after.attributes.is_empty() {
                update.remove("attributes")
            } else {
                update.set("attributes", after.attributes.to_json())
            };
        }
        let mut change = vec![update.into()];
        let memberships = table.memberships(Some(before), Some(&after))?;
        let keeps_super_admin = memberships.first_keeps_super_admin.then_some(change.len());
        change.extend(memberships.parts);
        let address = |account: &Account| account.email.as_ref().map(Email::canonical).cloned();
        let (old, new) = (address(before), address(&after));
        let mut claimed = 0..0;
        if old != new {
            let own_or_free = || absent().or(attribute("user_id").is(before.id));
            if let Some(new) = &new {
                let claim = ClaimItem { user_id: before.id, username: before.username.clone() };
                let first = change.len();
                change.push(table.put(Key::email(new), &claim)?.when(own_or_free()).into());
                let tagger = tagger.ok_or(StoreError::Contradiction)?;
                change.extend(table.no_tombstone(UniqueName::Email(new), tagger, occasion().at));
                claimed = first..change.len();
            }
            if let Some(old) = &old {
                change.push(table.delete_when(Key::email(old), own_or_free()));
            }
        }
        let kinds = happened(before, &after).into_iter();
        let events: Vec<Event> = kinds.map(|kind| occasion().event(before.id, kind)).collect();
        for event in &events {
            change.push(table.event(before.id, event)?.into());
        }
        let permitted = change.len();
        if let Some(authority) = authority {
            change.extend(authority.check(table, before)?);
        }
        let failed = table.transact_with_mail(change, before.id, notice).await?;
        match failed.first() {
            None => {
                for event in &events {
                    event.log(Some(before.id));
                }
                Ok(Account { revision: before.revision.next(), ..after })
            }
            // If the account has changed, other conditions may have failed only for that reason.
            Some(0) => Err(ChangeError::Raced),
            first if first.copied() == keeps_super_admin => Err(ChangeError::LastSuperAdmin),
            Some(first) if claimed.contains(first) => Err(ChangeError::EmailTaken),
            Some(first) if *first >= permitted => Err(match authority {
                Some(authority) => authority.refusal(table).await,
                None => StoreError::Contradiction.into(),
            }),
            Some(_) => Err(StoreError::Contradiction.into()),
        }
    }

    /// Replaces an account's roles. Checked routes apply the new roles immediately. Routes that check only the
    /// token apply the old ones until the token expires.
    ///
    /// # Errors
    /// When the account does not exist, or is the last active super administrator, or the table cannot be written.
    pub async fn set_roles(
        &self,
        id: UserId,
        roles: &Roles,
        occasion: impl Fn() -> Occasion,
    ) -> Result<Account, ChangeError> {
        self.change(id, occasion, |account| Account { roles: roles.clone(), ..account }).await
    }

    /// Disables an account: its owner cannot sign in, and its sessions end permanently, even if the account is
    /// enabled again. Routes that check only the token admit the owner until the token expires.
    ///
    /// # Errors
    /// When the account does not exist, or is the last active super administrator, or the table cannot be written.
    pub async fn disable(
        &self,
        id: UserId,
        occasion: impl Fn() -> Occasion,
    ) -> Result<Account, ChangeError> {
        let disable = |account: Account| {
            // The next epoch ends the sessions permanently.
            let epoch = account.epoch.next();
            Account { standing: Standing::Disabled, epoch, ..account }
        };
        self.change(id, occasion, disable).await
    }

    /// Enables a disabled account again.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn enable(
        &self,
        id: UserId,
        occasion: impl Fn() -> Occasion,
    ) -> Result<Account, ChangeError> {
        self.change(id, occasion, |account| Account { standing: Standing::Active, ..account }).await
    }

    async fn change(
        &self,
        id: UserId,
        occasion: impl Fn() -> Occasion,
        change: impl Fn(Account) -> Account,
    ) -> Result<Account, ChangeError> {
        let edit = |account: &Account| Ok((change(account.clone()), None));
        let edited: Result<_, ChangeError> = self.try_edit(id, occasion, None, edit).await;
        edited.map(|edited| edited.after)
    }
}

/// The events that report a change. Several parts of an account may change at once.
fn happened(before: &Account, after: &Account) -> Vec<Kind> {
    let mut kinds = Vec::new();
    if after.roles != before.roles {
        let (roles, previous_roles) = (after.roles.clone(), before.roles.clone());
        kinds.push(Kind::RolesChanged { roles, previous_roles });
    }
    match (before.standing, after.standing) {
        (Standing::Active, Standing::Disabled) => kinds.push(Kind::Disabled),
        (Standing::Disabled, Standing::Active) => kinds.push(Kind::Enabled),
        (Standing::Active, Standing::Active) | (Standing::Disabled, Standing::Disabled) => {
            if after.epoch != before.epoch {
                kinds.push(Kind::Logout { session_id: None });
            }
        }
    }
    let address = |account: &Account| {
        (account.email.clone(), account.pending_email.clone(), account.email_standing)
    };
    if address(before) != address(after) {
        kinds.push(Kind::EmailChanged { standing: after.email_standing });
    }
    kinds
}
