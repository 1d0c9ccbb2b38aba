//! Finding what a code by mail is for.
//!
//! Before a code is looked at, the attempt is reserved: of a link token for its network alone, since
//! nobody guesses 128 bits; of digits on the same counters as a password, and besides on one of their
//! own in the table, which lets five through and no more. Whatever is wrong with a code, the answer is
//! one.

use std::fmt;
use std::sync::Arc;

use auth::{Account, Clock, Email, Fault, FaultKind, MailedFor, Random, Standing};
use dynamo::Client;
use peppers::Peppers;
use secrets::{Cached, SecretError};
use store::{Code, Codes, StoreError};
use throttle::{Attempt, BareAttempt, Presented, Throttle, ThrottleError};

/// A code as somebody presents it.
pub enum PresentedCode {
    /// The token of a link.
    Token(String),
    /// The digits that were mailed to an address.
    Digits {
        /// The address.
        address: String,
        /// The digits.
        digits: String,
    },
}

/// The code is not shown.
impl fmt::Debug for PresentedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Digits { .. } => f.write_str("Digits(..)"),
        }
    }
}

impl PresentedCode {
    /// Out of the members of a body: `token`, or `email` and `code`, and not both. `None` otherwise.
    #[must_use]
    pub fn of(token: Option<String>, email: Option<String>, code: Option<String>) -> Option<Self> {
        match (token, email, code) {
            (Some(token), None, None) => Some(Self::Token(token)),
            (None, Some(address), Some(digits)) => Some(Self::Digits { address, digits }),
            _ => None,
        }
    }
}

/// Finds codes.
pub struct Redemption {
    codes: Codes,
    throttle: Throttle,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Redemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redemption").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

/// A code that counts, and the attempt that it was. Dropped, the attempt has failed.
#[derive(Debug)]
#[must_use = "a success is to be told, or it counts as a failure"]
pub struct Found<'a> {
    /// The code.
    pub code: Code,
    /// The account that it is for, as it is now.
    pub account: Account,
    redemption: &'a Redemption,
    attempt: Attempted<'a>,
}

#[derive(Debug)]
enum Attempted<'a> {
    Token(BareAttempt<'a>),
    Digits(Box<Attempt<'a>>),
}

impl Redemption {
    /// Of the codes in the table that `config` names, throttled as it says. Nothing is read yet.
    #[must_use]
    pub fn open(
        config: &throttle::Config,
        client: Client,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let codes = Codes::new(config.table(), client.clone());
        let throttle = Throttle::open(config, client, Arc::clone(&clock), random);
        let peppers = Arc::clone(throttle.peppers());
        Self { codes, throttle, peppers, clock }
    }

    /// What throttles it.
    #[must_use]
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// The code that is presented, and the account that it is for, if it counts and the account may act.
    ///
    /// # Errors
    /// [`RedemptionError::Wrong`] when it is none that counts, whatever the reason;
    /// [`RedemptionError::Throttle`] when there have been too many attempts; or when something is out of
    /// reach.
    pub async fn find(
        &self,
        purpose: MailedFor,
        presented: &PresentedCode,
        network: Option<&str>,
    ) -> Result<Found<'_>, RedemptionError> {
        let (mail, attempt) = match presented {
            PresentedCode::Token(token) => {
                let attempt = self.throttle.bare_attempt(network).await?;
                let mail = self.peppers.get().await?.mail_of_token(purpose, token);
                let mail = mail.ok_or(RedemptionError::Wrong("the token is none of ours"))?;
                (mail, Attempted::Token(attempt))
            }
            PresentedCode::Digits { address, digits } => {
                let email = Email::parse(address);
                let presented = match &email {
                    Ok(email) => Presented::Email(email.canonical()),
                    Err(_) => Presented::Neither(address),
                };
                let attempt = Box::pin(self.throttle.attempt(presented, network)).await?;
                let email = email.map_err(|_| RedemptionError::Wrong("it is no address"))?;
                let now = self.clock.now();
                let tried = self.codes.try_digits(purpose, email.canonical(), now).await?;
                let tried = tried.ok_or(RedemptionError::Wrong("no digits count there"))?;
                let peppers = self.peppers.get().await?;
                if !peppers.are_digits_of(purpose, tried.mail, &tried.pepper, digits) {
                    return Err(RedemptionError::Wrong("the digits are wrong"));
                }
                (tried.mail, Attempted::Digits(Box::new(attempt)))
            }
        };
        let found = self.codes.find(purpose, mail, self.clock.now()).await?;
        let (code, account) = found.ok_or(RedemptionError::Wrong("the code does not count"))?;
        if account.standing != Standing::Active {
            return Err(RedemptionError::Wrong("the account is disabled"));
        }
        Ok(Found { code, account, redemption: self, attempt })
    }
}

impl Found<'_> {
    /// The code was right: the attempt counts nowhere.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn succeeded(self) -> Result<(), RedemptionError> {
        match self.attempt {
            Attempted::Token(attempt) => attempt.succeeded().await?,
            Attempted::Digits(attempt) => attempt.passed().await?,
        }
        Ok(())
    }

    /// The code was right and has not been used: what it was for was refused for another reason, and may
    /// be tried again.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn keep(self) -> Result<(), RedemptionError> {
        if let Attempted::Digits(_) = self.attempt {
            let Code { purpose, address, mail, .. } = &self.code;
            self.redemption.codes.give_back(*purpose, address.canonical(), *mail).await?;
        }
        self.succeeded().await
    }
}

/// A code has not been found.
#[derive(Debug, thiserror::Error)]
pub enum RedemptionError {
    /// It is none that counts. The reason is for the log.
    #[error("{0}")]
    Wrong(&'static str),
    /// There have been too many attempts, or the counters are out of reach.
    #[error(transparent)]
    Throttle(#[from] ThrottleError),
    /// The codes.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peppers.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Fault for RedemptionError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Wrong(_) => FaultKind::WrongCode,
            Self::Throttle(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Secret(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttle(error) => error.retry_after(),
            Self::Wrong(_) | Self::Store(_) | Self::Secret(_) => None,
        }
    }
}
