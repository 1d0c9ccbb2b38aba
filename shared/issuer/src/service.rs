//! Issues the tokens of a session with the current secrets.

use std::fmt;
use std::sync::Arc;

use identity::{Account, Authentication, SessionEpoch, SessionId};
use jiff::Timestamp;
use peppers::{MacKey, Peppers, Purpose};
use process::{Clock, Fault, FaultKind, Random, Reader, Settings, World};
use secrets::{CacheSeconds, Cached, Secret, SecretError};
use serde::Serialize;

use crate::SigningKeys;
use crate::mint::{self, AccessTokens, Grant, MintError};
use crate::refresh::{RefreshToken, RefreshTokenError};

/// The settings of the issuer: claims, lifetimes and secrets.
#[derive(Clone, Debug)]
pub struct Config {
    access: mint::Config,
    signing_keys: secrets::Config,
    cache: CacheSeconds,
}

impl Settings for Config {
    /// Reads `SIGNING_KEYS_SECRET`, `SECRETS_CACHE_SECONDS`, and the variables of
    /// [`AccessConfig::read`](crate::AccessConfig::read).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let access = mint::Config::read(reader);
        let signing_keys = secrets::Config::read(reader, "SIGNING_KEYS_SECRET");
        let cache = CacheSeconds::read(reader);
        Some(Self { access: access?, signing_keys: signing_keys?, cache: cache? })
    }
}

/// Issues the tokens of a session.
pub struct Issuer {
    access: AccessTokens,
    signing_keys: Cached<SigningKeys>,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("access", &self.access).finish_non_exhaustive()
    }
}

/// The session for which tokens are issued, and its account.
#[derive(Clone, Copy, Debug)]
pub struct SessionGrant<'a> {
    /// The account in its current state.
    pub account: &'a Account,
    /// The session id.
    pub session: SessionId,
    /// The account's epoch at the time of login.
    pub epoch: SessionEpoch,
    /// When and how the user last authenticated.
    pub authentication: &'a Authentication,
    /// How many times the session has rotated.
    pub counter: u64,
    /// The id of the pepper for this refresh token.
    pub pepper: &'a str,
    /// When the session ends if it is not used again.
    pub ends_at: Timestamp,
}

/// The token response (RFC 6749 §5.1). `Debug` does not show the tokens.
#[derive(Clone, Serialize)]
pub struct Tokens {
    access_token: String,
    token_type: &'static str,
    /// The lifetime of the access token, in seconds.
    expires_in: u64,
    refresh_token: String,
    /// The time after which the session ends if it is not used again, in seconds.
    refresh_expires_in: u64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

impl Issuer {
    /// Creates an issuer, and reads the signing keys and the peppers. If a read fails, the function still starts, and
    /// each request tries again.
    pub async fn open(config: Config, peppers: Arc<Cached<Peppers>>, world: &World) -> Self {
        let (clock, random) = (Arc::clone(&world.clock), Arc::clone(&world.random));
        let signing_keys = Secret::new(&config.signing_keys);
        let issuer = Self {
            access: AccessTokens::new(config.access),
            signing_keys: Cached::new(signing_keys, config.cache, Arc::clone(&clock)),
            peppers,
            clock,
            random,
        };
        // The cache logs any failure.
        let _ = tokio::join!(issuer.signing_keys.get(), issuer.peppers.get());
        issuer
    }

    /// Loads the current keys for issuing tokens. Call this before any write that precedes issuing tokens: if the
    /// keys cannot be loaded, the write would be useless.
    ///
    /// # Errors
    /// When the secrets cannot be read, or there is no key yet.
    pub async fn ready(&self) -> Result<Ready<'_>, IssueError> {
        let (keys, peppers) = tokio::try_join!(self.signing_keys.get(), self.peppers.get())?;
        if keys.active().is_none() {
            return Err(IssueError::NoKey);
        }
        let pepper = peppers.current(Purpose::RefreshToken, self.clock.now()).id().to_owned();
        Ok(Ready { issuer: self, keys, peppers, pepper })
    }
}

/// The signing key and the peppers with which tokens are issued.
pub struct Ready<'a> {
    issuer: &'a Issuer,
    keys: Arc<SigningKeys>,
    peppers: Arc<Peppers>,
    pepper: String,
}

impl fmt::Debug for Ready<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("keys", &self.keys).field("pepper", &self.pepper).finish()
    }
}

impl Ready<'_> {
    /// Verifies a refresh token and returns its content.
    ///
    /// # Errors
    /// When this service did not issue the token.
    pub fn presented(&self, token: &str) -> Result<RefreshToken, RefreshTokenError> {
        RefreshToken::verify(token, &self.peppers)
    }

    /// The id of the pepper for new refresh tokens.
    #[must_use]
    pub fn pepper(&self) -> &str {
        &self.pepper
    }

    /// Issues the tokens of a session.
    ///
    /// # Errors
    /// When the session's pepper no longer exists, or the access token cannot be signed.
    pub fn issue(&self, grant: SessionGrant<'_>) -> Result<Tokens, IssueError> {
        let Issuer { access: tokens, clock, random, .. } = self.issuer;
        let now = clock.now();
        let access = Grant {
            account: grant.account,
            session: grant.session,
            epoch: grant.epoch,
            authentication: grant.authentication,
        };
        let key = self.keys.active().ok_or(IssueError::NoKey)?;
        let minted = tokens.mint(key, access, now, &**random)?;
        let refresh =
            RefreshToken { sub: grant.account.id, sid: grant.session, counter: grant.counter };
        let pepper: MacKey = self
            .peppers
            .by_id(grant.pepper, Purpose::RefreshToken)
            .ok_or(RefreshTokenError::UnknownPepper)?;
        let left = grant.ends_at.duration_since(now).as_secs();
        Ok(Tokens {
            expires_in: minted.lifetime().as_secs(),
            access_token: minted.into_token(),
            token_type: "Bearer",
            refresh_token: refresh.sign(&pepper),
            refresh_expires_in: u64::try_from(left).unwrap_or(0),
        })
    }
}

/// The reason why tokens could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The key set is empty, because the first rotation has not happened yet.
    #[error("there is no signing key yet")]
    NoKey,
    /// The access token could not be signed.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The refresh token is invalid, or its pepper no longer exists.
    #[error(transparent)]
    RefreshToken(#[from] RefreshTokenError),
}

impl Fault for IssueError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Secret(error) => error.kind(),
            Self::NoKey => FaultKind::Unavailable,
            Self::Mint(error) => error.kind(),
            Self::RefreshToken(error) => error.kind(),
        }
    }
}
