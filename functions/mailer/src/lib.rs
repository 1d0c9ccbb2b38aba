//! Sends the mails that other functions request. The stream of the users' table invokes it, filtered to new
//! items of the outbox.
//!
//! The stream contains only keys. The function reads a mail by its key and deletes it after sending it, so an
//! event that is delivered again finds nothing. An event that is delivered again before that sends the same
//! mail with the same code, because the code is derived from the mail's id. The state of the code (whether it
//! has been used, and how often its digits have been tried) is kept.
//!
//! Notices go only to addresses that their owners have confirmed, and an address gets at most ten of them
//! a day. A mail that can never be sent is abandoned after the first attempt: Lambda delivers records in
//! order, so a record that keeps failing would hold up all others.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use identity::{Account, Email, EmailStanding, MailId, MailedFor, Standing};
use jiff::SignedDuration;
use lambda::{BootError, EventHandler, World};
use mail::{Coded, Letter, MailError, Mailer, Told};
use notices::Notices;
use peppers::{MailedCode, Peppers};
use process::{Clock, Metric};
use secrets::{Cached, PeppersSecret, SecretError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    CODE_VALID_FOR, CodeRecord, ConfirmedEmail, Counters, Mail, Mailings, Notice, Outgoing,
    StoreError,
};
use throttle::{CausedBy, NoticeBudget, ThrottleError};

mod notices;

/// The longest that one mail may take. It covers reading the mail, its account and the secrets, counting
/// it, storing its code, and sending it, each with a deadline of 6 s. The template's timeout covers a batch.
pub const MAIL_DEADLINE: Duration = Duration::from_secs(50);

/// Sends the mails of the outbox.
pub struct MailerFunction {
    mailings: Mailings,
    mailer: Mailer,
    notices: Notices,
    budget: NoticeBudget,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
}

/// The event that Lambda sends for a stream. Each record is parsed separately, so that an unreadable one does
/// not hold up the others.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    #[serde(rename = "Records")]
    records: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    event_name: String,
    dynamodb: Change,
}

#[derive(Debug, Deserialize)]
struct Change {
    #[serde(rename = "Keys")]
    keys: HashMap<String, Attribute>,
    #[serde(rename = "SequenceNumber")]
    sequence_number: String,
}

#[derive(Debug, Deserialize)]
struct Attribute {
    #[serde(rename = "S", default)]
    s: String,
}

/// The records that Lambda must deliver again (`ReportBatchItemFailures`).
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchAnswer {
    #[serde(rename = "batchItemFailures")]
    failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failure {
    #[serde(rename = "itemIdentifier")]
    sequence_number: String,
}

impl EventHandler for MailerFunction {
    const NAME: &'static str = "mailer";
    const INVOKED_BY: &'static str = "DynamoDB Streams";
    type Settings = (dynamo::Config, store::Config, mail::Config, Notices, PeppersSecret);
    type Event = StreamEvent;
    type Answer = BatchAnswer;
    type Error = Infallible;

    async fn open(
        (database, table, mail, notices, peppers): Self::Settings,
        world: &World,
    ) -> Result<Self, BootError> {
        let (database, peppers) = (dynamo::connect(&database), peppers.open(world));
        let (clock, random) = (Arc::clone(&world.clock), Arc::clone(&world.random));
        let counters = Counters::new(&table, database.clone());
        Ok(Self {
            mailings: Mailings::new(&table, database),
            mailer: Mailer::connect(&mail),
            notices,
            budget: NoticeBudget::new(counters, Arc::clone(&peppers), Arc::clone(&clock), random),
            peppers,
            clock,
        })
    }

    async fn handle(&self, event: StreamEvent) -> Result<BatchAnswer, Infallible> {
        let mut answer = BatchAnswer::default();
        // One after the other, so that two mails to one address are sent in order.
        for record in event.records {
            answer.failures.extend(self.take(record).await);
        }
        Ok(answer)
    }
}

/// The outcome of a mail, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Posted {
    Sent(&'static str),
    /// It has no recipient: no account has the address, the account is disabled, its owner has not confirmed
    /// the address, or such notices are switched off.
    Nobody,
    /// The address has reached its limit of notices for the day.
    OverBudget,
    /// It has expired.
    Late,
}

/// Gives up on a mail that can never be sent.
fn give_up(mail_id: Option<MailId>, error: &(dyn Error + 'static)) {
    let mail_id = mail_id.map(|id| id.to_string());
    Metric::MailsGivenUp.add(1.0);
    tracing::error!(event = "mail_given_up", mail_id, error, "mail");
}

impl MailerFunction {
    /// Sends the mail of a record. Returns a failure if Lambda should deliver the record again.
    async fn take(&self, record: Value) -> Option<Failure> {
        let Record { event_name, dynamodb } = match serde_json::from_value(record) {
            Ok(record) => record,
            Err(error) => {
                give_up(None, &error);
                return None;
            }
        };
        if event_name != "INSERT" {
            return None;
        }
        let id = dynamodb.keys.get("pk").and_then(|key| Mailings::mail_of_key(&key.s));
        let Some(id) = id else {
            give_up(None, &MailerError::NoMail);
            return None;
        };
        // Boxed: the SDK's futures are large.
        let post = AssertUnwindSafe(Box::pin(self.post(id))).catch_unwind();
        let posted = match tokio::time::timeout(MAIL_DEADLINE, post).await {
            Ok(Ok(posted)) => posted,
            Ok(Err(_)) => Err(MailerError::Panic),
            Err(_) => Err(MailerError::Deadline),
        };
        let error = posted.err()?;
        if let MailerError::Mail(MailError::Refused(refusal)) = &error {
            let (mail_id, error) = (id.to_string(), &**refusal as &dyn Error);
            Metric::MailsFailed.add(1.0);
            tracing::error!(event = "mail_refused", mail_id, error, "mail");
        } else if error.is_final() {
            give_up(Some(id), &error);
        } else {
            let (mail_id, error) = (id.to_string(), &error as &dyn Error);
            Metric::MailsFailed.add(1.0);
            tracing::error!(event = "mail_failed", mail_id, error, "mail");
            return Some(Failure { sequence_number: dynamodb.sequence_number });
        }
        // It will never be sent. If this deletion fails, the table's TTL deletes it.
        if let Err(error) = self.mailings.done(id).await {
            let (mail_id, error) = (id.to_string(), &error as &dyn Error);
            tracing::warn!(event = "mail_not_deleted", mail_id, error, "mail");
        }
        None
    }

    /// Sends a mail, unless it has already been dealt with, has expired or has no recipient.
    async fn post(&self, id: MailId) -> Result<(), MailerError> {
        let Some(outgoing) = self.mailings.find(id).await? else { return Ok(()) };
        let posted = if outgoing.expires_at <= self.clock.now() {
            Posted::Late
        } else {
            self.send(id, outgoing).await?
        };
        self.mailings.done(id).await?;
        let mail_id = id.to_string();
        let (outcome, letter) = match posted {
            Posted::Sent(letter) => {
                Metric::MailsSent.add(1.0);
                ("sent", letter)
            }
            Posted::Nobody => ("nobody", ""),
            Posted::OverBudget => ("over_budget", ""),
            Posted::Late => ("late", ""),
        };
        tracing::info!(event = "mail", mail_id, outcome, letter, "mail");
        Ok(())
    }

    async fn send(&self, id: MailId, outgoing: Outgoing) -> Result<Posted, MailerError> {
        let time = outgoing.asked_at;
        match &outgoing.mail {
            Mail::PasswordReset { address } => {
                let owner = self.mailings.owner(address.canonical()).await?;
                // To the address as its owner spelled it, not as the request did.
                let Some((account, to)) = active(owner).and_then(with_address) else {
                    return Ok(Posted::Nobody);
                };
                let purpose = MailedFor::PasswordReset;
                let code = self.code(id, purpose, &account, &to, &outgoing).await?;
                // Anyone can register with a stranger's address, and put a message into the username.
                let username = (account.email_standing == EmailStanding::Verified)
                    .then(|| account.username.as_str());
                let letter = Letter::PasswordReset { username, code: coded(&code) };
                self.deliver(id, &to, &letter).await
            }
            Mail::EmailVerification { user_id, epoch, address } => {
                let account = self.mailings.account(*user_id).await?;
                let Some(account) = active(account).filter(|account| account.epoch == *epoch)
                else {
                    return Ok(Posted::Nobody);
                };
                let owner = self.mailings.owner(address.canonical()).await?;
                if let Some(owner) = owner.filter(|owner| owner.id != account.id) {
                    let confirmed = active(Some(owner)).and_then(|owner| {
                        let to = ConfirmedEmail::of(&owner)?;
                        Some((owner, to))
                    });
                    let Some((owner, to)) = confirmed else { return Ok(Posted::Nobody) };
                    let told = Told { username: owner.username.as_str(), time };
                    let letter = Letter::AddressTaken(told);
                    return self.notify(id, &to, &letter, CausedBy::Anyone).await;
                }
                let purpose = MailedFor::EmailVerification;
                let code = self.code(id, purpose, &account, address, &outgoing).await?;
                self.deliver(id, address, &Letter::EmailVerification(coded(&code))).await
            }
            Mail::Notice { user_id, notice, address } => {
                if !self.notices.wants(*notice) {
                    return Ok(Posted::Nobody);
                }
                let Some(account) = self.mailings.account(*user_id).await? else {
                    return Ok(Posted::Nobody);
                };
                let to = address.clone().or_else(|| ConfirmedEmail::of(&account));
                let Some(to) = to else { return Ok(Posted::Nobody) };
                let told = Told { username: account.username.as_str(), time };
                let letter = match notice {
                    Notice::PasswordChanged => Letter::PasswordChanged(told),
                    Notice::EmailChangeRequested => Letter::EmailChangeRequested(told),
                    Notice::EmailChanged => Letter::EmailChanged(told),
                    Notice::SessionReused => Letter::SessionReused(told),
                    Notice::NewNetwork => Letter::NewNetwork(told),
                };
                self.notify(id, &to, &letter, CausedBy::Insiders).await
            }
        }
    }

    /// Sends a notice, unless the address has reached its limit of notices for the day.
    async fn notify(
        &self,
        id: MailId,
        to: &ConfirmedEmail,
        letter: &Letter<'_>,
        by: CausedBy,
    ) -> Result<Posted, MailerError> {
        let reserved = self.budget.reserve(to.email().canonical(), by).await?;
        let Some(receipt) = reserved else { return Ok(Posted::OverBudget) };
        let posted = self.deliver(id, to.email(), letter).await;
        // The mail was not sent; the next try reserves again.
        if posted.is_err()
            && let Err(error) = receipt.give_back().await
        {
            let (mail_id, error) = (id.to_string(), &error as &dyn Error);
            tracing::warn!(event = "notice_counted", mail_id, error, "mail");
        }
        posted
    }

    /// The code of a mail. Its state is stored before the mail goes out.
    async fn code(
        &self,
        id: MailId,
        purpose: MailedFor,
        account: &Account,
        to: &Email,
        outgoing: &Outgoing,
    ) -> Result<MailedCode, MailerError> {
        let peppers = self.peppers.get().await?;
        let code = MailedCode::derive(purpose, id, &peppers, outgoing.asked_at);
        self.mailings
            .store(&CodeRecord {
                mail: id,
                purpose,
                user: account.id,
                epoch: account.epoch,
                address: to.clone(),
                pepper: code.pepper().to_owned(),
                expires_at: outgoing.expires_at,
            })
            .await?;
        Ok(code)
    }

    async fn deliver(
        &self,
        id: MailId,
        to: &Email,
        letter: &Letter<'_>,
    ) -> Result<Posted, MailerError> {
        self.mailer.send(id, to, letter, self.clock.now()).await?;
        Ok(Posted::Sent(letter.name()))
    }
}

fn active(account: Option<Account>) -> Option<Account> {
    account.filter(|account| account.standing == Standing::Active)
}

fn with_address(account: Account) -> Option<(Account, Email)> {
    let address = account.email.clone()?;
    Some((account, address))
}

fn coded(code: &MailedCode) -> Coded<'_> {
    const MINUTE: SignedDuration = SignedDuration::from_mins(1);
    Coded {
        token: code.token(),
        digits: code.digits(),
        minutes: CODE_VALID_FOR.as_secs() / MINUTE.as_secs(),
    }
}

/// A mail could not be sent.
#[derive(Debug, thiserror::Error)]
enum MailerError {
    /// The record's key is not the key of a mail.
    #[error("the record's key is not the key of a mail")]
    NoMail,
    /// The table could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peppers could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The notice could not be counted.
    #[error(transparent)]
    Budget(#[from] ThrottleError),
    /// The mail could not be rendered or sent.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The mail took longer than [`MAIL_DEADLINE`].
    #[error("the mail took too long")]
    Deadline,
    /// The program has a bug; it panicked.
    #[error("a panic")]
    Panic,
}

impl MailerError {
    /// Whether every further try would fail too: the item is of a newer version, the text cannot be rendered,
    /// SES refuses the mail, or the program has a bug.
    fn is_final(&self) -> bool {
        match self {
            Self::NoMail | Self::Panic => true,
            Self::Store(error) => matches!(error, StoreError::Unusable(_)),
            Self::Mail(error) => matches!(error, MailError::Refused(_) | MailError::Text(_)),
            Self::Budget(error) => {
                matches!(error, ThrottleError::Store(StoreError::Unusable(_)))
            }
            Self::Secret(_) | Self::Deadline => false,
        }
    }
}
