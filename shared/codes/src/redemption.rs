//! Finds the codes that callers present.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use identity::{Account, MailId, MailedFor, Network, Presented, Standing};
use peppers::Peppers;
use process::{Clock, Outage, World};
use secrets::Cached;
use store::{CodeRecord, Codes, DigitsOf, DigitsTry};
use throttle::{Attempt, Reservation, Throttle, ThrottleError};

use crate::{CodeError, Digits, PresentedCode};

/// Finds the codes that callers present, and limits the attempts.
pub struct Redemption {
    pub(crate) codes: Codes,
    pub(crate) throttle: Throttle,
    pub(crate) peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Redemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redemption").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

/// A valid code, and the attempt in which it was presented. If this value is dropped, the attempt counts as a failure.
#[derive(Debug)]
#[must_use = "record a success, or the attempt counts as a failure"]
pub struct ValidCode<'a> {
    /// The stored part of the code.
    pub code: CodeRecord,
    /// The account that the code is for, in its current state.
    pub account: Account,
    located: Located<'a>,
}

/// The email whose code is presented, and the reserved attempt.
#[derive(Debug)]
pub(crate) struct Located<'a> {
    pub(crate) mail: MailId,
    redemption: &'a Redemption,
    attempt: Reserved<'a>,
    tried: Option<DigitsTry>,
}

/// The counters on which an attempt has been reserved.
#[derive(Debug)]
enum Reserved<'a> {
    /// Only the counter of the network.
    Network(Reservation<'a>),
    /// The same counters as for a password.
    Password(Box<Attempt<'a>>),
}

impl Redemption {
    /// Creates a redemption that finds codes in `codes` and counts attempts in `throttle`.
    #[must_use]
    pub fn new(
        codes: Codes,
        throttle: Throttle,
        peppers: Arc<Cached<Peppers>>,
        world: &World,
    ) -> Self {
        Self { codes, throttle, peppers, clock: Arc::clone(&world.clock) }
    }

    /// Finds the presented code and its account, if the code is valid and the account is active.
    ///
    /// # Errors
    /// [`CodeError::Wrong`] when the code is invalid for any reason; [`CodeError::Throttle`] when there have been too
    /// many attempts. After any other error, the check was not carried out and no attempt is counted.
    pub async fn find(
        &self,
        purpose: MailedFor,
        presented: &PresentedCode,
        network: Option<Network>,
    ) -> Result<ValidCode<'_>, CodeError> {
        let located = self.locate(presented, purpose, network).await?;
        located.load(purpose).await
    }

    /// Reserves an attempt, and finds the email whose code is presented.
    pub(crate) async fn locate(
        &self,
        presented: &PresentedCode,
        purpose: MailedFor,
        network: Option<Network>,
    ) -> Result<Located<'_>, CodeError> {
        // Load the peppers before reserving an attempt, so that a failure to load them uses up no attempt.
        let peppers = self.peppers.get().await?;
        let (mail, attempt, tried) = match presented {
            PresentedCode::Token(token) => {
                let attempt = self.throttle.bare_attempt(network).await?;
                let mail = peppers.mail_of_token(purpose, token);
                let mail = mail.ok_or(CodeError::Wrong("the token is invalid"))?;
                (mail, Reserved::Network(attempt), None)
            }
            PresentedCode::Digits { address, digits } => {
                let presented = Presented::email(address);
                let attempt = self.throttle.attempt(&presented, network).await?;
                let Presented::Email(address) = &presented else {
                    return Err(CodeError::Wrong("the address is invalid"));
                };
                let compare = self.compare(&peppers, DigitsOf::Reset(address), digits);
                let (tried, attempt) = attempt.carry_out(compare).await?;
                (tried.mail(), Reserved::Password(Box::new(attempt)), Some(tried))
            }
            PresentedCode::OwnDigits { account, digits } => {
                // The network's counter is enough, because the caller is signed in and has only five tries at the
                // digits. If mistyped digits counted like wrong passwords, they could lock the user out.
                let attempt = self.throttle.bare_attempt(network).await?;
                let compare = self.compare(&peppers, DigitsOf::Confirmation(*account), digits);
                let (tried, attempt) = attempt.carry_out(compare).await?;
                (tried.mail(), Reserved::Network(attempt), Some(tried))
            }
        };
        Ok(Located { mail, redemption: self, attempt, tried })
    }

    /// Reserves a try, compares the digits, and returns the try if the digits are right.
    async fn compare(
        &self,
        peppers: &Peppers,
        of: DigitsOf<'_>,
        digits: &Digits,
    ) -> Result<DigitsTry, CodeError> {
        let tried = self.codes.try_digits(of, self.clock.now()).await?;
        let tried = tried.ok_or(CodeError::Wrong("no digits are pending"))?;
        if !peppers.are_digits_of(of.purpose(), tried.mail(), tried.pepper(), digits.expose()) {
            return Err(CodeError::Wrong("the digits are wrong"));
        }
        Ok(tried)
    }

    /// Gives back a try at digits. A failure is only logged.
    async fn give_back(&self, tried: Option<DigitsTry>) {
        let Some(tried) = tried else { return };
        if let Err(error) = self.codes.give_back(tried).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(event = "counters_not_told", error, "a try was not given back");
        }
    }
}

impl<'a> Located<'a> {
    /// Loads the code and its account, if the code is valid and the account is active.
    pub(crate) async fn load(self, purpose: MailedFor) -> Result<ValidCode<'a>, CodeError> {
        let (mail, redemption) = (self.mail, self.redemption);
        let load = async {
            let found = redemption.codes.find(purpose, mail, redemption.clock.now()).await?;
            let (code, account) = found.ok_or(CodeError::Wrong("the code is not valid"))?;
            if account.standing != Standing::Active {
                return Err(CodeError::Wrong("the account is disabled"));
            }
            Ok((code, account))
        };
        let ((code, account), located) = self.carry_out(load).await?;
        Ok(ValidCode { code, account, located })
    }

    /// Awaits `work` as [`ValidCode::carry_out`] does.
    pub(crate) async fn carry_out<T, E: Outage + From<ThrottleError>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Self), E> {
        match throttle::bounded(work).await {
            Ok(done) => Ok((done, self)),
            Err(error) => {
                if error.is_outage() {
                    self.redemption.give_back(self.tried).await;
                    match self.attempt {
                        Reserved::Network(attempt) => attempt.withdraw().await,
                        Reserved::Password(attempt) => attempt.withdraw().await,
                    }
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn succeeded(self) {
        match self.attempt {
            Reserved::Network(attempt) => attempt.withdraw().await,
            Reserved::Password(attempt) => attempt.passed().await,
        }
    }
}

impl ValidCode<'_> {
    /// Awaits `work`, which uses the code. After an outage or a timeout, neither the attempt nor the try at the digits
    /// is counted.
    ///
    /// # Errors
    /// When `work` fails, or takes too long ([`ThrottleError::Overdue`]).
    pub async fn carry_out<T, E: Outage + From<ThrottleError>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Self), E> {
        let Self { code, account, located } = self;
        let (done, located) = located.carry_out(work).await?;
        Ok((done, Self { code, account, located }))
    }

    /// Records that the code was right, so that the attempt is not counted.
    pub async fn succeeded(self) {
        self.located.succeeded().await;
    }

    /// Records that the code was right but has not been used, because the request was refused for another reason. The
    /// caller may present the code again.
    pub async fn keep(self) {
        let mut located = self.located;
        located.redemption.give_back(located.tried.take()).await;
        located.succeeded().await;
    }
}
