//! Checks the password of a signed-in user again: before the password or the address changes.

use std::fmt;

use identity::{Account, Network, Presented, StoredHash};
use passwords::{Hasher, Password, Verdict};
use process::World;
use store::{Hashes, Outbox};
use throttle::Throttle;

use crate::{CredentialError, parse, succeed};

/// Checks the passwords of signed-in users again. Guesses count against the same limits as at login.
pub struct Reauthentication {
    stored: Hashes,
    outbox: Outbox,
    throttle: Throttle,
    hasher: Hasher,
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
        Self { stored, outbox, throttle, hasher, world: world.clone() }
    }

    /// Proves that `password` is the password of `account`, and returns its stored hash. From now on the
    /// account knows the network; if it is a new one, the owner gets a notice, as after a login.
    ///
    /// # Errors
    /// [`CredentialError::WrongPassword`] when it is not; [`CredentialError::Throttle`] when there have been
    /// too many attempts; another error when the check cannot be carried out; then no attempt is
    /// counted.
    pub async fn prove(
        &self,
        account: &Account,
        password: &Password,
        network: Option<Network>,
    ) -> Result<StoredHash, CredentialError> {
        let presented = Presented::Username(account.username.canonical().clone());
        // Concurrently. A failed read is returned later: here it would drop the reservation halfway, and a
        // dropped reservation cannot be released.
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
        let (hash, attempt) = attempt?.carry_out(check).await?;
        succeed(attempt, account, &self.outbox, &self.world).await;
        Ok(hash)
    }
}
