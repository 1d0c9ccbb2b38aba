//! Sends the mails that other functions ask for: invoked by the stream of the users' table, which is
//! filtered to new items of the outbox.
//!
//! The stream tells keys alone. What is to be sent is read by key, and deleted once it is sent, so an
//! event that is delivered again finds nothing. One that is delivered again before that sends the same
//! mail again, with the same code, since that is derived from the mail's id; and what is stored of the
//! code (whether it has been used, and how often digits have been tried) is kept.

mod notices;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use auth::{
    Account, BootError, Clock, Email, Env, MailId, MailedFor, Metric, Standing, SystemClock,
};
use jiff::SignedDuration;
use mail::{Coded, Letter, MailError, Mailer, Told};
use notices::Notices;
use peppers::{MailedCode, Peppers};
use secrets::{Cached, CachedConfig, SecretError};
use serde::{Deserialize, Serialize};
use store::{CODE_VALID_FOR, Code, Mail, Mailings, Notice, Outgoing, StoreError};
use web::EventHandler;

/// The function.
pub struct MailerFunction {
    mailings: Mailings,
    mailer: Mailer,
    notices: Notices,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
}

/// What Lambda sends for a stream: as much of it as is read.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    #[serde(rename = "Records")]
    records: Vec<Record>,
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

/// Which records are to be sent again (`ReportBatchItemFailures`).
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
    type Event = StreamEvent;
    type Answer = BatchAnswer;
    type Error = Infallible;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, table, mail, notices, peppers) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let table = store::Config::read(reader);
            let mail = mail::Config::read(reader);
            let notices = Notices::read(reader);
            let peppers = CachedConfig::read(reader, "PEPPERS_SECRET");
            Some((database?, table?, mail?, notices?, peppers?))
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Self {
            mailings: Mailings::new(&table, dynamo::connect(&database)),
            mailer: Mailer::connect(&mail),
            notices,
            peppers: peppers.open(Arc::clone(&clock)),
            clock,
        })
    }

    async fn handle(&self, event: StreamEvent) -> Result<BatchAnswer, Infallible> {
        let mut answer = BatchAnswer::default();
        // One after the other: of two mails to one address the later one is to come later.
        for Record { event_name, dynamodb } in event.records {
            let id = dynamodb.keys.get("pk").and_then(|key| Mailings::mail_of_key(&key.s));
            let Some(id) = id.filter(|_| event_name == "INSERT") else { continue };
            if let Err(error) = self.post(id).await {
                let mail_id = id.to_string();
                let error = &error as &dyn std::error::Error;
                Metric::MailsFailed.add(1.0);
                tracing::error!(event = "mail_failed", mail_id, error, "mail");
                answer.failures.push(Failure { sequence_number: dynamodb.sequence_number });
            }
        }
        Ok(answer)
    }
}

/// What became of a mail, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Posted {
    Sent(&'static str),
    /// Nobody has the address, or the account does not count any more, or does not want to be told.
    Nobody,
    /// Its time was over.
    Late,
}

impl MailerFunction {
    /// Sends a mail, if it is still to be sent and there is somebody to send it to.
    async fn post(&self, id: MailId) -> Result<(), MailerError> {
        let Some(outgoing) = self.mailings.find(id).await? else { return Ok(()) };
        let posted = if outgoing.expires_at <= self.clock.now() {
            Posted::Late
        } else {
            match self.send(id, outgoing).await {
                // Trying again would change nothing, and hold up those behind it.
                Err(MailerError::Mail(MailError::Refused(error))) => {
                    let (mail_id, error) = (id.to_string(), &*error as &dyn std::error::Error);
                    Metric::MailsFailed.add(1.0);
                    tracing::error!(event = "mail_refused", mail_id, error, "mail");
                    Posted::Nobody
                }
                other => other?,
            }
        };
        self.mailings.done(id).await?;
        let mail_id = id.to_string();
        let (outcome, letter) = match posted {
            Posted::Sent(letter) => {
                Metric::MailsSent.add(1.0);
                ("sent", letter)
            }
            Posted::Nobody => ("nobody", ""),
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
                // To the address as its owner gave it, not as somebody spelled it now.
                let Some((account, to)) = active(owner).and_then(with_address) else {
                    return Ok(Posted::Nobody);
                };
                let purpose = MailedFor::PasswordReset;
                let code = self.code(id, purpose, &account, &to, &outgoing).await?;
                self.deliver(id, &to, &Letter::PasswordReset(coded(&account, &code))).await
            }
            Mail::EmailVerification { user_id, ver, address } => {
                let account = self.mailings.account(*user_id).await?;
                let Some(account) = active(account).filter(|account| account.ver == *ver) else {
                    return Ok(Posted::Nobody);
                };
                let owner = self.mailings.owner(address.canonical()).await?;
                if let Some(owner) = owner.filter(|owner| owner.id != account.id) {
                    let Some((owner, to)) = active(Some(owner)).and_then(with_address) else {
                        return Ok(Posted::Nobody);
                    };
                    let told = Told { username: owner.username.as_str(), time };
                    return self.deliver(id, &to, &Letter::AddressTaken(told)).await;
                }
                let purpose = MailedFor::EmailVerification;
                let code = self.code(id, purpose, &account, address, &outgoing).await?;
                let letter = Letter::EmailVerification(coded(&account, &code));
                self.deliver(id, address, &letter).await
            }
            Mail::Notice { user_id, notice, address } => {
                if !self.notices.wants(*notice) {
                    return Ok(Posted::Nobody);
                }
                let Some(account) = self.mailings.account(*user_id).await? else {
                    return Ok(Posted::Nobody);
                };
                let Some(to) = address.as_ref().or(account.email.as_ref()) else {
                    return Ok(Posted::Nobody);
                };
                let told = Told { username: account.username.as_str(), time };
                let letter = match notice {
                    Notice::PasswordChanged => Letter::PasswordChanged(told),
                    Notice::EmailChangeRequested => Letter::EmailChangeRequested(told),
                    Notice::EmailChanged => Letter::EmailChanged(told),
                    Notice::SessionReused => Letter::SessionReused(told),
                    Notice::NewNetwork => Letter::NewNetwork(told),
                };
                self.deliver(id, to, &letter).await
            }
        }
    }

    /// The code of a mail. What is stored of it is stored before the mail goes out.
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
            .store(&Code {
                mail: id,
                purpose,
                user: account.id,
                ver: account.ver,
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

fn coded<'a>(account: &'a Account, code: &'a MailedCode) -> Coded<'a> {
    const MINUTE: SignedDuration = SignedDuration::from_mins(1);
    Coded {
        username: account.username.as_str(),
        token: code.token(),
        digits: code.digits(),
        minutes: CODE_VALID_FOR.as_secs() / MINUTE.as_secs(),
    }
}

/// A mail could not be sent.
#[derive(Debug, thiserror::Error)]
enum MailerError {
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peppers.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The mail itself.
    #[error(transparent)]
    Mail(#[from] MailError),
}
