//! `GET /admin/users` lists accounts, `GET /admin/users/{id}` shows one, and `GET /admin/users/{id}/events` lists its
//! security events.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use events::Event;
use identity::{Account, Admin, Email, Role, Standing, UserId, Username};
use paging::{Cursors, PageSize};
use secrets::PeppersSecret;
use serde::{Deserialize, Serialize};
use store::{AccountFilter, Administration, Events, Listings, Position};
use web::{
    BootError, Either, Endpoint, FieldError, Input, Json, Path, Problem, Query, Request, Route,
    Tagged, UserDetails, World,
};

const USERS: Endpoint = Endpoint::get("/admin/users");
const USER: Endpoint = Endpoint::get("/admin/users/{id}");
const EVENTS: Endpoint = Endpoint::get("/admin/users/{id}/events");

/// Shows accounts to administrators.
pub struct AdminUsersRoute {
    administration: Administration,
    listings: Listings,
    events: Events,
    cursors: Cursors,
    world: World,
}

/// The requested operation.
#[derive(Clone, Debug)]
pub enum Operation {
    /// List accounts.
    List(Filter),
    /// Show the account with this id.
    Show(UserId),
    /// List the events of the account with this id.
    ListEvents(UserId, Page),
}

/// The parameters of `/admin/users`.
#[derive(Clone, Debug, Deserialize)]
pub struct Filter {
    limit: Option<i64>,
    cursor: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
    email: Option<String>,
    username: Option<String>,
}

/// The parameters of `/admin/users/{id}/events`.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    limit: Option<i64>,
    cursor: Option<String>,
}

/// The parameters in the path of `/admin/users/{id}` and `/admin/users/{id}/events`.
#[derive(Deserialize)]
struct OneUser {
    id: UserId,
}

impl Input for Operation {
    fn read(request: &Request) -> Result<Self, Problem> {
        match request.endpoint() {
            Some(endpoint) if *endpoint == USERS => {
                let Query(filter) = Query::read(request)?;
                Ok(Self::List(filter))
            }
            Some(endpoint) if *endpoint == USER => {
                let Path(OneUser { id }) = Path::read(request)?;
                Ok(Self::Show(id))
            }
            Some(endpoint) if *endpoint == EVENTS => {
                let (Path(OneUser { id }), Query(page)) =
                    (Path::read(request)?, Query::read(request)?);
                Ok(Self::ListEvents(id, page))
            }
            _ => Err(Problem::not_found()),
        }
    }
}

/// A page of accounts.
#[derive(Serialize)]
pub struct UserList {
    users: Vec<UserDetails>,
    next_cursor: Option<String>,
}

/// A page of events, latest first.
#[derive(Serialize)]
pub struct EventList {
    events: Vec<Event>,
    next_cursor: Option<String>,
}

impl Route for AdminUsersRoute {
    const NAME: &'static str = "admin-users";
    const ENDPOINTS: &'static [Endpoint] = &[USERS, USER, EVENTS];
    type Access = Checked<Admin>;
    type Settings = PeppersSecret;
    type Input = Operation;
    type Output = Either<Either<Json<UserList>, Json<EventList>>, Tagged<Json<UserDetails>>>;

    async fn open(
        peppers: PeppersSecret,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        Ok(Self {
            administration: Administration::new(guard.users(), guard.database().clone()),
            listings: Listings::new(guard.users(), guard.database().clone()),
            events: Events::new(guard.users(), guard.database().clone()),
            cursors: Cursors::new(peppers.open(world), world),
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        _: CheckedCaller<Admin>,
        operation: Operation,
    ) -> Result<Self::Output, Problem> {
        match operation {
            Operation::List(filter) => {
                Ok(Either::Left(Either::Left(Json(self.list(filter).await?))))
            }
            Operation::ListEvents(id, page) => {
                Ok(Either::Left(Either::Right(Json(self.events(id, page).await?))))
            }
            Operation::Show(id) => {
                let account = self.administration.account(id).await?;
                let account = account.ok_or_else(Problem::not_found)?;
                Ok(Either::Right(Tagged(account.revision, Json(account.into()))))
            }
        }
    }
}

/// The username and the address in a filter, after validation.
struct Names {
    username: Option<Username>,
    email: Option<Email>,
}

impl AdminUsersRoute {
    async fn events(&self, user: UserId, page: Page) -> Result<EventList, Problem> {
        let limit = PageSize::of(page.limit).map_err(|error| {
            Problem::invalid_input(vec![FieldError::new("limit", "limit", &error)])
        })?;
        let list = ("admin-users events", user);
        let cursors = self.cursors.ready().await?;
        let before = page.cursor.map(|cursor| cursors.position(&list, &cursor)).transpose();
        let before = before.map_err(|_| invalid_cursor())?;
        let now = self.world.clock.now();
        let page = self.events.page(user, before, limit.get(), now).await?;
        // A deletion event outlives its account for a while, so respond with 404 only if neither exists.
        if page.events.is_empty() && self.administration.account(user).await?.is_none() {
            return Err(Problem::not_found());
        }
        let next_cursor = page.next.map(|next| cursors.cursor(&list, &next));
        Ok(EventList { events: page.events, next_cursor })
    }

    async fn list(&self, filter: Filter) -> Result<UserList, Problem> {
        let (names, limit) = validate(&filter)?;
        let standing = filter
            .disabled
            .map(|disabled| if disabled { Standing::Disabled } else { Standing::Active });
        let accounts = AccountFilter { role: filter.role, standing };
        if names.username.is_some() || names.email.is_some() {
            // At most one account has this username or address, so there is no second page, and no cursor can be valid.
            if filter.cursor.is_some() {
                return Err(invalid_cursor());
            }
            let found = self.find(&names).await?;
            let users = found.into_iter().filter(|account| accounts.admits(account));
            return Ok(UserList {
                users: users.map(UserDetails::from).collect(),
                next_cursor: None,
            });
        }
        // A cursor is valid only for the filters with which it was issued.
        let list = ("admin-users", accounts.role, filter.disabled);
        let cursors = self.cursors.ready().await?;
        let from = match &filter.cursor {
            Some(cursor) => {
                cursors.position::<Position>(&list, cursor).map_err(|_| invalid_cursor())?
            }
            None => Position::default(),
        };
        let page = self.listings.page(accounts, from, limit.get()).await?;
        Ok(UserList {
            users: page.accounts.into_iter().map(UserDetails::from).collect(),
            next_cursor: page.next.map(|next| cursors.cursor(&list, &next)),
        })
    }

    /// The account that has all of these names.
    async fn find(&self, names: &Names) -> Result<Option<Account>, Problem> {
        let found = match names {
            Names { username: Some(username), .. } => {
                self.administration.account_by_name(username.canonical()).await?
            }
            Names { email: Some(email), .. } => {
                self.administration.account_by_email(email.canonical()).await?
            }
            Names { username: None, email: None } => None,
        };
        Ok(found.filter(|account| {
            let has = |email: &Email| {
                account.email.as_ref().is_some_and(|it| it.canonical() == email.canonical())
            };
            names.email.as_ref().is_none_or(has)
        }))
    }
}

fn validate(filter: &Filter) -> Result<(Names, PageSize), Problem> {
    let username = filter.username.as_deref().map(Username::parse).transpose();
    let email = filter.email.as_deref().map(Email::parse).transpose();
    let limit = PageSize::of(filter.limit);
    match (username, email, limit) {
        (Ok(username), Ok(email), Ok(limit)) => Ok((Names { username, email }, limit)),
        (username, email, limit) => Err(Problem::invalid_input(
            [
                username.err().map(|error| FieldError::new("username", "username", &error)),
                email.err().map(|error| FieldError::new("email", "address", &error)),
                limit.err().map(|error| FieldError::new("limit", "limit", &error)),
            ]
            .into_iter()
            .flatten()
            .collect(),
        )),
    }
}

fn invalid_cursor() -> Problem {
    let error = FieldError::new("cursor", "cursor", &paging::CursorError);
    Problem::invalid_input(vec![error])
}
