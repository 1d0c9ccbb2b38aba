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

/// Finds codes.
pub struct Redemption {
    pub(crate) codes: Codes,
    pub(crate) throttle: Throttle,
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
pub struct ValidCode<'a> {
    /// The code.
    pub code: CodeRecord,
    /// The current state of the account that the code is for.
    pub account: Account,
    located: Located<'a>,
}

/// The mail whose code is presented, and the attempt, which is reserved before the code is looked up.
#[derive(Debug)]
pub(crate) struct Located<'a> {
    pub(crate) mail: MailId,
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
    /// Finds the codes in `codes`.
    #[must_use]
    pub fn new(
        codes: Codes,
        throttle: Throttle,
        peppers: Arc<Cached<Peppers>>,
        world: &World,
    ) -> Self {
        Self { codes, throttle, peppers, clock: Arc::clone(&world.clock) }
    }

    /// The presented code and its account, if the code is valid and the account is active.
    ///
    /// # Errors
    /// [`CodeError::Wrong`] when the code is not valid, for any reason; [`CodeError::Throttle`]
    /// when there have been too many attempts; another error when a service cannot be reached, which does not
    /// count as an attempt.
    pub async fn find(
        &self,
        purpose: MailedFor,
        presented: &PresentedCode,
        network: Option<Network>,
    ) -> Result<ValidCode<'_>, CodeError> {
        let located = self.locate(presented, purpose, network).await?;
        located.load(purpose).await
    }

    /// The mail whose code is presented.
    pub(crate) async fn locate(
        &self,
        presented: &PresentedCode,
        purpose: MailedFor,
        network: Option<Network>,
    ) -> Result<Located<'_>, CodeError> {
        // Loaded before anything is reserved.
        let peppers = self.peppers.get().await?;
        let (mail, attempt, tried) = match presented {
            PresentedCode::Token(token) => {
                let attempt = self.throttle.bare_attempt(network).await?;
                let mail = peppers.mail_of_token(purpose, token);
                let mail = mail.ok_or(CodeError::Wrong("the token is invalid"))?;
                (mail, Attempted::Bare(attempt), None)
            }
            PresentedCode::Digits { address, digits } => {
                let presented = Presented::email(address);
                let attempt = self.throttle.attempt(&presented, network).await?;
                let Presented::Email(address) = &presented else {
                    return Err(CodeError::Wrong("the address is invalid"));
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
    ) -> Result<DigitsTry, CodeError> {
        let tried = self.codes.try_digits(of, self.clock.now()).await?;
        let tried = tried.ok_or(CodeError::Wrong("no digits are pending"))?;
        if !peppers.are_digits_of(of.purpose(), tried.mail(), tried.pepper(), digits.expose()) {
            return Err(CodeError::Wrong("the digits are wrong"));
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

    /// As [`ValidCode::carry_out`].
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
                        Attempted::Bare(attempt) => attempt.withdraw().await,
                        Attempted::AtPassword(attempt) => attempt.withdraw().await,
                    }
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn succeeded(self) {
        match self.attempt {
            Attempted::Bare(attempt) => attempt.withdraw().await,
            Attempted::AtPassword(attempt) => attempt.passed().await,
        }
    }
}

impl ValidCode<'_> {
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
