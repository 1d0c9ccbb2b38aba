//! Who may call a route, as types.

use std::future::Future;
use std::marker::PhantomData;

use auth::{AccountCheck, Caller, CheckedCaller, KeySource, Verifier};
use http::HeaderMap;
use identity::{Role, RoleRequirement, UserId};
use process::{Settings, World};

use crate::Problem;
use crate::bearer::bearer_token;

mod sealed {
    pub trait Sealed {}
}

/// The parts that decide access to a route: nothing, a verifier, or a verifier and a reader of accounts. They are
/// opened once, when the function starts.
pub trait Gate: Sized + Send + Sync + 'static {
    /// The settings of the gate.
    type Settings: Settings;

    /// Creates the gate, without any request to a service.
    fn new(settings: Self::Settings, world: &World) -> Self;

    /// Preloads the data that the gate needs, when the function starts. If that fails, a later request loads it.
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

    /// The verifier.
    fn verifier(&self) -> &Verifier<Self::Keys>;
}

/// A gate that can also read the caller's account and session.
pub trait AccountGate: TokenGate {
    /// The reader of accounts.
    type Accounts: AccountCheck;

    /// The reader of accounts.
    fn accounts(&self) -> &Self::Accounts;
}

/// The rule that decides who may call a route. It is sealed: [`Public`], [`ByRefreshToken`], [`ByToken`] and
/// [`CheckedBy`] are the only ones.
pub trait Access: sealed::Sealed + Send + Sync + 'static {
    /// The parts that decide access.
    type Gate: Gate;

    /// The admitted caller, as a handler gets it.
    type Caller: Send + 'static;

    /// The rule in words: `anyone`, `by token, role admin`, `checked`.
    fn describe() -> String;

    /// The role that the rule requires, if any.
    #[must_use]
    fn role() -> Option<Role> {
        None
    }

    /// The caller's id, for the log.
    fn user_id(caller: &Self::Caller) -> Option<UserId>;

    /// Admits or refuses the caller, before the body is read.
    fn admit(
        gate: &Self::Gate,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Self::Caller, Problem>> + Send;
}

/// Anyone may call. Nothing about the caller is read.
#[derive(Debug)]
pub enum Public {}

/// Any holder of a refresh token. The token is in the body, so the handler verifies it before it does anything
/// else.
#[derive(Debug)]
pub enum ByRefreshToken {}

/// Every holder of a valid access token with the role that `R` requires. Nothing about the caller is read, so
/// a changed role or a disabled account takes effect when the token expires.
///
/// Routes name it by the alias of the crate `token-guard`.
#[derive(Debug)]
pub struct ByToken<G, R>(PhantomData<fn() -> (G, R)>);

/// Every holder of a valid access token whose account is active and has the role that `R` requires, and whose
/// session has not ended. The account and the session are read on every call.
///
/// Routes name it by the alias of the crate `account-guard`.
#[derive(Debug)]
pub struct CheckedBy<G, R>(PhantomData<fn() -> (G, R)>);

impl sealed::Sealed for Public {}
impl sealed::Sealed for ByRefreshToken {}
impl<G, R> sealed::Sealed for ByToken<G, R> {}
impl<G, R> sealed::Sealed for CheckedBy<G, R> {}

fn words<R: RoleRequirement>(kind: &str) -> String {
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
        words::<R>("by token")
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
        words::<R>("checked")
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
