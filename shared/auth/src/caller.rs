//! Callers: who has been let in, and as what.

use std::marker::PhantomData;

use crate::account::Found;
use crate::{AccountCheck, CheckError, Claims, KeySource, TokenError, Verifier};
use identity::{Account, Role, RoleRequirement, Roles, SessionId, Standing, UserId};
use process::{Fault, FaultKind};

/// Somebody whose access token has been verified and who has what `R` asks for, as the token says.
///
/// There is no way to make one but [`Verifier::admit`]:
///
/// ```compile_fail
/// let forged: auth::Caller<identity::Admin> = auth::Caller { claims: todo!(), requirement: todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct Caller<R> {
    claims: Claims,
    requirement: PhantomData<fn() -> R>,
}

impl<R> Caller<R> {
    /// The user's id.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.claims.sub
    }

    /// The session of the token.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.claims.sid
    }

    /// All that the token says. Its roles are those of the time of issue.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// Somebody whose account and session have been read besides, and who has what `R` asks for now.
#[derive(Clone, Debug)]
pub struct CheckedCaller<R> {
    caller: Caller<R>,
    account: Account,
}

impl<R> CheckedCaller<R> {
    /// The account as it is now.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The user's id.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.account.id
    }

    /// The session of the token.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.caller.session_id()
    }
}

/// Why a caller was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token is invalid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The account is gone.
    #[error("the account no longer exists")]
    AccountGone,
    /// The account is disabled.
    #[error("the account is disabled")]
    AccountDisabled,
    /// The session does not exist or has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The token or its session is of an older epoch, the account's or the global one.
    #[error("the session epoch has passed")]
    EpochPassed,
    /// A role is missing.
    #[error("the role {0} is missing")]
    RoleMissing(Role),
    /// The account could not be read.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl Fault for Refusal {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Token(error) => error.kind(),
            Self::AccountGone | Self::AccountDisabled | Self::SessionEnded | Self::EpochPassed => {
                FaultKind::Unauthenticated
            }
            Self::RoleMissing(_) => FaultKind::Forbidden,
            Self::Check(error) => error.kind(),
        }
    }
}

impl<K: KeySource> Verifier<K> {
    /// Lets in whoever has a good token with the role that `R` asks for.
    ///
    /// # Errors
    /// When the token does not count or the role is not in it.
    pub async fn admit<R: RoleRequirement>(&self, token: &str) -> Result<Caller<R>, Refusal> {
        let claims = self.verify(token).await?;
        require::<R>(&claims.roles)?;
        Ok(Caller { claims, requirement: PhantomData })
    }

    /// Lets in whoever has a good token, an account and a session that count now, and among the
    /// account's roles of now the one that `R` asks for.
    ///
    /// # Errors
    /// When any of these fails, or account and session cannot be read.
    pub async fn admit_checked<R: RoleRequirement>(
        &self,
        token: &str,
        accounts: &impl AccountCheck,
    ) -> Result<CheckedCaller<R>, Refusal> {
        let claims = self.verify(token).await?;
        let Found { account, session } = accounts.find(claims.sub, claims.sid).await?;
        // Out of the cache that the key came from a moment ago.
        if self.keys().epoch().await.map_err(TokenError::Keys)?.refuses(claims.auth_time) {
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
        if session.ver != account.ver || claims.ver != account.ver {
            return Err(Refusal::EpochPassed);
        }
        require::<R>(&account.roles)?;
        Ok(CheckedCaller { caller: Caller { claims, requirement: PhantomData }, account })
    }
}

fn require<R: RoleRequirement>(roles: &Roles) -> Result<(), Refusal> {
    match R::REQUIRED {
        Some(role) if !roles.contains(role) => Err(Refusal::RoleMissing(role)),
        _ => Ok(()),
    }
}
