//! Admitted callers and their rights.

use std::marker::PhantomData;

use crate::account::Found;
use crate::{AccountCheck, CheckError, Claims, KeySource, MaxAge, TokenError, Verifier};
use identity::{
    Account, Authentication, Role, RoleRequirement, Roles, SessionId, Standing, UserId,
};
use process::{Fault, FaultKind};

/// A caller with a verified access token that contains the role required by `R`.
///
/// Only a [`Verifier`] can create one:
///
/// ```compile_fail,E0451
/// let forged: auth::Caller<identity::Admin> = auth::Caller { claims: todo!(), requirement: todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct Caller<R> {
    claims: Claims,
    requirement: PhantomData<fn() -> R>,
}

impl<R> Caller<R> {
    /// The user id.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.claims.sub
    }

    /// The session of the token.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.claims.sid
    }

    /// All claims of the token. The roles are those that the account had when the token was issued.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// A caller whose token, account and session are valid, and whose account currently has the role required by `R`.
#[derive(Clone, Debug)]
pub struct CheckedCaller<R> {
    caller: Caller<R>,
    account: Account,
    authentication: Authentication,
}

impl<R> CheckedCaller<R> {
    /// The account as read for this request.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The user id.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.account.id
    }

    /// The session of the token.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.caller.session_id()
    }

    /// When and how the user last authenticated in the session.
    #[must_use]
    pub fn authentication(&self) -> &Authentication {
        &self.authentication
    }

    /// All claims of the token. The account may have other roles by now.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.caller.claims()
    }
}

/// The reason why a caller was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token is invalid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The account no longer exists.
    #[error("the account no longer exists")]
    AccountGone,
    /// The account is disabled.
    #[error("the account is disabled")]
    AccountDisabled,
    /// The session does not exist or has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The token or its session has an older epoch than the account, or the session began before the global epoch.
    #[error("the session epoch has passed")]
    EpochPassed,
    /// The required role is missing.
    #[error("the role {0} is missing")]
    RoleMissing(Role),
    /// The user authenticated too long ago.
    #[error("the last authentication is older than {} s", .0.seconds())]
    NotFresh(MaxAge),
    /// The account could not be read.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl Fault for Refusal {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Token(error) => error.kind(),
            Self::AccountGone
            | Self::AccountDisabled
            | Self::SessionEnded
            | Self::EpochPassed
            | Self::NotFresh(_) => FaultKind::Unauthenticated,
            Self::RoleMissing(_) => FaultKind::Forbidden,
            Self::Check(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::RoleMissing(_) => "insufficient_role",
            Self::NotFresh(_) => "insufficient_user_authentication",
            _ => self.kind().code(),
        }
    }

    fn max_age(&self) -> Option<u32> {
        match self {
            Self::NotFresh(max_age) => Some(max_age.seconds()),
            _ => None,
        }
    }
}

impl<K: KeySource> Verifier<K> {
    /// Admits a caller whose token is valid and contains the role required by `R`.
    ///
    /// # Errors
    /// When the token is invalid or does not contain the role.
    pub async fn admit<R: RoleRequirement>(&self, token: &str) -> Result<Caller<R>, Refusal> {
        let claims = self.verify(token).await?;
        require::<R>(&claims.roles)?;
        Ok(Caller { claims, requirement: PhantomData })
    }

    /// Admits a caller with a valid token, an active account and a live session, if the account currently
    /// has the role required by `R`.
    ///
    /// # Errors
    /// When one of these conditions is not met, or the account or the session cannot be read.
    pub async fn admit_checked<R: RoleRequirement>(
        &self,
        token: &str,
        accounts: &impl AccountCheck,
    ) -> Result<CheckedCaller<R>, Refusal> {
        let claims = self.verify(token).await?;
        let Found { account, session } = accounts.find(claims.sub, claims.sid).await?;
        // The epoch usually comes from the cache, which verification has just filled.
        let global = self.keys().epoch().await.map_err(TokenError::Keys)?;
        if global.refuses(claims.auth_time) {
            return Err(Refusal::EpochPassed);
        }
        let account = account.ok_or(Refusal::AccountGone)?;
        if account.standing == Standing::Disabled {
            return Err(Refusal::AccountDisabled);
        }
        let session = session.ok_or(Refusal::SessionEnded)?;
        if session.expires_at <= self.now() {
            return Err(Refusal::SessionEnded);
        }
        // The `auth_time` checked above may be that of a step-up, which an instance may have admitted before it read
        // the global epoch. So compare the start of the session too.
        if session.epoch != account.epoch
            || claims.epoch != account.epoch
            || global.refuses(session.created_at.as_second())
        {
            return Err(Refusal::EpochPassed);
        }
        require::<R>(&account.roles)?;
        let caller = Caller { claims, requirement: PhantomData };
        Ok(CheckedCaller { caller, account, authentication: session.authentication })
    }
}

fn require<R: RoleRequirement>(roles: &Roles) -> Result<(), Refusal> {
    match R::REQUIRED {
        Some(role) if !roles.contains(role) => Err(Refusal::RoleMissing(role)),
        _ => Ok(()),
    }
}
