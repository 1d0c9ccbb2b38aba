//! The routes under test.

use std::sync::Arc;

use auth::{
    AccountCheck, Caller, CheckError, CheckedCaller, Found, FreshCaller, MaxAge, TokenRules,
    Verifier,
};
use identity::{Account, Admin, Anyone, SessionId, UserId};
use lambda::EventHandler;
use process::{Clock, Env};
use serde::Deserialize;
use serde_json::{Map, Value};
use testkit::{AUDIENCE, Forge, ISSUER, TestClock};
use web::{
    Access, AccountGate, Body, BootError, CheckedBy, Endpoint, FreshBy, Gate, Json, Message,
    NoBody, NoContent, Problem, Public, Route, Service, TokenGate, World,
};

/// Answers with the body of the request.
pub(crate) struct Echo;

impl Route for Echo {
    const NAME: &'static str = "echo";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/echo")];
    type Access = Public;
    type Settings = ();
    type Input = Body<Map<String, Value>>;
    type Output = Json<Map<String, Value>>;

    async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, (): (), Body(body): Self::Input) -> Result<Self::Output, Problem> {
        Ok(Json(body))
    }
}

/// Accepts a typed body.
pub(crate) struct Shaped;

#[derive(Deserialize)]
pub(crate) struct Shape {
    name: String,
    #[serde(default)]
    number: Option<u8>,
}

impl Route for Shaped {
    const NAME: &'static str = "shaped";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/shaped")];
    type Access = Public;
    type Settings = ();
    type Input = Body<Shape>;
    type Output = Json<Message>;

    async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, (): (), Body(shape): Self::Input) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new(format!("{} {:?}", shape.name, shape.number))))
    }
}

/// Behaves as the body's member `do` says: answers without content, fails, panics or hangs.
pub(crate) struct Moody;

impl Route for Moody {
    const NAME: &'static str = "moody";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/moody")];
    type Access = Public;
    type Settings = ();
    type Input = Body<Map<String, Value>>;
    type Output = NoContent;

    async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, (): (), Body(body): Self::Input) -> Result<Self::Output, Problem> {
        match body["do"].as_str() {
            Some("panic") => panic!("hush-panic"),
            Some("hang") => std::future::pending().await,
            Some("fail") => Err(Problem::internal().because("the internal cause")),
            Some("unavailable") => Err(Problem::unavailable().because("an outage")),
            Some("throttle") => Err(Problem::too_many_attempts(7)),
            _ => Ok(NoContent),
        }
    }
}

/// An account check with a fixed result.
#[derive(Clone, Default)]
pub(crate) enum Finding {
    #[default]
    Nothing,
    Found(Account, auth::LiveSession),
    AccountOnly(Account),
    Outage,
    Defect,
}

impl AccountCheck for Finding {
    async fn find(&self, _: UserId, _: SessionId) -> Result<Found, CheckError> {
        match self.clone() {
            Self::Nothing => Ok(Found { account: None, session: None }),
            Self::Found(account, session) => {
                Ok(Found { account: Some(account), session: Some(session) })
            }
            Self::AccountOnly(account) => Ok(Found { account: Some(account), session: None }),
            Self::Outage => Err(CheckError::Unavailable("out of reach".into())),
            Self::Defect => Err(CheckError::Unusable("the item is malformed".into())),
        }
    }
}

/// A gate whose keys and account check the test chooses.
pub(crate) struct TestGate {
    verifier: Verifier<Forge>,
    finding: Finding,
}

impl Gate for TestGate {
    type Settings = ();

    fn new((): (), _: &World) -> Self {
        unreachable!("tests create the gate directly")
    }

    async fn warm(&self) {}
}

impl TokenGate for TestGate {
    type Keys = Forge;

    fn verifier(&self) -> &Verifier<Forge> {
        &self.verifier
    }
}

impl AccountGate for TestGate {
    type Accounts = Finding;

    fn accounts(&self) -> &Finding {
        &self.finding
    }

    fn max_age(&self) -> MaxAge {
        Env::default().settings().expect("a default")
    }
}

/// A guarded route with the access `A`. A 204 shows that the handler was reached.
pub(crate) struct Guarded<A>(std::marker::PhantomData<fn() -> A>);

impl<A: Access<Gate = TestGate>> Guarded<A> {
    pub(crate) fn new(forge: &Forge, clock: &TestClock, finding: Finding) -> Service<Self> {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let rules = TokenRules::new(ISSUER, AUDIENCE);
        let verifier = Verifier::new(rules, forge.clone(), clock);
        Service::new(TestGate { verifier, finding }, Self(std::marker::PhantomData))
    }
}

impl<A: Access<Gate = TestGate>> Route for Guarded<A> {
    const NAME: &'static str = "guarded";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/guarded")];
    type Access = A;
    type Settings = ();
    type Input = Body<Map<String, Value>>;
    type Output = NoContent;

    async fn open((): (), _: &TestGate, _: &World) -> Result<Self, BootError> {
        Err(BootError::Start("tests create this route directly".to_owned()))
    }

    async fn handle(&self, _: A::Caller, _: Self::Input) -> Result<NoContent, Problem> {
        Ok(NoContent)
    }
}

type TokenOnly<R> = web::ByToken<TestGate, R>;
type Checked<R> = CheckedBy<TestGate, R>;
type Fresh<R> = FreshBy<TestGate, R>;

pub(crate) type ByToken = Guarded<TokenOnly<Anyone>>;
pub(crate) type ByTokenAdmin = Guarded<TokenOnly<Admin>>;
pub(crate) type ByAccount = Guarded<Checked<Anyone>>;
pub(crate) type ByAccountAdmin = Guarded<Checked<Admin>>;
pub(crate) type ByFreshAccount = Guarded<Fresh<Anyone>>;
pub(crate) type ByFreshAccountAdmin = Guarded<Fresh<Admin>>;

/// The access type determines the type of the caller.
const _: fn(<TokenOnly<Admin> as Access>::Caller) -> Caller<Admin> = |caller| caller;
const _: fn(<Checked<Admin> as Access>::Caller) -> CheckedCaller<Admin> = |caller| caller;
const _: fn(<Fresh<Admin> as Access>::Caller) -> FreshCaller<Admin> = |caller| caller;

/// A route that reads no body.
pub(crate) struct Bodiless;

impl Route for Bodiless {
    const NAME: &'static str = "bodiless";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/bodiless")];
    type Access = Public;
    type Settings = ();
    type Input = NoBody;
    type Output = web::PublicDocument<Message>;

    async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, (): (), _: NoBody) -> Result<Self::Output, Problem> {
        Ok(web::PublicDocument { document: Message::new("hello"), max_age: 60 })
    }
}

/// An event handler that behaves as the event says.
pub(crate) struct MoodyHandler;

/// The behavior that an event requests.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mood {
    Good,
    Fail,
    Panic,
    Hang,
}

#[derive(Debug, thiserror::Error)]
#[error("the internal cause")]
pub(crate) struct Failed;

impl EventHandler for MoodyHandler {
    const NAME: &'static str = "moody-handler";
    const INVOKED_BY: &'static str = "a test";
    type Settings = ();
    type Event = Mood;
    type Answer = &'static str;
    type Error = Failed;

    async fn open((): (), _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, mood: Mood) -> Result<&'static str, Failed> {
        match mood {
            Mood::Good => Ok("done"),
            Mood::Fail => Err(Failed),
            Mood::Panic => panic!("hush-panic"),
            Mood::Hang => std::future::pending().await,
        }
    }
}
