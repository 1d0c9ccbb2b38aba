//! Requests emails that contain codes.

use std::fmt;

use identity::{Account, CanonicalName, Email, EmailStanding, MailId, Network};
use process::World;
use store::{Mail, NewMail, Notice, Outbox};
use throttle::{Postal, Throttle};

use crate::CodeError;

/// Requests emails that contain codes. Requests are limited per network, and emails per address. The caller does not
/// learn whether the address has reached its limit.
pub struct Requests {
    outbox: Outbox,
    throttle: Throttle,
    world: World,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

impl Requests {
    /// Requests emails by writing them to `outbox`.
    #[must_use]
    pub fn new(outbox: Outbox, throttle: Throttle, world: &World) -> Self {
        Self { outbox, throttle, world: world.clone() }
    }

    /// Requests an email with which the owner of `address` can set a new password. Does not check whether an account
    /// has this address.
    ///
    /// # Errors
    /// When there have been too many requests from the network, or a service cannot be reached.
    pub async fn reset(&self, address: Email, network: Option<Network>) -> Result<(), CodeError> {
        let (now, random) = (self.world.clock.now(), &*self.world.random);
        let to = address.canonical().clone();
        let mail = Mail::PasswordReset { address };
        let mails = vec![NewMail { id: MailId::new(now, random), mail, asked_at: now }];
        self.request(Some((&to, mails)), network).await
    }

    /// Requests an email to confirm the current or pending address of `account`. If there is no such address, or it is
    /// already confirmed, no email is sent, but the request is still counted.
    ///
    /// # Errors
    /// As for [`Self::reset`].
    pub async fn verification(
        &self,
        account: &Account,
        network: Option<Network>,
    ) -> Result<(), CodeError> {
        let address = unverified(account);
        let mail =
            address.map(|address| (address.canonical(), vec![self.confirm(account, address)]));
        self.request(mail, network).await
    }

    /// Requests an email to confirm `address` as the new address of `account`. If the current address is confirmed, a
    /// notice to it is requested too.
    ///
    /// # Errors
    /// As for [`Self::reset`].
    pub async fn change(
        &self,
        account: &Account,
        address: &Email,
        network: Option<Network>,
    ) -> Result<(), CodeError> {
        let (now, random) = (self.world.clock.now(), &*self.world.random);
        let current = account.email.as_ref().map(Email::canonical);
        let is_new = current != Some(address.canonical());
        let notice = NewMail::notice(account, Notice::EmailChangeRequested, now, random);
        let mut mails = vec![self.confirm(account, address)];
        mails.extend(notice.filter(|_| is_new));
        self.request(Some((address.canonical(), mails)), network).await
    }

    fn confirm(&self, account: &Account, address: &Email) -> NewMail {
        let (now, random) = (self.world.clock.now(), &*self.world.random);
        NewMail::verification(account.id, account.epoch, address.clone(), now, random)
    }

    /// Counts the request, and writes the emails to the outbox if the address has not reached its limit.
    async fn request(
        &self,
        mails: Option<(&CanonicalName, Vec<NewMail>)>,
        network: Option<Network>,
    ) -> Result<(), CodeError> {
        let request = self.throttle.mail_request(network).await?;
        let Some((address, mails)) = mails else { return Ok(()) };
        let (postage, request) =
            request.then_reserve(self.throttle.postage(address, network)).await?;
        if let Postal::Paid(paid) = postage {
            let put = async { Ok::<_, CodeError>(self.outbox.put(&mails).await?) };
            request.and(paid).carry_out(put).await?;
        }
        Ok(())
    }
}

/// The current or pending address of an account, if it is not verified.
fn unverified(account: &Account) -> Option<&Email> {
    match (&account.email, account.email_standing) {
        (Some(email), EmailStanding::Unverified) => Some(email),
        (Some(_), EmailStanding::Verified) => None,
        (None, _) => account.pending_email.as_ref(),
    }
}
