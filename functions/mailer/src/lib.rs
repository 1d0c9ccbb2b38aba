//! Sends the emails that other functions request, and completes account deletions. It is invoked for new outbox items
//! in the stream of the users' table.
//!
//! The stream contains only keys. The function reads an outbox item by its key and deletes the item after sending the
//! email. If Lambda delivers the event again after that, there is nothing to send. If Lambda delivers it again before
//! the item is deleted, the function sends the same email with the same code, because it derives the code from the
//! email's id. The state of the code (whether it has been used, and how often its digits have been tried) is kept.
//!
//! An address gets notices only if its owner has confirmed it, and at most ten a day. If an email can never be
//! sent, the function drops it after the first attempt: Lambda delivers records in order, so a record that keeps
//! failing would hold up all later ones. For the same reason, the remains of a deleted account are deleted in small parts:
//! between two parts, the emails that were requested in the meantime are sent.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use identity::{Account, Email, EmailStanding, MailId, MailedFor, Standing, UserId};
use jiff::SignedDuration;
use lambda::stream::{BatchAnswer, Change, StreamEvent, StreamRecord};
use lambda::{BootError, EventHandler, World};
use mail::{CodeContent, Letter, MailError, Mailer, NoticeContent};
use notices::Notices;
use peppers::{MailedCode, Peppers};
use process::{Clock, Fault, FaultKind, Metric};
use secrets::{Cached, PeppersSecret, SecretError};
use store::{
    CODE_VALID_FOR, CodeRecord, ConfirmedEmail, Counters, Deletions, Mail, Mailings, Notice,
    Outgoing, Remains, StoreError, Stored, Swept, Task,
};
use throttle::{CausedBy, NoticeBudget, ThrottleError};

mod notices;

/// The time limit for sending one email or deleting the remains of one account. For an email, this covers reading its
/// item, its account and the secrets, counting a notice, storing a code, and sending the email, each with a deadline of
/// 6 s. The timeout in the template covers a whole batch.
pub const MAIL_DEADLINE: Duration = Duration::from_secs(50);

/// About how many remains of deleted accounts are deleted per batch of records. This takes about 3 s with the memory of
/// the template, for which emails behind them have to wait.
const SWEPT_PER_BATCH: usize = 250;

/// How long the remains of an account may hold up emails if the database is slow.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often deleting the remains of an account may fail before an alarm is raised. A database that is throttled or
/// unavailable for some minutes raises none.
const TOLERATED_FAILURES: u64 = 100;

/// Sends the emails in the outbox.
pub struct MailerFunction {
    mailings: Mailings,
    deletions: Deletions,
    mailer: Mailer,
    notices: Notices,
    budget: NoticeBudget,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
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
            mailings: Mailings::new(&table, database.clone()),
            deletions: Deletions::new(&table, database),
            mailer: Mailer::connect(&mail),
            notices,
            budget: NoticeBudget::new(counters, Arc::clone(&peppers), Arc::clone(&clock), random),
            peppers,
            clock,
        })
    }

    async fn handle(&self, event: StreamEvent) -> Result<BatchAnswer, Infallible> {
        let (mut answer, mut allowance) = (BatchAnswer::default(), SWEPT_PER_BATCH);
        // Handle the records one by one, so that two emails to one address are sent in order.
        for record in event.records() {
            match record {
                // Lambda delivers this record again, because an earlier one failed. If the deletion were postponed each
                // time, each delivery would add a record to the stream.
                Ok(record) if answer.has_failures() && concerns_remains(&record) => {}
                Ok(record) => {
                    if self.handle_record(&record, &mut allowance).await == Handled::DeliverAgain {
                        answer.deliver_again(record);
                    }
                }
                Err(error) => give_up(None, &error),
            }
        }
        Ok(answer)
    }
}

/// Whether Lambda must deliver a record again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handled {
    Done,
    DeliverAgain,
}

/// The outcome of handling an email, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The email was sent, with the template of this name.
    Sent(&'static str),
    /// The email has no recipient. For example, no account has the address, a deleted account had it recently,
    /// the account is disabled, its owner has not confirmed the address, or notices of this kind are switched off.
    NoRecipient,
    /// The address has reached its daily limit of notices.
    LimitReached,
    /// The email expired before it could be sent.
    Expired,
}

fn concerns_remains(record: &StreamRecord) -> bool {
    matches!(Task::of_key(&record.pk, &record.sk), Some(Task::Remains(_)))
}

/// Logs and counts an email that can never be sent.
fn give_up(mail_id: Option<MailId>, error: &(dyn Error + 'static)) {
    let mail_id = mail_id.map(|id| id.to_string());
    Metric::MailsGivenUp.add(1.0);
    tracing::error!(event = "mail_given_up", mail_id, error, "mail");
}

/// Logs that the remains of an account could not be deleted now. Counts it, too, if it has happened very often.
fn log_postponed(user: UserId, failures: u64, error: &(dyn Error + 'static)) {
    let user_id = user.to_string();
    if failures > TOLERATED_FAILURES {
        Metric::MailsGivenUp.add(1.0);
        tracing::error!(event = "remains_not_deleted", user_id, failures, error, "postponed");
    } else {
        tracing::warn!(event = "remains_not_deleted", user_id, failures, error, "postponed");
    }
}

impl MailerFunction {
    /// Sends the email of a record, or deletes remains of a deleted account. `allowance` is how many of them the batch
    /// may still delete.
    async fn handle_record(&self, record: &StreamRecord, allowance: &mut usize) -> Handled {
        let id = match (record.change, Task::of_key(&record.pk, &record.sk)) {
            (Change::Created | Change::Updated, Some(Task::Remains(id))) => {
                return self.delete_remains(id, allowance).await;
            }
            (Change::Updated | Change::Deleted, _) => return Handled::Done,
            (Change::Created, Some(Task::Mail(id))) => id,
            (Change::Created, None) => {
                give_up(None, &MailerError::NoMail);
                return Handled::Done;
            }
        };
        let Err(error) = bounded(self.process(id)).await else { return Handled::Done };
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
            return Handled::DeliverAgain;
        }
        // Delete the item, because the email will never be sent. If the deletion fails, TTL removes the item later.
        if let Err(error) = self.mailings.done(id).await {
            let (mail_id, error) = (id.to_string(), &error as &dyn Error);
            tracing::warn!(event = "mail_not_deleted", mail_id, error, "mail");
        }
        Handled::Done
    }

    /// Deletes remains of a deleted account, and postpones the rest. The account may have remains even if its outbox item
    /// no longer exists: a login that was interrupted during the deletion may have left a session.
    async fn delete_remains(&self, id: UserId, allowance: &mut usize) -> Handled {
        let delete = async {
            let found = self.deletions.remains(id).await?;
            let mut remains = found.unwrap_or_else(|| Remains::of(id));
            let sweep = self.deletions.sweep(&remains, allowance);
            let swept = tokio::time::timeout(SWEEP_TIMEOUT, sweep).await;
            if matches!(swept, Ok(Ok(Swept::All))) {
                return Ok(self.deletions.done(id).await?);
            }
            *allowance = 0;
            let failure: Option<Box<dyn Error + Send + Sync>> = match swept {
                Ok(Ok(_)) => None,
                Ok(Err(error)) if error.kind() != FaultKind::Unavailable => {
                    return Err(error.into());
                }
                Ok(Err(error)) => Some(error.into()),
                Err(error) => Some(error.into()),
            };
            if let Some(error) = failure {
                remains = remains.after_failure();
                log_postponed(id, remains.failures(), &*error);
            }
            Ok(self.deletions.postpone(&remains).await?)
        };
        let Err(error) = bounded(delete).await else { return Handled::Done };
        let may_succeed_later = match &error {
            MailerError::Store(error) => error.kind() == FaultKind::Unavailable,
            other => !other.is_final(),
        };
        let (user_id, error) = (id.to_string(), &error as &dyn Error);
        tracing::error!(event = "remains_not_deleted", user_id, error, "deletion");
        if may_succeed_later {
            Handled::DeliverAgain
        } else {
            // Lambda delivers records in order, so a record that can never succeed would hold up all later emails.
            Metric::MailsGivenUp.add(1.0);
            Handled::Done
        }
    }

    /// Sends an email, unless its item no longer exists, or the email has expired or has no recipient.
    async fn process(&self, id: MailId) -> Result<(), MailerError> {
        let Some(outgoing) = self.mailings.find(id).await? else { return Ok(()) };
        let outcome = if outgoing.expires_at <= self.clock.now() {
            Outcome::Expired
        } else {
            self.send(id, outgoing).await?
        };
        self.mailings.done(id).await?;
        let mail_id = id.to_string();
        let (outcome, letter) = match outcome {
            Outcome::Sent(letter) => {
                Metric::MailsSent.add(1.0);
                ("sent", letter)
            }
            Outcome::NoRecipient => ("nobody", ""),
            Outcome::LimitReached => ("over_budget", ""),
            Outcome::Expired => ("late", ""),
        };
        tracing::info!(event = "mail", mail_id, outcome, letter, "mail");
        Ok(())
    }

    async fn send(&self, id: MailId, outgoing: Outgoing) -> Result<Outcome, MailerError> {
        let time = outgoing.asked_at;
        match &outgoing.mail {
            Mail::PasswordReset { address } => {
                let owner = self.mailings.owner(address.canonical()).await?;
                // The email goes to the address as its owner spelled it, not as the request did.
                let Some((account, to)) = active(owner).and_then(with_address) else {
                    return Ok(Outcome::NoRecipient);
                };
                let purpose = MailedFor::PasswordReset;
                let Some(code) = self.code(id, purpose, &account, &to, &outgoing).await? else {
                    return Ok(Outcome::NoRecipient);
                };
                // Anyone can register with a stranger's address and put a message into the username, so emails to
                // unconfirmed addresses do not contain the username.
                let username = (account.email_standing == EmailStanding::Verified)
                    .then(|| account.username.as_str());
                let letter = Letter::PasswordReset { username, code: coded(&code) };
                self.deliver(id, &to, &letter).await
            }
            Mail::EmailVerification { user_id, epoch, address } => {
                let account = self.mailings.account(*user_id).await?;
                let Some(account) = active(account).filter(|account| account.epoch == *epoch)
                else {
                    return Ok(Outcome::NoRecipient);
                };
                let owner = self.mailings.owner(address.canonical()).await?;
                if let Some(owner) = owner.filter(|owner| owner.id != account.id) {
                    let confirmed = active(Some(owner)).and_then(|owner| {
                        let to = ConfirmedEmail::of(&owner)?;
                        Some((owner, to))
                    });
                    let Some((owner, to)) = confirmed else { return Ok(Outcome::NoRecipient) };
                    let details = NoticeContent { username: owner.username.as_str(), time };
                    let letter = Letter::AddressTaken(details);
                    return self.notify(id, &to, &letter, CausedBy::Anyone).await;
                }
                // Nobody can claim an address in quarantine, so a code would be useless.
                let (peppers, now) = (self.peppers.get().await?, self.clock.now());
                if self.mailings.is_quarantined(address.canonical(), &*peppers, now).await? {
                    return Ok(Outcome::NoRecipient);
                }
                let purpose = MailedFor::EmailVerification;
                let Some(code) = self.code(id, purpose, &account, address, &outgoing).await? else {
                    return Ok(Outcome::NoRecipient);
                };
                let current = account.email.as_ref();
                let letter = match current.filter(|it| it.canonical() != address.canonical()) {
                    Some(_) => Letter::EmailChange(coded(&code)),
                    None => Letter::EmailVerification(coded(&code)),
                };
                self.deliver(id, address, &letter).await
            }
            Mail::Notice { user_id, notice, address } => {
                if !self.notices.wants(*notice) {
                    return Ok(Outcome::NoRecipient);
                }
                let Some(account) = self.mailings.account(*user_id).await? else {
                    return Ok(Outcome::NoRecipient);
                };
                let to = address.clone().or_else(|| ConfirmedEmail::of(&account));
                let Some(to) = to else { return Ok(Outcome::NoRecipient) };
                let details = NoticeContent { username: account.username.as_str(), time };
                let letter = match notice {
                    Notice::PasswordChanged => Letter::PasswordChanged(details),
                    Notice::EmailChangeRequested => Letter::EmailChangeRequested(details),
                    Notice::EmailChanged => Letter::EmailChanged(details),
                    Notice::SessionReused => Letter::SessionReused(details),
                    Notice::NewNetwork => Letter::NewNetwork(details),
                };
                self.notify(id, &to, &letter, CausedBy::Insiders).await
            }
        }
    }

    /// Sends a notice unless the address has reached its daily limit of notices.
    async fn notify(
        &self,
        id: MailId,
        to: &ConfirmedEmail,
        letter: &Letter<'_>,
        by: CausedBy,
    ) -> Result<Outcome, MailerError> {
        let reserved = self.budget.reserve(to.email().canonical(), by).await?;
        let Some(receipt) = reserved else { return Ok(Outcome::LimitReached) };
        let result = self.deliver(id, to.email(), letter).await;
        // The notice was not sent, so it must not count against the limit. The next try makes a new reservation.
        if result.is_err()
            && let Err(error) = receipt.give_back().await
        {
            let (mail_id, error) = (id.to_string(), &error as &dyn Error);
            tracing::warn!(event = "notice_counted", mail_id, error, "mail");
        }
        result
    }

    /// Derives the code of an email, and stores the code's state before the email is sent. Returns `None` if the
    /// account has been deleted concurrently.
    async fn code(
        &self,
        id: MailId,
        purpose: MailedFor,
        account: &Account,
        to: &Email,
        outgoing: &Outgoing,
    ) -> Result<Option<MailedCode>, MailerError> {
        let peppers = self.peppers.get().await?;
        let code = MailedCode::derive(purpose, id, &peppers, outgoing.asked_at);
        let stored = self
            .mailings
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
        Ok(match stored {
            Stored::Done => Some(code),
            Stored::NoAccount => None,
        })
    }

    async fn deliver(
        &self,
        id: MailId,
        to: &Email,
        letter: &Letter<'_>,
    ) -> Result<Outcome, MailerError> {
        self.mailer.send(id, to, letter, self.clock.now()).await?;
        Ok(Outcome::Sent(letter.name()))
    }
}

/// Awaits `work` for at most [`MAIL_DEADLINE`]. A panic becomes an error.
async fn bounded(work: impl Future<Output = Result<(), MailerError>>) -> Result<(), MailerError> {
    // Box the future, because the SDK's futures are large.
    let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
    match tokio::time::timeout(MAIL_DEADLINE, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(MailerError::Panic),
        Err(_) => Err(MailerError::Deadline),
    }
}

fn active(account: Option<Account>) -> Option<Account> {
    account.filter(|account| account.standing == Standing::Active)
}

fn with_address(account: Account) -> Option<(Account, Email)> {
    let address = account.email.clone()?;
    Some((account, address))
}

fn coded(code: &MailedCode) -> CodeContent<'_> {
    const MINUTE: SignedDuration = SignedDuration::from_mins(1);
    CodeContent {
        token: code.token(),
        digits: code.digits(),
        minutes: CODE_VALID_FOR.as_secs() / MINUTE.as_secs(),
    }
}

/// The reason why an email could not be sent.
#[derive(Debug, thiserror::Error)]
enum MailerError {
    /// The record's key is not the key of an outbox item.
    #[error("the record's key is not the key of an outbox item")]
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
    /// The email could not be rendered or sent.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// Handling the record took longer than [`MAIL_DEADLINE`].
    #[error("handling the record took too long")]
    Deadline,
    /// The mailer panicked because of a bug.
    #[error("the mailer panicked")]
    Panic,
}

impl MailerError {
    /// Whether no further try can succeed, because a newer version wrote the item, the text cannot be rendered, SES
    /// refuses the email, or the mailer has a bug.
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
