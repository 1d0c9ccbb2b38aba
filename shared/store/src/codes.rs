//! Emailed codes: their stored part, and the limit on guesses.
//!
//! The code itself is not stored. It is a MAC of the email's id, so the pepper is enough to verify it. An email
//! contains its code in two forms: the token of a link, and digits.

use aws_sdk_dynamodb::types::TransactWriteItem;
use dynamo::Client;
use identity::{
    Account, CanonicalName, Email, EmailStanding, MailId, MailedFor, NameTagger, SessionEpoch,
    Standing, UniqueName, UserId,
};
use jiff::{SignedDuration, Timestamp};
use process::{Random, SystemRandom};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::expression::{absent, attribute, exists};
use crate::item::{ClaimItem, Item, StoredItem, stored_items};
use crate::key::{Key, KeyPrefix};
use crate::outbox::{Mail, MailItem};
use crate::table::{Config, StoreError, Table};
use crate::write::Written;

/// The number of times that the digits in one email may be tried.
pub const DIGITS_TRIES: u32 = 5;

/// The stored part of an emailed code: everything except the code itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRecord {
    /// The id of the email that contains the code.
    pub mail: MailId,
    /// The change that the code authorizes.
    pub purpose: MailedFor,
    /// The account that the code was requested for.
    pub user: UserId,
    /// The account's epoch at the time of the request. In a later epoch the code is void.
    pub epoch: SessionEpoch,
    /// The address that the code was sent to.
    pub address: Email,
    /// The id of the pepper from which the code was derived.
    pub pepper: String,
    /// When the code expires.
    pub expires_at: Timestamp,
}

/// The stored form of a code. Its key contains the id of the email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CodeItem {
    purpose: MailedFor,
    user_id: UserId,
    #[serde(rename = "ver")]
    epoch: SessionEpoch,
    address: Email,
    pepper: String,
    /// Whether the code has been used. A used code stays stored, so that sending its email again does not make
    /// it valid again.
    #[serde(default)]
    used: bool,
    /// The table's TTL attribute, in seconds since 1970. A used confirmation code has none, because presenting
    /// it again succeeds as long as the account has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// The stored form of a pointer to a code, by which the code is found when its account is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PointerItem {
    /// The table's TTL attribute, in seconds since 1970. Absent if the code does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// How long a pointer stays stored after its code has expired. TTL deletes items in any order. If it deleted the
/// pointer before the code, the deletion of the account would leave the code behind.
const POINTER_KEPT_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Whether a code was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a code that was not stored is invalid"]
pub enum Stored {
    /// The code is stored, by this call or an earlier one.
    Done,
    /// The account no longer exists. Nothing was written.
    NoAccount,
}

/// The purpose and the owner of digits. A new email replaces the digits of an earlier email that has the same purpose
/// and owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigitsOf<'a> {
    /// For a password reset, requested with this address.
    Reset(&'a CanonicalName),
    /// For the confirmation of an address by this account. Two accounts may claim the same address, and the
    /// digits of one account must not confirm it for the other.
    Confirmation(UserId),
}

impl DigitsOf<'_> {
    /// The purpose of the email that contains the digits.
    #[must_use]
    pub const fn purpose(self) -> MailedFor {
        match self {
            Self::Reset(_) => MailedFor::PasswordReset,
            Self::Confirmation(_) => MailedFor::EmailVerification,
        }
    }
}

impl CodeRecord {
    /// The purpose and the owner of the code's digits.
    #[must_use]
    pub fn digits_of(&self) -> DigitsOf<'_> {
        match self.purpose {
            MailedFor::PasswordReset => DigitsOf::Reset(self.address.canonical()),
            MailedFor::EmailVerification => DigitsOf::Confirmation(self.user),
        }
    }
}

/// The currently valid digits of an address or an account, and how often they have been tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DigitsItem {
    mail_id: MailId,
    pepper: String,
    tries: u32,
    /// The mark of the last try. A retry after a lost answer recognizes its own try by the mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// The mark of the last try that was given back. A retry after a lost answer recognizes it and does not give the
    /// same try back twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned: Option<String>,
    /// The table's TTL attribute, in seconds since 1970.
    expires_at: i64,
}

stored_items!(CodeItem, PointerItem, DigitsItem);

/// A reserved try at digits, which can be given back once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a try that is not given back is used up"]
pub struct DigitsTry {
    key: Key,
    mail: MailId,
    pepper: String,
    mark: String,
}

impl DigitsTry {
    /// The id of the email whose digits are valid.
    #[must_use]
    pub fn mail(&self) -> MailId {
        self.mail
    }

    /// The id of the pepper from which the digits were derived.
    #[must_use]
    pub fn pepper(&self) -> &str {
        &self.pepper
    }
}

/// A requested email, as the mailer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The purpose and the recipient.
    pub mail: Mail,
    /// When the email was requested.
    pub asked_at: Timestamp,
    /// The time after which the email is no longer worth sending.
    pub expires_at: Timestamp,
}

/// A stored code that never expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermanentCode {
    mail: MailId,
    user: UserId,
}

impl PermanentCode {
    pub(crate) fn of(item: Item) -> Result<Self, StoreError> {
        let mail = Key::of(&item).and_then(|key| key.mail_of_code());
        let mail = mail.ok_or(StoreError::Contradiction)?;
        Ok(Self { mail, user: CodeItem::parse(item)?.user_id })
    }
}

impl Table {
    /// Writes the pointer to a code that never expires, or deletes the code if its account does not exist.
    pub(crate) async fn link(&self, code: PermanentCode) -> Result<(), StoreError> {
        let PermanentCode { mail, user } = code;
        let pointer = Key::code_of(user, mail);
        let put = self.put(pointer.clone(), &PointerItem { expires_at: None })?.into();
        let failed = self.transact(vec![self.check(Key::account(user), exists()), put]).await?;
        if failed.is_empty() { Ok(()) } else { self.delete_code(&pointer).await }
    }

    /// Finds the account that has this address. `None` if no account claims it, or if the claiming account has
    /// since changed its address.
    pub(crate) async fn owner(
        &self,
        address: &CanonicalName,
    ) -> Result<Option<Account>, StoreError> {
        let Some(claim) = self.get::<ClaimItem>(Key::email(address)).await? else {
            return Ok(None);
        };
        let has = |account: &Account| {
            account.email.as_ref().is_some_and(|email| email.canonical() == address)
        };
        Ok(self.account(claim.user_id).await?.filter(has))
    }

    /// Deletes the code to which a pointer points, and its digits unless those of a later email have replaced them.
    pub(crate) async fn delete_code(&self, pointer: &Key) -> Result<(), StoreError> {
        let Some(mail) = KeyPrefix::code_of(pointer) else { return Ok(()) };
        let Some(code) = self.get::<CodeItem>(Key::code(mail)).await? else { return Ok(()) };
        let digits = match code.purpose {
            MailedFor::PasswordReset => DigitsOf::Reset(code.address.canonical()),
            MailedFor::EmailVerification => DigitsOf::Confirmation(code.user_id),
        };
        let is_of_mail = attribute("mail_id").is(mail);
        let digits = self.delete_when(Key::digits(digits), absent().or(is_of_mail));
        // If the condition fails, the digits belong to a later email.
        self.transact(vec![digits]).await?;
        self.delete(Key::code(mail)).await.map(drop)
    }

    /// Builds the parts of a transaction that use up a code. The transaction fails if the code has been
    /// used or has expired. A used confirmation code is kept as long as its account: see [`Codes::has_confirmed`].
    pub(crate) fn use_up(
        &self,
        code: &CodeRecord,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let is_valid =
            attribute("used").is(false).and(attribute("expires_at").above(now.as_second()));
        let update = self.update(Key::code(code.mail)).when(is_valid).set("used", true);
        Ok(match code.purpose {
            MailedFor::PasswordReset => vec![update.into()],
            MailedFor::EmailVerification => {
                let pointer = PointerItem { expires_at: None };
                let pointer = self.put(Key::code_of(code.user, code.mail), &pointer)?;
                vec![update.remove("expires_at").into(), pointer.into()]
            }
        })
    }
}

/// The mailer's access to the table.
#[derive(Clone, Debug)]
pub struct Mailings(Table);

impl Mailings {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reads a requested email. `None` if it has already been handled.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn find(&self, id: MailId) -> Result<Option<Outgoing>, StoreError> {
        let Some(item) = self.0.get::<MailItem>(Key::mail(id)).await? else { return Ok(None) };
        let expires_at = Timestamp::from_second(item.expires_at).map_err(StoreError::unusable)?;
        Ok(Some(Outgoing { mail: item.mail, asked_at: item.asked_at, expires_at }))
    }

    /// Finds the account that has this address.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn owner(&self, address: &CanonicalName) -> Result<Option<Account>, StoreError> {
        self.0.owner(address).await
    }

    /// Whether a recently deleted account had this address. If so, no account can claim it yet.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn is_quarantined(
        &self,
        address: &CanonicalName,
        tagger: &dyn NameTagger,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.0.has_tombstone(UniqueName::Email(address), tagger, now).await
    }

    /// Reads an account. `None` if it does not exist.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.0.account(id).await
    }

    /// Stores a code if its account exists. The mailer does this before it sends the email. Storing the code again
    /// changes nothing: a code that has been used stays used, and its earlier tries still count. The code's digits
    /// replace the digits of earlier emails, but not those of a later email ([`CodeRecord::digits_of`]).
    ///
    /// The same transaction checks that the account exists. Otherwise the code could outlive an account that is deleted
    /// concurrently.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn store(&self, code: &CodeRecord) -> Result<Stored, StoreError> {
        const ACCOUNT: usize = 0;
        const DIGITS: usize = 3;
        let Self(table) = self;
        let expires_at = code.expires_at.as_second();
        let stored = CodeItem {
            purpose: code.purpose,
            user_id: code.user,
            epoch: code.epoch,
            address: code.address.clone(),
            pepper: code.pepper.clone(),
            used: false,
            expires_at: Some(expires_at),
        };
        let digits = DigitsItem {
            mail_id: code.mail,
            pepper: code.pepper.clone(),
            tries: 0,
            last: None,
            returned: None,
            expires_at,
        };
        let kept_until = code.expires_at.saturating_add(POINTER_KEPT_FOR).unwrap_or(Timestamp::MAX);
        let pointer = PointerItem { expires_at: Some(kept_until.as_second()) };
        // Ids sort by time, so a later email has a greater id.
        let is_later = absent().or(attribute("mail_id").below(code.mail));
        let mut parts: Vec<TransactWriteItem> = vec![
            table.check(Key::account(code.user), exists()),
            table.put(Key::code(code.mail), &stored)?.when(absent()).into(),
            table.put(Key::code_of(code.user, code.mail), &pointer)?.into(),
            table.put(Key::digits(code.digits_of()), &digits)?.when(is_later).into(),
        ];
        let mut failed = table.transact(parts.clone()).await?;
        if failed == [DIGITS] {
            // The digits of a later email are stored, so this email's digits are invalid and only its link is valid.
            parts.truncate(DIGITS);
            failed = table.transact(parts).await?;
        }
        // Any other condition fails only if the code is already stored.
        Ok(if failed.contains(&ACCOUNT) { Stored::NoAccount } else { Stored::Done })
    }

    /// Deletes the request for an email that has been sent or will never be sent.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn done(&self, id: MailId) -> Result<(), StoreError> {
        self.0.delete(Key::mail(id)).await.map(drop)
    }
}

/// Finds presented codes, and limits guesses at digits.
#[derive(Clone, Debug)]
pub struct Codes(Table);

impl Codes {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reserves a try before the digits are compared. Returns `None` if no digits are valid, or if they have
    /// been tried too often.
    ///
    /// This is one conditional update, so concurrent tries cannot exceed the limit. A retry after a lost answer
    /// counts as the same try.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn try_digits(
        &self,
        of: DigitsOf<'_>,
        now: Timestamp,
    ) -> Result<Option<DigitsTry>, StoreError> {
        let mark = Uuid::from_bytes((&SystemRandom as &dyn Random).bytes()).simple().to_string();
        let key = Key::digits(of);
        let update = self
            .0
            .update(key.clone())
            .when(
                attribute("expires_at")
                    .above(now.as_second())
                    .and(attribute("tries").below(DIGITS_TRIES))
                    .and(attribute("last").is_absent().or(attribute("last").is_not(&mark))),
            )
            .add("tries", 1)
            .set("last", &mark);
        // If the condition failed on an item with this mark, an earlier attempt reserved this try and its answer
        // was lost.
        let (Written::Done(digits) | Written::Refused(digits)) =
            update.returning_new::<DigitsItem>().await?;
        let tried = digits.filter(|digits| digits.last.as_ref() == Some(&mark));
        Ok(tried.map(|digits| DigitsTry { key, mail: digits.mail_id, pepper: digits.pepper, mark }))
    }

    /// Gives a try back when the digits were right but the request was refused for another reason. A retry
    /// after a lost answer does not give the try back twice.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn give_back(&self, tried: DigitsTry) -> Result<(), StoreError> {
        let DigitsTry { key, mail, mark, .. } = tried;
        let is_unreturned =
            attribute("returned").is_absent().or(attribute("returned").is_not(&mark));
        let update = self
            .0
            .update(key)
            .when(attribute("mail_id").is(mail).and(attribute("tries").above(0)).and(is_unreturned))
            .add("tries", -1)
            .set("returned", &mark);
        update.send().await.map(drop)
    }

    /// Whether the code in this email has confirmed an address that the account still has. Presenting such a
    /// code again, by a double click or from an old email, is not an error. A used confirmation code does not
    /// expire.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn has_confirmed(&self, mail: MailId) -> Result<bool, StoreError> {
        let Some(code) = self.0.get::<CodeItem>(Key::code(mail)).await? else { return Ok(false) };
        if !code.used || code.purpose != MailedFor::EmailVerification {
            return Ok(false);
        }
        Ok(self.0.account(code.user_id).await?.is_some_and(|account| {
            let email = account.email.as_ref().map(Email::canonical);
            account.standing == Standing::Active
                && account.email_standing == EmailStanding::Verified
                && email == Some(code.address.canonical())
        }))
    }

    /// Finds the code in an email, and the code's account, if the code is valid: it is unused and has not expired, and
    /// the account's epoch has not changed. The writes that use the code check all of this again as conditions.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn find(
        &self,
        purpose: MailedFor,
        mail: MailId,
        now: Timestamp,
    ) -> Result<Option<(CodeRecord, Account)>, StoreError> {
        let Some(item) = self.0.get::<CodeItem>(Key::code(mail)).await? else { return Ok(None) };
        let Some(expires_at) = item.expires_at.filter(|ends| *ends > now.as_second()) else {
            return Ok(None);
        };
        if item.used || item.purpose != purpose {
            return Ok(None);
        }
        let account = self.0.account(item.user_id).await?;
        let Some(account) = account.filter(|account| account.epoch == item.epoch) else {
            return Ok(None);
        };
        let code = CodeRecord {
            mail,
            purpose,
            user: item.user_id,
            epoch: item.epoch,
            address: item.address,
            pepper: item.pepper,
            expires_at: Timestamp::from_second(expires_at).map_err(StoreError::unusable)?,
        };
        Ok(Some((code, account)))
    }
}
