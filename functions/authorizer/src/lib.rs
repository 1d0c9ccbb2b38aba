//! A Lambda authorizer (HTTP API, REQUEST, payload 2.0, simple response) that admits callers with Latchkey
//! tokens to functions in any language.
//!
//! It applies the same rules as Latchkey's own routes. It admits callers by token alone or, if
//! `AUTHORIZER_ACCESS` is `checked`, only after reading their account and session. It answers only yes or no.
//! If the answer is no, the gateway chooses the response to the client.

use std::str::FromStr;

use account_guard::{AccountGuard, Checked};
use identity::{Anyone, Role, RoleError, Roles};
use lambda::{BootError, EventHandler, World};
use process::{Reader, Settings};
use serde::Serialize;
use web::{Access, AuthorizerRequest, AuthorizerResponse, ByToken, Gate, Problem};

/// Decides whether API Gateway may invoke the guarded function.
pub struct Authorizer {
    guard: AccountGuard,
    rules: AuthorizerRules,
}

/// The rules by which callers are admitted.
pub struct AuthorizerRules {
    access: Admission,
    required: Roles,
}

impl Settings for AuthorizerRules {
    /// Reads `AUTHORIZER_ACCESS` (default `by_token`) and `AUTHORIZER_ROLES` (default none).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let access = reader.optional("AUTHORIZER_ACCESS", Admission::ByToken);
        let required = reader.optional("AUTHORIZER_ROLES", Required(Roles::default()));
        Some(Self { access: access?, required: required?.0 })
    }
}

/// The checks that a caller must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// Only the access token.
    ByToken,
    /// The access token, the account and the session.
    Checked,
}

impl FromStr for Admission {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "by_token" => Ok(Self::ByToken),
            "checked" => Ok(Self::Checked),
            _ => Err("expected `by_token` or `checked`"),
        }
    }
}

/// The required roles, separated by commas.
struct Required(Roles);

impl FromStr for Required {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        text.split(',').map(|role| role.trim().parse::<Role>()).collect::<Result<_, _>>().map(Self)
    }
}

/// The caller's user id, session id and roles, which the guarded function receives in
/// `requestContext.authorizer.lambda`. Empty if the caller is refused.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
pub struct Context {
    /// The user id (`sub`).
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// The session id (`sid`).
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// The roles, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<String>,
}

impl Authorizer {
    /// Identifies the caller. Returns the context for the guarded function, and the caller's roles.
    async fn admit(&self, request: &AuthorizerRequest) -> Result<(Context, Roles), Problem> {
        let headers = &request.headers;
        let (sub, sid, roles) = match self.rules.access {
            Admission::ByToken => {
                let caller = ByToken::<AccountGuard, Anyone>::admit(&self.guard, headers).await?;
                (caller.user_id(), caller.session_id(), caller.claims().roles.clone())
            }
            Admission::Checked => {
                let caller = Checked::<Anyone>::admit(&self.guard, headers).await?;
                (caller.user_id(), caller.session_id(), caller.account().roles.clone())
            }
        };
        let context = Context {
            sub: Some(sub.to_string()),
            sid: Some(sid.to_string()),
            roles: Some(roles.to_string()),
        };
        Ok((context, roles))
    }
}

impl EventHandler for Authorizer {
    const NAME: &'static str = "authorizer";
    const INVOKED_BY: &'static str = "API Gateway";
    type Settings = (<AccountGuard as Gate>::Settings, AuthorizerRules);
    type Event = AuthorizerRequest;
    type Answer = AuthorizerResponse<Context>;
    type Error = Unavailable;

    async fn open((guard, rules): Self::Settings, world: &World) -> Result<Self, BootError> {
        let guard = AccountGuard::new(guard, world);
        guard.warm().await;
        Ok(Self { guard, rules })
    }

    async fn handle(&self, request: AuthorizerRequest) -> Result<Self::Answer, Unavailable> {
        let mut answer = AuthorizerResponse::default();
        match self.admit(&request).await {
            Ok((context, roles)) if self.rules.required.iter().all(|role| roles.contains(role)) => {
                answer.is_authorized = true;
                answer.context = context;
            }
            Ok(_) => tracing::info!(code = "insufficient_role", "access denied"),
            // The caller could not be checked. An error makes the gateway respond with 500, so the client may retry.
            Err(problem) if problem.status().is_server_error() => return Err(Unavailable(problem)),
            Err(problem) => {
                tracing::info!(code = problem.code(), reason = problem.reason(), "access denied");
            }
        }
        Ok(answer)
    }
}

/// The keys or the account could not be read, so the caller was neither admitted nor refused.
#[derive(Debug, thiserror::Error)]
#[error("the caller could not be checked: {0}")]
pub struct Unavailable(Problem);
