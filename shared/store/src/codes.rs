//! The stored part of codes by mail: the account, the purpose, the expiry and the tries that are left.
//!
//! The code itself is not stored. It is a MAC over the mail's id, so the pepper is enough to verify it.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use dynamo::Client;
use identity::{Account, CanonicalName, Email, EmailStanding, MailId, MailedFor, Standing, UserId};
use jiff::Timestamp;
use process::{Random, SystemRandom};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::item::{self, AccountItem, ClaimItem};
use crate::key::Key;
use crate::outbox::{Mail, MailItem};
use crate::table::{Config, StoreError, Table, is_failed_condition};

/// How often digits may be tried.
pub const DIGITS_TRIES: u32 = 5;

/// The code of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The mail.
    pub mail: MailId,
    /// The purpose.
    pub purpose: MailedFor,
    /// The account.
    pub user: UserId,
    /// The account's epoch: in a later one the code is void.
    pub ver: u64,
    /// The address that it was mailed to.
    pub address: Email,
    /// The id of the pepper that made it.
    pub pepper: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A code as it is stored, by the mail's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CodeItem {
    purpose: MailedFor,
    user_id: UserId,
    ver: u64,
    address: Email,
    pepper: String,
    /// Whether it has been used. A used code stays stored, so that sending its mail again does not revive it.
    #[serde(default)]
    used: bool,
    /// In seconds since 1970: the table's TTL attribute. A used confirmation has none, because it succeeds
    /// again as long as the account has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// The purpose and the owner of digits. A later request for a code replaces its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigitsOf<'a> {
    /// For a reset, by the owner of this address.
    Reset(&'a CanonicalName),
    /// For the confirmation of an address, only by this account: two accounts may claim one address, and the
    /// digits must not confirm it for the other account.
    Confirmation(UserId),
}

impl DigitsOf<'_> {
    /// The purpose of the mail that contained the digits.
    #[must_use]
    pub const fn purpose(self) -> MailedFor {
        match self {
            Self::Reset(_) => MailedFor::PasswordReset,
            Self::Confirmation(_) => MailedFor::EmailVerification,
        }
    }
}

impl Code {
    /// The purpose and the owner of its digits.
    #[must_use]
    pub fn digits_of(&self) -> DigitsOf<'_> {
        match self.purpose {
            MailedFor::PasswordReset => DigitsOf::Reset(self.address.canonical()),
            MailedFor::EmailVerification => DigitsOf::Confirmation(self.user),
        }
    }
}

/// The valid digits of an address or an account, and the number of tries at them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DigitsItem {
    mail_id: MailId,
    pepper: String,
    tries: u32,
    /// The mark of the last try, by which a retry after a lost answer recognizes its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// The mark of the last try that was given back, for the same purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned: Option<String>,
    /// In seconds since 1970: the table's TTL attribute.
    expires_at: i64,
}

/// A reserved try at digits, which can be given back once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a try that is not given back counts"]
pub struct DigitsTry {
    key: Key,
    mail: MailId,
    pepper: String,
    mark: String,
}

impl DigitsTry {
    /// The mail whose digits are valid.
    #[must_use]
    pub fn mail(&self) -> MailId {
        self.mail
    }

    /// The id of the pepper that made them.
    #[must_use]
    pub fn pepper(&self) -> &str {
        &self.pepper
    }
}

/// A mail that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What it is about.
    pub mail: Mail,
    /// When it was requested.
    pub asked_at: Timestamp,
    /// When it stops being worth sending.
    pub expires_at: Timestamp,
}

fn number(n: i64) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

impl Table {
    /// The account that claims this address. If the account no longer has the address, nobody has it, even
    /// though the claim exists.
    async fn owner(&self, address: &CanonicalName) -> Result<Option<Account>, StoreError> {
        let Some(claim) = self.get::<ClaimItem>(Key::email(address)).await? else {
            return Ok(None);
        };
        let account = self.get::<AccountItem>(Key::account(claim.user_id)).await?;
        let has = |account: &Account| {
            account.email.as_ref().is_some_and(|email| email.canonical() == address)
        };
        Ok(account.map(Account::from).filter(has))
    }

    /// The part of a transaction that uses a code up. It cancels the transaction if the code has been used or
    /// has expired. A confirmation stays stored from then on: see [`Codes::has_confirmed`].
    pub(crate) fn use_up(&self, code: &Code, now: Timestamp) -> TransactWriteItem {
        let used = match code.purpose {
            MailedFor::PasswordReset => "SET #used = :yes",
            MailedFor::EmailVerification => "SET #used = :yes REMOVE #expires_at",
        };
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(Key::code(code.mail).attributes()))
            .condition_expression("#used = :no AND #expires_at > :now")
            .update_expression(used)
            .expression_attribute_names("#used", "used")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":no", AttributeValue::Bool(false))
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":now", number(now.as_second()))
            .build()
            .expect("table, key and update are set");
        TransactWriteItem::builder().update(update).build()
    }
}

/// The mailer's access to the table.
#[derive(Clone, Debug)]
pub struct Mailings(Table);

impl Mailings {
    /// The mails of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// The mail whose item has the partition key `pk`, or `None` when that is no mail.
    #[must_use]
    pub fn mail_of_key(pk: &str) -> Option<MailId> {
        Key::mail_of(pk)
    }

    /// A mail to be sent, or `None` when it has been dealt with.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn find(&self, id: MailId) -> Result<Option<Outgoing>, StoreError> {
        let Some(item) = self.0.get::<MailItem>(Key::mail(id)).await? else { return Ok(None) };
        let expires_at = Timestamp::from_second(item.expires_at).map_err(StoreError::unusable)?;
        Ok(Some(Outgoing { mail: item.mail, asked_at: item.asked_at, expires_at }))
    }

    /// The account that has an address, or `None`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn owner(&self, address: &CanonicalName) -> Result<Option<Account>, StoreError> {
        self.0.owner(address).await
    }

    /// An account, or `None` when it is gone.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.0.get::<AccountItem>(Key::account(id)).await?.map(Account::from))
    }

    /// Stores a code before its mail goes out. Storing it again is harmless: its tries and its use are kept.
    /// Earlier digits ([`Code::digits_of`]) become void; those of a later mail stay valid.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn store(&self, code: &Code) -> Result<(), StoreError> {
        let expires_at = code.expires_at.as_second();
        let stored = CodeItem {
            purpose: code.purpose,
            user_id: code.user,
            ver: code.ver,
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
        let digits_key = Key::digits(code.digits_of());
        // Ids sort by time, so the later mail is the one with the greater id.
        let later = Some((":mail", AttributeValue::S(code.mail.to_string())));
        tokio::try_join!(
            self.put_if(Key::code(code.mail), &stored, "attribute_not_exists(pk)", None),
            self.put_if(digits_key, &digits, "attribute_not_exists(pk) OR mail_id < :mail", later),
        )?;
        Ok(())
    }

    /// Writes an item if `condition` holds. If it does not, an item that must stay is already stored, and that
    /// is no error.
    async fn put_if(
        &self,
        key: Key,
        item: &impl Serialize,
        condition: &str,
        value: Option<(&str, AttributeValue)>,
    ) -> Result<(), StoreError> {
        let mut put = self
            .0
            .client
            .put_item()
            .table_name(&self.0.name)
            .set_item(Some(item::with_key(key, item)?))
            .condition_expression(condition);
        if let Some((name, value)) = value {
            put = put.expression_attribute_values(name, value);
        }
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a mail that has been sent or will never be sent. Nothing else is ever stored under its id.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn done(&self, id: MailId) -> Result<(), StoreError> {
        self.0.delete(Key::mail(id)).await.map(drop)
    }
}

/// Finds presented codes.
#[derive(Clone, Debug)]
pub struct Codes(Table);

impl Codes {
    /// The codes of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reserves a try at digits before they are compared. Returns `None` if no digits are pending, or if
    /// they have been tried too often. This is one conditional update, so concurrent tries cannot exceed the
    /// limit. A retry after a lost answer is the same try.
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
        let updated = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key.clone().attributes()))
            .condition_expression(
                "#expires_at > :now AND #tries < :most \
                 AND (attribute_not_exists(#last) OR #last <> :mark)",
            )
            .update_expression("SET #tries = #tries + :one, #last = :mark")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_names("#tries", "tries")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":now", number(now.as_second()))
            .expression_attribute_values(":most", number(DIGITS_TRIES.into()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":mark", AttributeValue::S(mark.clone()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let item = match updated {
            Ok(output) => output.attributes,
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    failed.item().cloned()
                }
                _ => return Err(error.into()),
            },
        };
        // An emulator returns an empty item where there was none.
        let item = item.filter(|item| item.contains_key("tries"));
        let digits: Option<DigitsItem> = item.map(item::parse).transpose()?;
        let tried = digits.filter(|digits| digits.last.as_ref() == Some(&mark));
        Ok(tried.map(|digits| DigitsTry { key, mail: digits.mail_id, pepper: digits.pepper, mark }))
    }

    /// Gives a try back: the digits were right, but the request was refused for another reason. A retry after
    /// a lost answer gives back the same try.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn give_back(&self, tried: DigitsTry) -> Result<(), StoreError> {
        let DigitsTry { key, mail, mark, .. } = tried;
        let updated = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key.attributes()))
            .condition_expression(
                "#mail_id = :mail AND #tries > :zero \
                 AND (attribute_not_exists(#returned) OR #returned <> :mark)",
            )
            .update_expression("SET #tries = #tries - :one, #returned = :mark")
            .expression_attribute_names("#mail_id", "mail_id")
            .expression_attribute_names("#tries", "tries")
            .expression_attribute_names("#returned", "returned")
            .expression_attribute_values(":mail", AttributeValue::S(mail.to_string()))
            .expression_attribute_values(":mark", AttributeValue::S(mark))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .send()
            .await;
        match updated {
            Ok(_) => Ok(()),
            Err(error) if is_failed_condition(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the code of a mail has confirmed an address that its account still has, so that presenting
    /// it again (a double click, an old mail) is not an error. A used confirmation does not expire.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn has_confirmed(&self, mail: MailId) -> Result<bool, StoreError> {
        let Some(code) = self.0.get::<CodeItem>(Key::code(mail)).await? else { return Ok(false) };
        if !code.used || code.purpose != MailedFor::EmailVerification {
            return Ok(false);
        }
        let account = self.0.get::<AccountItem>(Key::account(code.user_id)).await?;
        Ok(account.map(Account::from).is_some_and(|account| {
            let email = account.email.as_ref().map(Email::canonical);
            account.standing == Standing::Active
                && account.email_standing == EmailStanding::Verified
                && email == Some(code.address.canonical())
        }))
    }

    /// The code of a mail and its account, if the code is valid: it has not been used, it has not expired,
    /// and the account is in the same epoch. The writes that use the code have conditions on all of that.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn find(
        &self,
        purpose: MailedFor,
        mail: MailId,
        now: Timestamp,
    ) -> Result<Option<(Code, Account)>, StoreError> {
        let Some(item) = self.0.get::<CodeItem>(Key::code(mail)).await? else { return Ok(None) };
        let Some(expires_at) = item.expires_at.filter(|ends| *ends > now.as_second()) else {
            return Ok(None);
        };
        if item.used || item.purpose != purpose {
            return Ok(None);
        }
        let account = self.0.get::<AccountItem>(Key::account(item.user_id)).await?;
        let Some(account) = account.map(Account::from).filter(|it| it.ver == item.ver) else {
            return Ok(None);
        };
        let code = Code {
            mail,
            purpose,
            user: item.user_id,
            ver: item.ver,
            address: item.address,
            pepper: item.pepper,
            expires_at: Timestamp::from_second(expires_at).map_err(StoreError::unusable)?,
        };
        Ok(Some((code, account)))
    }
}
