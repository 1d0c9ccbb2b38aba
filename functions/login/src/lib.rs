//! `POST /auth/login`: begins a session and returns its first tokens.

use credentials::{Authenticated, Authentication};
use identity::{NameError, Presented};
use passwords::{Hasher, Password, PasswordError};
use process::Metric;
use secrets::PeppersSecret;
use serde::Deserialize;
use signin::{Origin, SignIn, SignInError, Tokens};
use store::{Logins, Outbox, SessionLimits};
use throttle::Throttle;
use web::{
    Body, BootError, Client, Endpoint, FieldError, Json, Problem, Public, Route, StatusCode, World,
};

/// Signs users in.
pub struct LoginRoute {
    authentication: Authentication,
    logins: Logins,
    signin: SignIn,
}

/// The request body: `password`, and either `username` or `email`.
#[derive(Deserialize)]
pub struct Login {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    password: String,
}

impl Route for LoginRoute {
    const NAME: &'static str = "login";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/login")];
    type Access = Public;
    type Settings = (
        dynamo::Config,
        store::Config,
        signin::Config,
        SessionLimits,
        throttle::Config,
        PeppersSecret,
    );
    type Input = (Client, Body<Login>);
    type Output = Json<Tokens>;

    async fn open(
        (database, table, tokens, sessions, attempts, peppers): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let (database, peppers) = (dynamo::connect(&database), peppers.open(world));
        let logins = Logins::new(&table, database.clone(), sessions);
        Ok(Self {
            authentication: Authentication::new(
                logins.clone(),
                Outbox::new(&table, database.clone()),
                Throttle::open(&attempts, database, peppers.clone(), world),
                Hasher::new(),
                world,
            ),
            logins,
            signin: SignIn::open(tokens, peppers, world).await,
        })
    }

    async fn handle(&self, (): (), input: Self::Input) -> Result<Self::Output, Problem> {
        let result = self.sign_in(input).await;
        let outcome = match &result {
            Ok(_) => Some(Metric::LoginsSucceeded),
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
                Some(Metric::LoginsFailed)
            }
            Err(problem) if problem.status() == StatusCode::TOO_MANY_REQUESTS => {
                Some(Metric::LoginsThrottled)
            }
            // An invalid request is not a login attempt, and a server error is not the caller's fault.
            Err(_) => None,
        };
        if let Some(outcome) = outcome {
            outcome.add(1.0);
        }
        result
    }
}

impl LoginRoute {
    async fn sign_in(
        &self,
        (client, Body(login)): <Self as Route>::Input,
    ) -> Result<Json<Tokens>, Problem> {
        let (presented, password) = validate(login)?;
        // Get the keys before reserving the attempt: without keys, no session can begin, so the attempt must not
        // be counted.
        let signin = self.signin.ready().await?;
        let origin = Origin { user_agent: client.user_agent, network: client.network };
        let authenticated = self.authentication.authenticate(&presented, &password, &origin);
        let Authenticated { account, sessions, success } = authenticated.await?;
        // Do both concurrently, because neither depends on the outcome of the other.
        let (tokens, ()) = futures_util::join!(
            signin.begin(&self.logins, &account, &sessions, origin.clone()),
            success.record(&account, &password),
        );
        if matches!(tokens, Err(SignInError::Raced)) {
            self.authentication.record_failure(&presented, Some(account.id), &origin).await;
        }
        Ok(Json(tokens?))
    }
}

/// Checks only the shape and size of the input. The password policy applies only to new passwords.
fn validate(login: Login) -> Result<(Presented, Password), Problem> {
    let (field, presented) = match (&login.username, &login.email) {
        (Some(name), None) => ("username", Presented::parse(name)),
        (None, Some(address)) => ("email", Presented::parse_email(address)),
        (None, None) => {
            let detail = "Specify either `username` or `email`.";
            return Err(Problem::missing_member("username", detail));
        }
        (Some(_), Some(_)) => {
            return Err(Problem::invalid_request(
                "Specify either `username` or `email`, not both.",
            ));
        }
    };
    match (presented, Password::parse(login.password)) {
        (Ok(presented), Ok(password)) => Ok((presented, password)),
        (presented, password) => {
            let name = presented.err().map(|_: NameError| too_long(field));
            let password = password.err().map(|_: PasswordError| too_long("password"));
            Err(Problem::invalid_input([name, password].into_iter().flatten().collect()))
        }
    }
}

fn too_long(field: &'static str) -> FieldError {
    FieldError::new(field, field, &NameError::TooLong)
}
