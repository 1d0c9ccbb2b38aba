//! Checks a signed-in user's password again: before the password or the address is changed, and for a step-up.

use std::fmt;

use events::{Kind, Occasion, Origin};
use identity::{Account, Network, Presented, StoredHash};
use passwords::{Hasher, Password, Verdict};
use process::World;
use store::{Hashes, Outbox};
use throttle::{Throttle, ThrottleError};

use crate::authentication::refusal;
use crate::refused::Refused;
use crate::{CredentialError, parse, succeed};

/// Checks the passwords of signed-in users again, under the same limits as at login.
pub struct Reauthentication {
    stored: Hashes,
    outbox: Outbox,
    throttle: Throttle,
    hasher: Hasher,
    refused: Refused,
    world: World,
}

impl fmt::Debug for Reauthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reauthentication").finish_non_exhaustive()
    }
}

impl Reauthentication {
    /// Checks passwords against the hashes in `stored`, and requests notices through `outbox`.
    #[must_use]
    pub fn new(
        stored: Hashes,
        outbox: Outbox,
        throttle: Throttle,
        hasher: Hasher,
        world: &World,
    ) -> Self {
        Self { stored, outbox, throttle, hasher, refused: Refused::default(), world: world.clone() }
    }

    /// Verifies that `password` is the password of `account`, and returns the stored hash. If the network is new to the
    /// account, it becomes known and the owner gets a notice, as after a login.
    ///
    /// # Errors
    /// [`CredentialError::WrongPassword`] when the password is wrong; [`CredentialError::Throttle`] when there have
    /// been too many attempts. After any other error, the check was not carried out and no attempt is counted.
    pub async fn prove(
        &self,
        account: &Account,
        password: &Password,
        network: Option<Network>,
    ) -> Result<StoredHash, CredentialError> {
        let presented = Presented::Username(account.username.canonical().clone());
        // Use `join!`: if the read failed, `try_join!` would drop an unfinished reservation, which then could not be
        // released. `check` returns the error of the read.
        let (stored, attempt) = futures_util::join!(
            self.stored.of(account),
            self.throttle.attempt(&presented, network),
        );
        let check = async {
            let stored = stored?;
            let hash = parse(stored.as_ref())?;
            match (stored, self.hasher.verify(password, hash.as_ref()).await?) {
                (Some(stored), Verdict::Right) => Ok(stored),
                _ => Err(CredentialError::WrongPassword),
            }
        };
        let occasion = || {
            let origin = Origin { network, user_agent: None };
            Occasion::new(self.world.clock.now(), &*self.world.random, origin)
        };
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => {
                let name = account.username.canonical().as_str();
                if matches!(error, ThrottleError::TooMany { .. })
                    && self.refused.is_first(name, self.world.clock.now())
                {
                    let refused = refusal(account.id, &presented, occasion());
                    self.stored.note(account, &refused).await;
                }
                return Err(error.into());
            }
        };
        let checked = attempt.carry_out(check).await;
        if matches!(checked, Err(CredentialError::WrongPassword)) {
            let failed = occasion().event(account.id, Kind::LoginFailed);
            self.stored.note(account, &failed).await;
        }
        let (hash, attempt) = checked?;
        succeed(attempt, account, &self.outbox, &self.world).await;
        Ok(hash)
    }
}
