//! `GET /auth/me/events`: lists the security events of the caller's account, page by page.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use events::Event;
use identity::{Anyone, UserId};
use paging::{Cursors, PageSize};
use secrets::PeppersSecret;
use serde::{Deserialize, Serialize};
use store::Events;
use web::{BootError, Endpoint, FieldError, Json, Problem, Query, Route, World};

/// Lists the events of the caller's account.
pub struct AccountEventsRoute {
    events: Events,
    cursors: Cursors,
    world: World,
}

/// The query parameters.
#[derive(Deserialize)]
pub struct Parameters {
    #[serde(default)]
    limit: Option<i64>,
    #[serde(default)]
    cursor: Option<String>,
}

/// A page of events, latest first.
#[derive(Serialize)]
pub struct EventList {
    events: Vec<Event>,
    next_cursor: Option<String>,
}

/// The list to which a cursor belongs.
fn list(user: UserId) -> (&'static str, UserId) {
    ("GET /auth/me/events", user)
}

impl Route for AccountEventsRoute {
    const NAME: &'static str = "account-events";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/auth/me/events")];
    type Access = Checked<Anyone>;
    type Settings = PeppersSecret;
    type Input = Query<Parameters>;
    type Output = Json<EventList>;

    async fn open(
        peppers: PeppersSecret,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        Ok(Self {
            events: Events::new(guard.users(), guard.database().clone()),
            cursors: Cursors::new(peppers.open(world), world),
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        Query(Parameters { limit, cursor }): Query<Parameters>,
    ) -> Result<Self::Output, Problem> {
        let user = caller.user_id();
        let limit = PageSize::of(limit)
            .map_err(|error| invalid(FieldError::new("limit", "limit", &error)))?;
        let cursors = self.cursors.ready().await?;
        let before = cursor.map(|cursor| cursors.position(&list(user), &cursor)).transpose();
        let before =
            before.map_err(|error| invalid(FieldError::new("cursor", "cursor", &error)))?;
        let now = self.world.clock.now();
        let page = self.events.page(user, before, limit.get(), now).await?;
        let next_cursor = page.next.map(|next| cursors.cursor(&list(user), &next));
        Ok(Json(EventList { events: page.events, next_cursor }))
    }
}

fn invalid(error: FieldError) -> Problem {
    Problem::invalid_input(vec![error])
}
