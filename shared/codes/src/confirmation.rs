//! Confirms email addresses with emailed codes.

use std::fmt;

use events::{Occasion, Origin};
use identity::{Account, Email, MailedFor};
use process::World;
use store::{CodeRecord, NewMail, Notice, Redeemed, Verifications};

use crate::{CodeError, PresentedCode, Redemption};

/// Confirms the email addresses of accounts with emailed codes.
pub struct Confirmations {
    redemption: Redemption,
    verifications: Verifications,
    world: World,
}

impl fmt::Debug for Confirmations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmations")
            .field("redemption", &self.redemption)
            .finish_non_exhaustive()
    }
}

impl Confirmations {
    /// Finds codes with `redemption`, and confirms addresses with `verifications`.
    #[must_use]
    pub fn new(redemption: Redemption, verifications: Verifications, world: &World) -> Self {
        Self { redemption, verifications, world: world.clone() }
    }

    /// Confirms the address to which the code was mailed, and assigns this address to the account that requested the
    /// code.
    ///
    /// The account loses its previous address. If the previous address was confirmed, a notice is mailed to it.
    /// Presenting the same code again succeeds as long as the account has the new address.
    ///
    /// # Errors
    /// [`CodeError::Taken`] when another account uses the email address; otherwise the errors of
    /// [`Redemption::find`].
    pub async fn confirm(
        &self,
        presented: &PresentedCode,
        origin: Origin,
    ) -> Result<(), CodeError> {
        const PURPOSE: MailedFor = MailedFor::EmailVerification;
        let Self { redemption, .. } = self;
        let located = redemption.locate(presented, PURPOSE, origin.network).await?;
        let mail = located.mail;
        let has_confirmed =
            async { Ok::<_, CodeError>(redemption.codes.has_confirmed(mail).await?) };
        // Check this first, because `load` does not find a code that has been used.
        let (has_confirmed, located) = located.carry_out(has_confirmed).await?;
        if has_confirmed {
            located.succeeded().await;
            return Ok(());
        }
        let found = located.load(PURPOSE).await?;
        let (code, account) = (found.code.clone(), found.account.clone());
        let claim = self.claim(&code, &account, origin);
        let (redeemed, found) = found.carry_out(claim).await?;
        match redeemed {
            Redeemed::Done => {
                found.succeeded().await;
                let old = account.email.as_ref().map(Email::canonical);
                let new = code.address.canonical();
                if old != Some(new) {
                    redemption.throttle.addresses_changed(old.into_iter().chain([new])).await;
                }
                Ok(())
            }
            Redeemed::Taken => {
                found.keep().await;
                Err(CodeError::Taken)
            }
            Redeemed::Conflict => {
                let reason = "the code or the account changed concurrently";
                Err(CodeError::Wrong(reason))
            }
        }
    }

    async fn claim(
        &self,
        code: &CodeRecord,
        account: &Account,
        origin: Origin,
    ) -> Result<Redeemed, CodeError> {
        let now = self.world.clock.now();
        let address = account.email.as_ref().map(Email::canonical);
        let is_new = address != Some(code.address.canonical());
        let notice = NewMail::notice(account, Notice::EmailChanged, now, &*self.world.random);
        let notice = notice.filter(|_| is_new);
        let occasion = Occasion::new(now, &*self.world.random, origin);
        let peppers = self.redemption.peppers.get().await?;
        let redeemed =
            self.verifications.verify(code, account, &*peppers, notice.as_ref(), &occasion).await?;
        // A concurrent request with the same code may have confirmed the address.
        if redeemed == Redeemed::Conflict && self.redemption.codes.has_confirmed(code.mail).await? {
            return Ok(Redeemed::Done);
        }
        Ok(redeemed)
    }
}
