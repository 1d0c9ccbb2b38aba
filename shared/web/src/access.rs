//! Access rules as types: who may call a route.

use std::future::Future;
use std::marker::PhantomData;

use auth::{AccountCheck, Caller, CheckedCaller, FreshCaller, KeySource, MaxAge, Verifier};
use http::HeaderMap;
use identity::{Role, RoleRequirement, UserId};
use process::{Settings, World};

use crate::Problem;
use crate::bearer::bearer_token;

mod sealed {
    pub trait Sealed {}
}

/// The components that control access to a route: none, a verifier, or a verifier and a reader of accounts. A
/// function creates its gate once, at startup.
pub trait Gate: Sized + Send + Sync + 'static {
    /// The settings from which the gate is created.
    type Settings: Settings;

    /// Creates the gate without contacting any service.
    fn new(settings: Self::Settings, world: &World) -> Self;

    /// Preloads the gate's data at startup. If that fails, the first request that needs the data loads it.
    fn warm(&self) -> impl Future<Output = ()> + Send;
}

/// The gate of a route that anyone may call.
impl Gate for () {
    type Settings = ();

    fn new((): (), _: &World) {}

    async fn warm(&self) {}
}

/// A gate that can verify tokens.
pub trait TokenGate: Gate {
    /// The source of the public keys.
    type Keys: KeySource;

    /// The verifier of access tokens.
    fn verifier(&self) -> &Verifier<Self::Keys>;
}

/// A gate that can also read the caller's account and session.
pub trait AccountGate: TokenGate {
    /// The type that reads accounts and sessions.
    type Accounts: AccountCheck;

    /// The reader of accounts and sessions.
    fn accounts(&self) -> &Self::Accounts;

    /// How long a session is fresh after an authentication.
    fn max_age(&self) -> MaxAge;
}

/// A rule that decides who may call a route. The trait is sealed: only [`Public`], [`ByRefreshToken`], [`ByToken`],
/// [`CheckedBy`] and [`FreshBy`] implement it.
pub trait Access: sealed::Sealed + Send + Sync + 'static {
    /// The gate that applies the rule.
    type Gate: Gate;

    /// The admitted caller, which the handler receives.
    type Caller: Send + 'static;

    /// The rule in words, such as `anyone`, `checked` or `by token, role admin`.
    fn describe() -> String;

    /// The role that the rule requires, if any.
    #[must_use]
    fn role() -> Option<Role> {
        None
    }

    /// The caller's id for the log, if the rule identifies the caller.
    fn user_id(caller: &Self::Caller) -> Option<UserId>;

    /// Admits or refuses the caller, before the body is read.
    fn admit(
        gate: &Self::Gate,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Self::Caller, Problem>> + Send;
}

/// Anyone may call. The caller is not identified.
#[derive(Debug)]
pub enum Public {}

/// Any holder of a refresh token may call. The token is in the body, so the handler must verify it before it does
/// anything else.
#[derive(Debug)]
pub enum ByRefreshToken {}

/// Any holder of a valid access token with the role that `R` requires may call. The account is not read, so if a
/// role changes or the account is disabled, the change takes effect only when the token expires.
///
/// Routes use the aliases in the crate `token-guard`.
#[derive(Debug)]
pub struct ByToken<G, R>(PhantomData<fn() -> (G, R)>);

/// Any holder of a valid access token may call if the account is active and has the role that `R` requires, and the
/// session has not ended. The account and the session are read on every call.
///
/// Routes use the alias in the crate `account-guard`.
#[derive(Debug)]
pub struct CheckedBy<G, R>(PhantomData<fn() -> (G, R)>);

/// Callers whom [`CheckedBy`] admits may call if the user has authenticated recently, by a login or a step-up.
///
/// Routes use the alias in the crate `account-guard`.
#[derive(Debug)]
pub struct FreshBy<G, R>(PhantomData<fn() -> (G, R)>);

impl sealed::Sealed for Public {}
impl sealed::Sealed for ByRefreshToken {}
impl<G, R> sealed::Sealed for ByToken<G, R> {}
impl<G, R> sealed::Sealed for CheckedBy<G, R> {}
impl<G, R> sealed::Sealed for FreshBy<G, R> {}

fn with_role<R: RoleRequirement>(kind: &str) -> String {
    match R::REQUIRED {
        Some(role) => format!("{kind}, role {role}"),
        None => kind.to_owned(),
    }
}

impl Access for Public {
    type Gate = ();
    type Caller = ();

    fn describe() -> String {
        "anyone".to_owned()
    }

    fn user_id((): &()) -> Option<UserId> {
        None
    }

    async fn admit((): &(), _: &HeaderMap) -> Result<(), Problem> {
        Ok(())
    }
}

impl Access for ByRefreshToken {
    type Gate = ();
    type Caller = ();

    fn describe() -> String {
        "refresh token".to_owned()
    }

    fn user_id((): &()) -> Option<UserId> {
        None
    }

    async fn admit((): &(), _: &HeaderMap) -> Result<(), Problem> {
        Ok(())
    }
}

impl<G: TokenGate, R: RoleRequirement> Access for ByToken<G, R> {
    type Gate = G;
    type Caller = Caller<R>;

    fn describe() -> String {
        with_role::<R>("by token")
    }

    fn role() -> Option<Role> {
        R::REQUIRED
    }

    fn user_id(caller: &Caller<R>) -> Option<UserId> {
        Some(caller.user_id())
    }

    async fn admit(gate: &G, headers: &HeaderMap) -> Result<Caller<R>, Problem> {
        let token = bearer_token(headers)?;
        Ok(gate.verifier().admit(token).await?)
    }
}

impl<G: AccountGate, R: RoleRequirement> Access for CheckedBy<G, R> {
    type Gate = G;
    type Caller = CheckedCaller<R>;

    fn describe() -> String {
        with_role::<R>("checked")
    }

    fn role() -> Option<Role> {
        R::REQUIRED
    }

    fn user_id(caller: &CheckedCaller<R>) -> Option<UserId> {
        Some(caller.user_id())
    }

    async fn admit(gate: &G, headers: &HeaderMap) -> Result<CheckedCaller<R>, Problem> {
        let token = bearer_token(headers)?;
        Ok(gate.verifier().admit_checked(token, gate.accounts()).await?)
    }
}

impl<G: AccountGate, R: RoleRequirement> Access for FreshBy<G, R> {
    type Gate = G;
    type Caller = FreshCaller<R>;

    fn describe() -> String {
        with_role::<R>("fresh")
    }

    fn role() -> Option<Role> {
        R::REQUIRED
    }

    fn user_id(caller: &FreshCaller<R>) -> Option<UserId> {
        Some(caller.user_id())
    }

    async fn admit(gate: &G, headers: &HeaderMap) -> Result<FreshCaller<R>, Problem> {
        let token = bearer_token(headers)?;
        Ok(gate.verifier().admit_fresh(token, gate.accounts(), gate.max_age()).await?)
    }
}
