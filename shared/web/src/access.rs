//! Who may call a route, as types.

use std::future::Future;
use std::marker::PhantomData;

use auth::{AccountCheck, Caller, CheckedCaller, KeySource, Verifier};
use http::HeaderMap;
use identity::{Anyone, RoleRequirement, UserId};

use crate::Problem;
use crate::bearer::bearer_token;

mod sealed {
    pub trait Sealed {}
}

/// A way of saying who may call a route. Sealed: [`Public`], [`ByRefreshToken`], [`SignedIn`], [`Has`] and
/// [`CheckedAccount`] are all there are.
pub trait Access: sealed::Sealed + Send + Sync + 'static {
    /// What a handler is given of the caller.
    type Caller: Send + 'static;

    /// The access in words: `anyone`, `by token, role admin`, `checked`.
    fn describe() -> String;

    /// Whose request it is, for the log.
    fn user_id(caller: &Self::Caller) -> Option<UserId>;
}

/// An access that can be decided for requests to `Rt`.
pub trait Admits<Rt>: Access {
    /// Admits the caller, or says why not, before any of the body is read.
    fn admit(
        route: &Rt,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Self::Caller, Problem>> + Send;
}

/// A route that can verify tokens.
pub trait Guarded: Send + Sync {
    /// Where the keys come from.
    type Keys: KeySource;

    /// What verifies tokens.
    fn verifier(&self) -> &Verifier<Self::Keys>;
}

/// A route that can also check the caller's account.
pub trait Checked: Guarded {
    /// What reads accounts.
    type Accounts: AccountCheck;

    /// What reads accounts.
    fn accounts(&self) -> &Self::Accounts;
}

/// Anyone may call. Nothing about the caller is read.
#[derive(Debug)]
pub enum Public {}

/// Any holder of a refresh token. It is in the body, so it is the handler that verifies it, before it does
/// anything else.
#[derive(Debug)]
pub enum ByRefreshToken {}

/// A caller with a valid token that has the role of `R`. Neither account nor session is read: a changed
/// role or a disabled account takes effect when the token expires.
#[derive(Debug)]
pub struct Has<R>(PhantomData<fn() -> R>);

/// A caller with a valid token.
pub type SignedIn = Has<Anyone>;

/// A caller with a valid token, an active account that currently has the role of `R`, and a live session.
#[derive(Debug)]
pub struct CheckedAccount<R>(PhantomData<fn() -> R>);

impl sealed::Sealed for Public {}
impl sealed::Sealed for ByRefreshToken {}
impl<R> sealed::Sealed for Has<R> {}
impl<R> sealed::Sealed for CheckedAccount<R> {}

fn words<R: RoleRequirement>(kind: &str) -> String {
    match R::REQUIRED {
        Some(role) => format!("{kind}, role {role}"),
        None => kind.to_owned(),
    }
}

impl Access for Public {
    type Caller = ();

    fn describe() -> String {
        "anyone".to_owned()
    }

    fn user_id((): &()) -> Option<UserId> {
        None
    }
}

impl Access for ByRefreshToken {
    type Caller = ();

    fn describe() -> String {
        "refresh token".to_owned()
    }

    fn user_id((): &()) -> Option<UserId> {
        None
    }
}

impl<R: RoleRequirement> Access for Has<R> {
    type Caller = Caller<R>;

    fn describe() -> String {
        words::<R>("by token")
    }

    fn user_id(caller: &Caller<R>) -> Option<UserId> {
        Some(caller.user_id())
    }
}

impl<R: RoleRequirement> Access for CheckedAccount<R> {
    type Caller = CheckedCaller<R>;

    fn describe() -> String {
        words::<R>("checked")
    }

    fn user_id(caller: &CheckedCaller<R>) -> Option<UserId> {
        Some(caller.user_id())
    }
}

impl<Rt: Sync> Admits<Rt> for Public {
    async fn admit(_: &Rt, _: &HeaderMap) -> Result<(), Problem> {
        Ok(())
    }
}

impl<Rt: Sync> Admits<Rt> for ByRefreshToken {
    async fn admit(_: &Rt, _: &HeaderMap) -> Result<(), Problem> {
        Ok(())
    }
}

impl<Rt: Guarded, R: RoleRequirement> Admits<Rt> for Has<R> {
    async fn admit(route: &Rt, headers: &HeaderMap) -> Result<Caller<R>, Problem> {
        let token = bearer_token(headers)?;
        Ok(route.verifier().admit(token).await?)
    }
}

impl<Rt: Checked, R: RoleRequirement> Admits<Rt> for CheckedAccount<R> {
    async fn admit(route: &Rt, headers: &HeaderMap) -> Result<CheckedCaller<R>, Problem> {
        let token = bearer_token(headers)?;
        Ok(route.verifier().admit_checked(token, route.accounts()).await?)
    }
}
