//! Confirms addresses by codes.

use std::fmt;
use std::sync::Arc;

use dynamo::Client;
use identity::{Account, Email, MailedFor, Network};
use peppers::Peppers;
use process::{Clock, Fault, FaultKind, Random, World};
use secrets::Cached;
use store::{Code, NewMail, Notice, Redeemed, Verifications};

use crate::{PresentedCode, Redemption, RedemptionError};

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
    /// Confirmations by the codes in the table that `config` names, under its limits. Nothing is read yet.
    #[must_use]
    pub fn open(
        config: &throttle::Config,
        client: Client,
        peppers: Arc<Cached<Peppers>>,
        world: &World,
    ) -> Self {
        let verifications = Verifications::new(config.table(), client.clone());
        let redemption = Redemption::open(config, client, peppers, world);
        let (clock, random) = (Arc::clone(&world.clock), Arc::clone(&world.random));
        Self { redemption, verifications, clock, random }
    }

    /// Confirms the address that the code was mailed to, and claims it for the account that asked for the
    /// code. The account gives up its previous address, and the owner of that address gets a notice if they
    /// had confirmed it. Presenting the same code again succeeds as long as the account has the address.
    ///
    /// # Errors
    /// [`ConfirmationError::Taken`] when another account uses the e-mail address; otherwise as
    /// [`Redemption::find`].
    pub async fn confirm(
        &self,
        presented: &PresentedCode,
        network: Option<Network>,
    ) -> Result<(), ConfirmationError> {
        const PURPOSE: MailedFor = MailedFor::EmailVerification;
        let Self { redemption, .. } = self;
        let located = redemption.locate(presented, PURPOSE, network).await?;
        let mail = located.mail;
        let has_confirmed =
            async { Ok::<_, RedemptionError>(redemption.codes.has_confirmed(mail).await?) };
        // Checked first, because a used code is not found below.
        let (has_confirmed, located) = located.carry_out(has_confirmed).await?;
        if has_confirmed {
            located.succeeded().await;
            return Ok(());
        }
        let found = located.load(PURPOSE).await?;
        let (code, account) = (found.code.clone(), found.account.clone());
        let claim = self.claim(&code, &account);
        let (redeemed, found) = found.carry_out(claim).await?;
        match redeemed {
            Redeemed::Done => {
                found.succeeded().await;
                let old = account.email.as_ref().map(Email::canonical);
                let new = code.address.canonical();
                if old != Some(new) {
                    redemption.throttle.moved(old, new).await;
                }
                Ok(())
            }
            Redeemed::Taken => {
                found.keep().await;
                Err(ConfirmationError::Taken)
            }
            Redeemed::Meanwhile => {
                let reason = "the code or the account changed concurrently";
                Err(RedemptionError::Wrong(reason).into())
            }
        }
    }

    async fn claim(&self, code: &Code, account: &Account) -> Result<Redeemed, RedemptionError> {
        let now = self.clock.now();
        let address = account.email.as_ref().map(Email::canonical);
        let is_another = address != Some(code.address.canonical());
        let notice = NewMail::notice(account, Notice::EmailChanged, now, &*self.random);
        let notice = notice.filter(|_| is_another);
        let redeemed = self.verifications.verify(code, account, notice.as_ref(), now).await?;
        // Of two concurrent requests with this code, the other one may have confirmed the address.
        if redeemed == Redeemed::Meanwhile && self.redemption.codes.has_confirmed(code.mail).await?
        {
            return Ok(Redeemed::Done);
        }
        Ok(redeemed)
    }
}

/// An address has not been confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmationError {
    /// Another account has the address.
    #[error("another account uses the e-mail address")]
    Taken,
    /// The code is wrong, or could not be checked.
    #[error(transparent)]
    Redemption(#[from] RedemptionError),
}

impl Fault for ConfirmationError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Taken => FaultKind::Conflict,
            Self::Redemption(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Taken => "already_exists",
            Self::Redemption(error) => error.code(),
        }
    }

    fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Taken => Some("Another account uses this e-mail address."),
            Self::Redemption(error) => error.detail(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Taken => None,
            Self::Redemption(error) => error.retry_after(),
        }
    }
}
