//! Confirming addresses by codes.

use std::fmt;
use std::sync::Arc;

use auth::{Clock, Email, Fault, FaultKind, MailedFor, Random};
use dynamo::Client;
use store::{NewMail, Notice, Redeemed, StoreError, Verifications};

use crate::{Found, PresentedCode, Redemption, RedemptionError};

/// Confirms addresses by codes.
pub struct Confirmations {
    redemption: Redemption,
    verifications: Verifications,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Confirmations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmations")
            .field("redemption", &self.redemption)
            .finish_non_exhaustive()
    }
}

impl Confirmations {
    /// By the codes in the table that `config` names, throttled as it says. Nothing is read yet.
    #[must_use]
    pub fn open(
        config: &throttle::Config,
        client: Client,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let verifications = Verifications::new(config.table(), client.clone());
        let redemption = Redemption::open(config, client, Arc::clone(&clock), Arc::clone(&random));
        Self { redemption, verifications, clock, random }
    }

    /// Confirms the address that the code was mailed to, and claims it for the account that asked for the
    /// code. The account gives up the address that it had, whose owner is told if they had confirmed it.
    /// The same code once more succeeds as long as the account still has the address.
    ///
    /// # Errors
    /// [`ConfirmationError::Taken`] when another account has the address; otherwise as
    /// [`Redemption::find`].
    pub async fn confirm(
        &self,
        presented: &PresentedCode,
        network: Option<&str>,
    ) -> Result<(), ConfirmationError> {
        const PURPOSE: MailedFor = MailedFor::EmailVerification;
        let Self { redemption, clock, .. } = self;
        let (mail, attempt) = redemption.locate(PURPOSE, presented, network).await?;
        // Looked for first, since the attempt goes to whoever loads the code.
        if redemption.codes.has_confirmed(mail, clock.now()).await? {
            attempt.succeeded().await?;
            return Ok(());
        }
        let found = redemption.load(PURPOSE, mail, attempt).await?;
        match self.claim(&found).await? {
            Redeemed::Done => {
                // The address is confirmed: a counter that keeps an attempt is not worth an error.
                if let Err(error) = found.succeeded().await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(event = "counters_not_told", error, "a success is not counted");
                }
                Ok(())
            }
            Redeemed::Taken => {
                found.keep().await?;
                Err(ConfirmationError::Taken)
            }
            // The other one of two clicks may have confirmed it.
            Redeemed::Meanwhile if redemption.codes.has_confirmed(mail, clock.now()).await? => {
                found.succeeded().await?;
                Ok(())
            }
            Redeemed::Meanwhile => {
                let reason = "code or account has changed meanwhile";
                Err(RedemptionError::Wrong(reason).into())
            }
        }
    }

    async fn claim(&self, found: &Found<'_>) -> Result<Redeemed, StoreError> {
        let Found { code, account, .. } = found;
        let now = self.clock.now();
        let address = account.email.as_ref().map(Email::canonical);
        let is_another = address != Some(code.address.canonical());
        let notice = NewMail::notice(account, Notice::EmailChanged, now, &*self.random);
        let notice = notice.filter(|_| is_another);
        self.verifications.verify(code, account, notice.as_ref(), now).await
    }
}

/// An address has not been confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmationError {
    /// Another account has the address.
    #[error("another account has the address")]
    Taken,
    /// The code is wrong, or could not be checked.
    #[error(transparent)]
    Redemption(#[from] RedemptionError),
}

impl From<StoreError> for ConfirmationError {
    fn from(error: StoreError) -> Self {
        Self::Redemption(error.into())
    }
}

impl Fault for ConfirmationError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Taken => FaultKind::Conflict,
            Self::Redemption(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Taken => None,
            Self::Redemption(error) => error.retry_after(),
        }
    }
}
