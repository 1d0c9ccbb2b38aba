//! `POST /auth/register`: makes an account.

use std::sync::Arc;

use auth::{
    BootError, Clock, Email, Env, NameError, Random, ReservedNames, Role, Roles, SystemClock,
    SystemRandom, UserId, Username,
};
use jiff::Unit;
use passwords::{Hasher, Password, PasswordError, Policy, PolicyViolation};
use serde::{Deserialize, Serialize};
use store::{NewAccount, RegisterError, Registrations, Secret};
use web::{Body, Created, FieldError, Method, Problem, Public, Route, UserBody};

/// The route.
pub struct RegisterRoute {
    registrations: Registrations,
    hasher: Hasher,
    policy: Policy,
    reserved: ReservedNames,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The body of a request. What else it holds (`roles`, say) is never bound.
#[derive(Deserialize)]
pub struct Registration {
    username: String,
    password: String,
    #[serde(default)]
    email: Option<String>,
}

/// The body of an answer.
#[derive(Debug, Serialize)]
pub struct Registered {
    message: &'static str,
    user: UserBody,
}

/// A registration whose every field keeps the rules.
struct Valid {
    username: Username,
    password: Password,
    email: Option<Email>,
}

impl Route for RegisterRoute {
    const NAME: &'static str = "register";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/register";
    type Access = Public;
    type Input = Body<Registration>;
    type Output = Created<Registered>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, table, policy, reserved) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let table = store::Config::read(reader);
            let policy = Policy::read(reader);
            let reserved = reader.optional("RESERVED_USERNAMES", ReservedNames::default());
            Some((database?, table?, policy?, reserved?))
        })?;
        Ok(Self {
            registrations: Registrations::new(&table, dynamo::connect(&database)),
            hasher: Hasher::new(),
            policy,
            reserved,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        })
    }

    async fn handle(
        &self,
        (): (),
        Body(registration): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let Valid { username, password, email } = self.validate(registration)?;
        let hash = self.hasher.hash(&password, &*self.random).await?;
        // To the millisecond, as precise as the id.
        let now = self.clock.now().round(Unit::Millisecond).map_err(|_| Problem::internal())?;
        let account = NewAccount {
            id: UserId::new(now, &*self.random),
            username,
            email,
            roles: Roles::from_iter([Role::User]),
            password: Secret::new(hash.expose().to_owned()),
            created_at: now,
        };
        let account = self.registrations.create(account).await.map_err(taken)?;
        let message = "User registered successfully";
        Ok(Created(Registered { message, user: account.into() }))
    }
}

impl RegisterRoute {
    /// Looks at every field, so that a client is told of all faults at once.
    fn validate(&self, registration: Registration) -> Result<Valid, Problem> {
        let username = Username::parse(&registration.username).and_then(|name| {
            if self.reserved.refuses(&name) { Err(NameError::Reserved) } else { Ok(name) }
        });
        let email = registration.email.as_deref().map(Email::parse).transpose();
        let password = Password::parse(registration.password);
        let known_email = email.as_ref().ok().and_then(Option::as_ref);
        let violations = match &password {
            Ok(password) => self.policy.check(password, username.as_ref().ok(), known_email).err(),
            Err(_) => None,
        };
        match (username, password, email, violations) {
            (Ok(username), Ok(password), Ok(email), None) => {
                Ok(Valid { username, password, email })
            }
            (username, password, email, violations) => {
                let mut errors: Vec<_> = [
                    username.err().map(|error| name_error("username", error)),
                    password.err().map(password_error),
                    email.err().map(|error| name_error("email", error)),
                ]
                .into_iter()
                .flatten()
                .collect();
                errors.extend(violations.into_iter().flatten().map(password_violation));
                Err(Problem::invalid_input(errors))
            }
        }
    }
}

fn name_error(field: &'static str, error: NameError) -> FieldError {
    FieldError { field, code: error.code(), detail: format!("The {field} {error}.") }
}

fn password_error(error: PasswordError) -> FieldError {
    FieldError { field: "password", code: error.code(), detail: format!("The password {error}.") }
}

fn password_violation(violation: PolicyViolation) -> FieldError {
    let detail = format!("The password {violation}.");
    FieldError { field: "password", code: violation.code(), detail }
}

fn taken(error: RegisterError) -> Problem {
    match error {
        RegisterError::UsernameTaken => Problem::already_exists("The username is taken."),
        RegisterError::EmailTaken => Problem::already_exists("The e-mail address is taken."),
        RegisterError::Store(error) => error.into(),
    }
}
