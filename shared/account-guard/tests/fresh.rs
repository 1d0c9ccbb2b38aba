//! Tests access to fresh routes, with accounts and sessions in an embedded DynamoDB.

use account_guard::{AccountGuard, Checked, Fresh};
use identity::{Admin, Anyone};
use process::Env;
use testkit::{Stack, guarded_by_fresh_session};
use web::{Access, BootError, Endpoint, NoBody, NoContent, Problem, Route, World};

/// A route with the access `A`. It has the name and the endpoint of `me`, so that the tests can send it the event of
/// `me`.
struct Guarded<A>(std::marker::PhantomData<fn() -> A>);

impl<A: Access<Gate = AccountGuard>> Route for Guarded<A> {
    const NAME: &'static str = "me";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/auth/me")];
    type Access = A;
    type Settings = ();
    type Input = NoBody;
    type Output = NoContent;

    async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self(std::marker::PhantomData))
    }

    async fn handle(&self, _: A::Caller, _: NoBody) -> Result<NoContent, Problem> {
        Ok(NoContent)
    }
}

#[tokio::test]
async fn a_fresh_route_refuses_stale_sessions() {
    guarded_by_fresh_session::<Guarded<Fresh<Anyone>>>().await;
    guarded_by_fresh_session::<Guarded<Fresh<Admin>>>().await;
}

#[tokio::test]
#[should_panic(expected = "left: 204\n right: 401")]
async fn a_checked_route_fails_the_test_for_fresh_routes() {
    guarded_by_fresh_session::<Guarded<Checked<Anyone>>>().await;
}

#[tokio::test]
async fn fresh_seconds_must_be_from_1_to_86400() {
    let stack = Stack::start().await;
    for (seconds, is_valid) in
        [("0", false), ("1", true), ("86400", true), ("86401", false), ("-1", false), ("x", false)]
    {
        let env: Env = stack.env_with(&[("FRESH_SECONDS", seconds)]);
        let opened = web::Service::<Guarded<Fresh<Anyone>>>::open(&env, &stack.world()).await;
        assert_eq!(opened.is_ok(), is_valid, "{seconds}");
        if let Err(error) = opened {
            assert!(error.to_string().contains("FRESH_SECONDS"), "{error}");
        }
    }
}
