//! Finds codes by mail, and confirms addresses by them.
//!
//! Before a code is looked up, the attempt is reserved: for a link token only on the counter of the network,
//! because nobody can guess 128 bits; for the digits of a reset on the same counters as a password. In
//! addition, digits have their own counter, which allows five tries. Every wrong code gets the same answer.

mod confirmation;
mod digits;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use confirmation::{ConfirmationError, Confirmations};
pub use digits::Digits;
use dynamo::Client;
use identity::{Account, MailId, MailedFor, Network, Presented, Standing, UserId};
use peppers::Peppers;
use process::{Clock, Fault, FaultKind, Outage, World};
use secrets::{Cached, SecretError};
use store::{Code, Codes, DigitsOf, DigitsTry, StoreError};
use throttle::{Attempt, Reservation, Throttle, ThrottleError};

/// A code as a caller presents it.
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
    /// The digits with which a signed-in account confirms its own address.
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
    /// When a member is missing or too many are given, or `code` is not eight digits.
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
            (None, None, None) => Err(PresentedError::Missing("token")),
            (None, Some(_), None) => Err(PresentedError::Missing("code")),
            (None, None, Some(_)) => Err(PresentedError::Missing("email")),
            (Some(_), _, _) => Err(PresentedError::Both),
        }
    }
}

/// The members of a body do not form a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresentedError {
    /// This member is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// There is a `token`, and `email` or `code` too.
    #[error("specify either `token`, or `email` and `code`, not both")]
    Both,
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

/// A valid code, and the attempt by which it was presented. If this is dropped, the attempt has failed.
#[derive(Debug)]
#[must_use = "record a success, or the attempt counts as a failure"]
pub struct Found<'a> {
    /// The code.
    pub code: Code,
    /// The current state of the account that the code is for.
    pub account: Account,
    located: Located<'a>,
}

/// The mail whose code is presented, and the attempt, which is reserved before the code is looked up.
#[derive(Debug)]
struct Located<'a> {
    mail: MailId,
    redemption: &'a Redemption,
    attempt: Attempted<'a>,
    tried: Option<DigitsTry>,
}

#[derive(Debug)]
enum Attempted<'a> {
    Bare(Reservation<'a>),
    AtPassword(Box<Attempt<'a>>),
}

impl Redemption {
    /// Of the codes in the table that `config` names, throttled as it says. Nothing is read yet.
    #[must_use]
    pub fn open(
        config: &throttle::Config,
        client: Client,
        peppers: Arc<Cached<Peppers>>,
        world: &World,
    ) -> Self {
        let codes = Codes::new(config.table(), client.clone());
        let throttle = Throttle::open(config, client, Arc::clone(&peppers), world);
        Self { codes, throttle, peppers, clock: Arc::clone(&world.clock) }
    }

    /// What throttles it.
    #[must_use]
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// The presented code and its account, if the code is valid and the account is active.
    ///
    /// # Errors
    /// [`RedemptionError::Wrong`] when the code is not valid, for any reason; [`RedemptionError::Throttle`]
    /// when there have been too many attempts; another error when a service cannot be reached, which does not
    /// count as an attempt.
    pub async fn find(
        &self,
        purpose: MailedFor,
        presented: &PresentedCode,
        network: Option<Network>,
    ) -> Result<Found<'_>, RedemptionError> {
        let located = self.locate(presented, purpose, network).await?;
        located.load(purpose).await
    }

    /// The mail whose code is presented.
    async fn locate(
        &self,
        presented: &PresentedCode,
        purpose: MailedFor,
        network: Option<Network>,
    ) -> Result<Located<'_>, RedemptionError> {
        // Loaded before anything is reserved.
        let peppers = self.peppers.get().await?;
        let (mail, attempt, tried) = match presented {
            PresentedCode::Token(token) => {
                let attempt = self.throttle.bare_attempt(network).await?;
                let mail = peppers.mail_of_token(purpose, token);
                let mail = mail.ok_or(RedemptionError::Wrong("the token is invalid"))?;
                (mail, Attempted::Bare(attempt), None)
            }
            PresentedCode::Digits { address, digits } => {
                let presented = Presented::email(address);
                let attempt = self.throttle.attempt(&presented, network).await?;
                let Presented::Email(address) = &presented else {
                    return Err(RedemptionError::Wrong("the address is invalid"));
                };
                let compare = self.compare(&peppers, DigitsOf::Reset(address), digits);
                let (tried, attempt) = attempt.carry_out(compare).await?;
                (tried.mail(), Attempted::AtPassword(Box::new(attempt)), Some(tried))
            }
            PresentedCode::OwnDigits { account, digits } => {
                // The caller has already proven the session, and a mail allows only five tries. On the
                // counters of the password, a mistyped code could lock the owner out.
                let attempt = self.throttle.bare_attempt(network).await?;
                let compare = self.compare(&peppers, DigitsOf::Confirmation(*account), digits);
                let (tried, attempt) = attempt.carry_out(compare).await?;
                (tried.mail(), Attempted::Bare(attempt), Some(tried))
            }
        };
        Ok(Located { mail, redemption: self, attempt, tried })
    }

    /// Reserves a try at the digits, and returns it if they are right.
    async fn compare(
        &self,
        peppers: &Peppers,
        of: DigitsOf<'_>,
        digits: &Digits,
    ) -> Result<DigitsTry, RedemptionError> {
        let tried = self.codes.try_digits(of, self.clock.now()).await?;
        let tried = tried.ok_or(RedemptionError::Wrong("no digits are pending"))?;
        if !peppers.are_digits_of(of.purpose(), tried.mail(), tried.pepper(), digits.expose()) {
            return Err(RedemptionError::Wrong("the digits are wrong"));
        }
        Ok(tried)
    }

    /// Gives a try at digits back. A failure is only logged.
    async fn give_back(&self, tried: Option<DigitsTry>) {
        let Some(tried) = tried else { return };
        if let Err(error) = self.codes.give_back(tried).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(event = "counters_not_told", error, "a try was not given back");
        }
    }
}

impl<'a> Located<'a> {
    /// The code and its account, if they are valid.
    async fn load(self, purpose: MailedFor) -> Result<Found<'a>, RedemptionError> {
        let (mail, redemption) = (self.mail, self.redemption);
        let load = async {
            let found = redemption.codes.find(purpose, mail, redemption.clock.now()).await?;
            let (code, account) = found.ok_or(RedemptionError::Wrong("the code is not valid"))?;
            if account.standing != Standing::Active {
                return Err(RedemptionError::Wrong("the account is disabled"));
            }
            Ok((code, account))
        };
        let ((code, account), located) = self.carry_out(load).await?;
        Ok(Found { code, account, located })
    }

    /// As [`Found::carry_out`].
    async fn carry_out<T, E: Outage + From<ThrottleError>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Self), E> {
        match throttle::bounded(work).await {
            Ok(done) => Ok((done, self)),
            Err(error) => {
                if error.is_outage() {
                    self.redemption.give_back(self.tried).await;
                    match self.attempt {
                        Attempted::Bare(attempt) => attempt.withdraw().await,
                        Attempted::AtPassword(attempt) => attempt.withdraw().await,
                    }
                }
                Err(error)
            }
        }
    }

    async fn succeeded(self) {
        match self.attempt {
            Attempted::Bare(attempt) => attempt.withdraw().await,
            Attempted::AtPassword(attempt) => attempt.passed().await,
        }
    }
}

impl Found<'_> {
    /// Awaits `work`, which uses the code. If the server cannot carry it out in time, neither the attempt nor
    /// the try at the digits counts.
    ///
    /// # Errors
    /// The error of `work`, or [`ThrottleError::Overdue`].
    pub async fn carry_out<T, E: Outage + From<ThrottleError>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Self), E> {
        let Self { code, account, located } = self;
        let (done, located) = located.carry_out(work).await?;
        Ok((done, Self { code, account, located }))
    }

    /// Records that the code was right: the attempt counts nowhere.
    pub async fn succeeded(self) {
        self.located.succeeded().await;
    }

    /// Records that the code was right but has not been used: the request was refused for another reason, and
    /// the caller may try again.
    pub async fn keep(self) {
        let mut located = self.located;
        located.redemption.give_back(located.tried.take()).await;
        located.succeeded().await;
    }
}

/// No valid code was found.
#[derive(Debug, thiserror::Error)]
pub enum RedemptionError {
    /// The code is not valid. The reason is only for the log.
    #[error("{0}")]
    Wrong(&'static str),
    /// There have been too many attempts, or the counters cannot be reached.
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
            Self::Wrong(_) => FaultKind::Invalid,
            Self::Throttle(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Secret(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Wrong(_) => "invalid_code",
            Self::Throttle(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Secret(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttle(error) => error.retry_after(),
            Self::Wrong(_) | Self::Store(_) | Self::Secret(_) => None,
        }
    }
}
