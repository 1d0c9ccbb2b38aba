//! The password once more, of somebody who is signed in: before the password or the address changes.
//!
//! Guesses are held as at login, on the same counters.

use std::fmt;
use std::sync::Arc;

use dynamo::Client;
use identity::{Account, Network};
use passwords::{HashError, Hasher, Password, PasswordHash, Verdict};
use peppers::Peppers;
use process::{Clock, Fault, FaultKind, Random, World};
use secrets::Cached;
use store::{Hashes, NewMail, Notice, Outbox, Secret, StoreError};
use throttle::{Familiarity, Presented, Throttle, ThrottleError};

/// Asks for passwords.
pub struct Reauthentication {
    hashes: Hashes,
    throttle: Throttle,
    hasher: Hasher,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Reauthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reauthentication").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

impl Reauthentication {
    /// By the hashes in the table that `config` names, throttled as it says. Nothing is read yet.
    #[must_use]
    pub fn open(
        config: &throttle::Config,
        client: Client,
        peppers: Arc<Cached<Peppers>>,
        world: &World,
    ) -> Self {
        let hashes = Hashes::new(config.table(), client.clone());
        let outbox = Outbox::new(config.table(), client.clone());
        let throttle = Throttle::open(config, client, peppers, world);
        let (clock, random) = (Arc::clone(&world.clock), Arc::clone(&world.random));
        Self { hashes, throttle, hasher: Hasher::new(), outbox, clock, random }
    }

    /// What throttles it.
    #[must_use]
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// What it hashes with.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Proves that `password` is the account's, and returns its stored hash. The account then knows the
    /// network; if it is a new one, the owner gets a notice, as after a login.
    ///
    /// # Errors
    /// [`ReauthenticationError::Wrong`] when it is not; [`ReauthenticationError::Throttle`] when there
    /// have been too many attempts; or when something is out of reach, which uses up no attempt.
    pub async fn prove(
        &self,
        account: &Account,
        password: &Password,
        network: Option<Network>,
    ) -> Result<Secret, ReauthenticationError> {
        let presented = Presented::Username(account.username.canonical());
        let attempt = async { Ok(Box::pin(self.throttle.attempt(presented, network)).await?) };
        // The error of a failed read is returned later. Here it would drop the reservation half-way, and a
        // dropped reservation cannot be withdrawn.
        let stored = async { Ok::<_, ReauthenticationError>(self.hashes.of(account).await) };
        let (attempt, stored) = futures_util::try_join!(attempt, stored)?;
        let check = async {
            let stored = stored?;
            let hash = stored
                .as_ref()
                .map(|secret| PasswordHash::from_stored(secret.expose().to_owned()))
                .transpose()?;
            match (stored, self.hasher.verify(password, hash.as_ref()).await?) {
                (Some(stored), Verdict::Right) => Ok(stored),
                _ => Err(ReauthenticationError::Wrong),
            }
        };
        let (hash, attempt) = attempt.carry_out(Box::pin(check)).await?;
        if attempt.succeeded(account).await == Familiarity::New {
            let now = self.clock.now();
            let notice = NewMail::notice(account, Notice::NewNetwork, now, &*self.random);
            self.outbox.notify(notice).await;
        }
        Ok(hash)
    }
}

/// The password has not been proven.
#[derive(Debug, thiserror::Error)]
pub enum ReauthenticationError {
    /// It is wrong, or the account has none.
    #[error("the password is wrong")]
    Wrong,
    /// There have been too many attempts, or the counters are out of reach.
    #[error(transparent)]
    Throttle(#[from] ThrottleError),
    /// The hash.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Hashing.
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl Fault for ReauthenticationError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Wrong => FaultKind::Forbidden,
            Self::Throttle(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Hash(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Wrong => "wrong_password",
            Self::Throttle(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Hash(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttle(error) => error.retry_after(),
            Self::Wrong | Self::Store(_) | Self::Hash(_) => None,
        }
    }
}
