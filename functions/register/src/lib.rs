//! `POST /auth/register`: creates an account.

use std::str::FromStr;
use std::sync::Arc;

use events::{Occasion, Origin};
use identity::{
    Account, Email, NameError, Network, ReservedNames, Role, Roles, SessionEpoch, UserId, Username,
};
use jiff::Unit;
use passwords::{HashError, Hasher, Password, PasswordHash, Policy};
use peppers::{CodeKind, CodeTag, Peppers};
use process::{Fault, FaultKind, Reader, Settings};
use secrets::{Cached, PeppersSecret};
use serde::{Deserialize, Serialize};
use store::{AddressClaim, Invites, NewAccount, NewEmail, NewMail, RegisterError, Registrations};
use throttle::{Postal, Throttle};
use web::{
    Accepted, Body, BootError, Client, Created, Either, Endpoint, FieldError, Message, Problem,
    Public, Route, UserBody, World,
};

/// Registers users.
pub struct RegisterRoute {
    registrations: Registrations,
    invites: Invites,
    peppers: Arc<Cached<Peppers>>,
    throttle: Throttle,
    hasher: Hasher,
    policy: Policy,
    rules: RegistrationRules,
    world: World,
}

/// Whether registration is open to everyone, closed, or by invitation only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    Closed,
    Invite,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            "invite" => Ok(Self::Invite),
            _ => Err("expected `open`, `closed` or `invite`"),
        }
    }
}

/// The rules for registration.
pub struct RegistrationRules {
    mode: Mode,
    claim: AddressClaim,
    reserved: ReservedNames,
}

impl Settings for RegistrationRules {
    /// Reads `REGISTRATION` (default `open`), `EMAIL_VERIFICATION` (default `optional`) and `RESERVED_USERNAMES`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let mode = reader.optional("REGISTRATION", Mode::Open);
        let claim = AddressClaim::read(reader);
        let reserved = reader.optional("RESERVED_USERNAMES", ReservedNames::default());
        Some(Self { mode: mode?, claim: claim?, reserved: reserved? })
    }
}

/// The request body. Other members, such as `roles`, are ignored.
#[derive(Deserialize)]
pub struct Registration {
    username: String,
    password: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    invite_code: Option<String>,
}

/// The answer to a registration.
#[derive(Debug, Serialize)]
pub struct Registered {
    message: &'static str,
    user: UserBody,
}

/// A registration that complies with all rules.
struct Valid {
    username: Username,
    password: Password,
    email: Option<Email>,
}

/// Registration is closed to everyone.
#[derive(Debug, thiserror::Error)]
#[error("registration is closed")]
struct RegistrationClosed;

impl Fault for RegistrationClosed {
    fn kind(&self) -> FaultKind {
        FaultKind::Forbidden
    }

    fn code(&self) -> &'static str {
        "registration_closed"
    }

    fn detail(&self) -> Option<&'static str> {
        Some("Registration is closed.")
    }
}

impl Route for RegisterRoute {
    const NAME: &'static str = "register";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/register")];
    type Access = Public;
    type Settings =
        (dynamo::Config, store::Config, throttle::Config, PeppersSecret, Policy, RegistrationRules);
    type Input = (Client, Body<Registration>);
    type Output = Either<Created<Registered>, Accepted<Message>>;

    async fn open(
        (database, table, attempts, peppers, policy, rules): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let (database, peppers) = (dynamo::connect(&database), peppers.open(world));
        // Read the peppers now, so that the first request need not wait. If this fails, that request tries again.
        drop(peppers.get().await);
        Ok(Self {
            registrations: Registrations::new(&table, database.clone()),
            invites: Invites::new(&table, database.clone()),
            throttle: Throttle::open(&attempts, database, Arc::clone(&peppers), world),
            peppers,
            hasher: Hasher::new(),
            policy,
            rules,
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(registration)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let invite = self.admit(registration.invite_code.as_deref()).await?;
        let Valid { username, password, email } = self.validate(registration)?;
        // Hash only valid input, because hashing is expensive. Ask the throttle concurrently: if it refuses the
        // registration, nothing is stored.
        let network = client.network;
        // Round to the millisecond, the precision of the id.
        let now =
            self.world.clock.now().round(Unit::Millisecond).map_err(|_| Problem::internal())?;
        let reserved = async {
            let registration = self.throttle.registration(network).await?;
            let postage = self.postage(email.as_ref(), network);
            registration.then_reserve(postage).await
        };
        // A hashing error is returned later. Returning it here would drop an unfinished reservation, and a
        // dropped reservation cannot be withdrawn.
        let hash =
            async { Ok::<_, Problem>(self.hasher.hash(&password, &*self.world.random).await) };
        let (reserved, hash) = futures_util::try_join!(reserved, hash)?;
        let id = UserId::new(now, &*self.world.random);
        let verification = |address| {
            NewMail::verification(id, SessionEpoch::FIRST, address, now, &*self.world.random)
        };
        let (reservation, mail) = match reserved {
            (Postal::Paid(paid), registration) => {
                (registration.and(paid), email.clone().map(verification))
            }
            (Postal::Unpaid, registration) => (registration, None),
        };
        let email = email.map(|address| self.new_email(address, mail));
        let origin = Origin { user_agent: client.user_agent, network };
        let occasion = Occasion::new(now, &*self.world.random, origin);
        let create = self.create(id, username, email, hash, invite, occasion);
        let (account, _) = reservation.carry_out(create).await?;
        Ok(match self.rules.claim {
            AddressClaim::AtOnce => {
                let message = "User registered successfully";
                Either::Left(Created(Registered { message, user: account.into() }))
            }
            // The response omits the account, because the account could reveal whether the address is taken.
            AddressClaim::OnceVerified => Either::Right(Accepted(Message::new(
                "User registered successfully. If you specified an email address, check its inbox: the address \
                 takes effect once you confirm it.",
            ))),
        })
    }
}

impl RegisterRoute {
    async fn create(
        &self,
        id: UserId,
        username: Username,
        email: Option<NewEmail>,
        hash: Result<PasswordHash, HashError>,
        invite: Option<String>,
        occasion: Occasion,
    ) -> Result<Account, Problem> {
        let hash = hash?;
        let account = NewAccount {
            id,
            username,
            email,
            roles: Roles::from_iter([Role::User]),
            password: hash.into_stored(),
            created_at: occasion.at,
            invite,
            occasion,
        };
        let peppers = self.peppers.get().await?;
        Ok(self.registrations.create(account, &*peppers).await?)
    }

    /// If this registration sends an email, reserves one of the emails that may be sent to the address. Otherwise,
    /// returns [`Postal::Unpaid`].
    async fn postage(
        &self,
        address: Option<&Email>,
        network: Option<Network>,
    ) -> Result<Postal<'_>, Problem> {
        match (self.rules.claim, address) {
            (AddressClaim::OnceVerified, Some(address)) => {
                Ok(self.throttle.postage(address.canonical(), network).await?)
            }
            (AddressClaim::OnceVerified, None) | (AddressClaim::AtOnce, _) => Ok(Postal::Unpaid),
        }
    }

    fn new_email(&self, address: Email, mail: Option<NewMail>) -> NewEmail {
        if self.rules.claim == AddressClaim::AtOnce {
            return NewEmail::Claimed(address);
        }
        NewEmail::Pending { address, mail }
    }

    /// Checks whether the caller may register. Returns the stored form of the invitation's code if an invitation
    /// is required.
    async fn admit(&self, code: Option<&str>) -> Result<Option<String>, Problem> {
        match self.rules.mode {
            Mode::Open => Ok(None),
            Mode::Closed => Err(RegistrationClosed.into()),
            Mode::Invite => {
                let peppers = self.peppers.get().await?;
                let tag = code.and_then(|code| CodeTag::of(CodeKind::Invite, code, &peppers));
                let tag = tag.ok_or(RegisterError::InvalidInvite)?;
                if !self.invites.is_valid(tag.as_str(), self.world.clock.now()).await? {
                    return Err(RegisterError::InvalidInvite.into());
                }
                Ok(Some(tag.as_str().to_owned()))
            }
        }
    }

    /// Checks every field, so that one response reports all errors.
    fn validate(&self, registration: Registration) -> Result<Valid, Problem> {
        let username = Username::parse(&registration.username).and_then(|name| {
            if self.rules.reserved.refuses(&name) { Err(NameError::Reserved) } else { Ok(name) }
        });
        let email = registration.email.as_deref().map(Email::parse).transpose();
        let password = Password::parse(registration.password);
        let known_email = email.as_ref().ok().and_then(Option::as_ref);
        let violations = match &password {
            Ok(password) => {
                self.policy.violations(password, username.as_ref().ok(), known_email)?
            }
            Err(_) => Vec::new(),
        };
        match (username, password, email, violations) {
            (Ok(username), Ok(password), Ok(email), violations) if violations.is_empty() => {
                Ok(Valid { username, password, email })
            }
            (username, password, email, violations) => {
                let mut errors: Vec<_> = [
                    username.err().map(|error| FieldError::new("username", "username", &error)),
                    password.err().map(|error| FieldError::new("password", "password", &error)),
                    email.err().map(|error| FieldError::new("email", "email", &error)),
                ]
                .into_iter()
                .flatten()
                .collect();
                let violation = |error| FieldError::new("password", "password", error);
                errors.extend(violations.iter().map(violation));
                Err(Problem::invalid_input(errors))
            }
        }
    }
}
