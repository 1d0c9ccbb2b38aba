//! Finding what a code by mail is for, and confirming addresses by codes.
//!
//! Before a code is looked at, the attempt is reserved: for a link token on the counter of its network
//! alone, since nobody guesses 128 bits; for the digits of a reset on the same counters as a password.
//! Digits have a counter of their own in addition, which allows five tries and no more. Every wrong code
//! gets the same answer.

mod confirmation;
mod digits;

use std::fmt;
use std::sync::Arc;

use auth::{Account, Clock, Email, Fault, FaultKind, MailId, MailedFor, Random, Standing, UserId};
pub use confirmation::{ConfirmationError, Confirmations};
pub use digits::Digits;
use dynamo::Client;
use peppers::Peppers;
use secrets::{Cached, SecretError};
use store::{Code, Codes, DigitsOf, StoreError};
use throttle::{Attempt, BareAttempt, Presented, Throttle, ThrottleError};

/// A code as somebody presents it.
pub enum PresentedCode {
    /// The token of a link.
    Token(String),
    /// The digits that were mailed to an address, for a reset.
    Digits {
        /// The address.
        address: String,
        /// The digits.
        digits: Digits,
    },
    /// The digits by which a signed-in account confirms its own address.
    OwnDigits {
        /// The account.
        account: UserId,
        /// The digits.
        digits: Digits,
    },
}

/// The code is not shown.
impl fmt::Debug for PresentedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Digits { .. } => f.write_str("Digits(..)"),
            Self::OwnDigits { .. } => f.write_str("OwnDigits(..)"),
        }
    }
}

impl PresentedCode {
    /// The code in the members of a body: either `token`, or `email` and `code`.
    ///
    /// # Errors
    /// When the members are others, or `code` is not eight digits.
    pub fn of(
        token: Option<String>,
        email: Option<String>,
        code: Option<String>,
    ) -> Result<Self, PresentedError> {
        match (token, email, code) {
            (Some(token), None, None) => Ok(Self::Token(token)),
            (None, Some(address), Some(digits)) => {
                let digits = Digits::parse(&digits).ok_or(PresentedError::NotEightDigits)?;
                Ok(Self::Digits { address, digits })
            }
            _ => Err(PresentedError::Members),
        }
    }
}

/// The members of a body are no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresentedError {
    /// They are neither `token` nor `email` and `code`.
    #[error("give either token, or email and code")]
    Members,
    /// `code` is not eight digits.
    #[error("the code is not eight digits")]
    NotEightDigits,
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
    OwnDigits(BareAttempt<'a>),
}

impl Attempted<'_> {
    async fn succeeded(self) -> Result<(), RedemptionError> {
        match self {
            Self::Token(attempt) | Self::OwnDigits(attempt) => attempt.succeeded().await?,
            Self::Digits(attempt) => attempt.passed().await?,
        }
        Ok(())
    }
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
        let (mail, attempt) = self.locate(purpose, presented, network).await?;
        self.load(purpose, mail, attempt).await
    }

    /// The mail whose code is presented, and the attempt, which is reserved before the code is looked at.
    async fn locate(
        &self,
        purpose: MailedFor,
        presented: &PresentedCode,
        network: Option<&str>,
    ) -> Result<(MailId, Attempted<'_>), RedemptionError> {
        match presented {
            PresentedCode::Token(token) => {
                let attempt = self.throttle.bare_attempt(network).await?;
                let mail = self.peppers.get().await?.mail_of_token(purpose, token);
                let mail = mail.ok_or(RedemptionError::Wrong("the token is none of ours"))?;
                Ok((mail, Attempted::Token(attempt)))
            }
            PresentedCode::Digits { address, digits } => {
                let email = Email::parse(address);
                let presented = match &email {
                    Ok(email) => Presented::Email(email.canonical()),
                    Err(_) => Presented::Neither(address),
                };
                let attempt = Box::pin(self.throttle.attempt(presented, network)).await?;
                let email = email.map_err(|_| RedemptionError::Wrong("it is no address"))?;
                let mail = self.compare(DigitsOf::Reset(email.canonical()), digits).await?;
                Ok((mail, Attempted::Digits(Box::new(attempt))))
            }
            PresentedCode::OwnDigits { account, digits } => {
                // The session is proven already, and five tries are all that there are for a mail. On the
                // counters of the password, a mistyped code would lock the owner out.
                let attempt = self.throttle.bare_attempt(network).await?;
                let mail = self.compare(DigitsOf::Confirmation(*account), digits).await?;
                Ok((mail, Attempted::OwnDigits(attempt)))
            }
        }
    }

    /// The mail that the digits are of, after a try at them has been reserved.
    async fn compare(&self, of: DigitsOf<'_>, digits: &Digits) -> Result<MailId, RedemptionError> {
        let tried = self.codes.try_digits(of, self.clock.now()).await?;
        let tried = tried.ok_or(RedemptionError::Wrong("no digits are valid there"))?;
        let peppers = self.peppers.get().await?;
        if !peppers.are_digits_of(of.purpose(), tried.mail, &tried.pepper, digits.expose()) {
            return Err(RedemptionError::Wrong("the digits are wrong"));
        }
        Ok(tried.mail)
    }

    async fn load<'a>(
        &'a self,
        purpose: MailedFor,
        mail: MailId,
        attempt: Attempted<'a>,
    ) -> Result<Found<'a>, RedemptionError> {
        let found = self.codes.find(purpose, mail, self.clock.now()).await?;
        let (code, account) = found.ok_or(RedemptionError::Wrong("the code is not valid"))?;
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
        self.attempt.succeeded().await
    }

    /// The code was right and has not been used: what it was for was refused for another reason, and may
    /// be tried again.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn keep(self) -> Result<(), RedemptionError> {
        if let Attempted::Digits(_) | Attempted::OwnDigits(_) = self.attempt {
            let codes = &self.redemption.codes;
            codes.give_back(self.code.digits_of(), self.code.mail).await?;
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
