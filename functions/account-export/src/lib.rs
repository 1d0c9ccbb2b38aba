//! `GET /auth/me/export`: the caller's account, sessions and events, without secrets. The session must be fresh.

use account_guard::{AccountGuard, Fresh, FreshCaller};
use events::{Event, Kind, Occasion, Origin};
use identity::{Anyone, Email, EventId, Network, SessionId, UserId};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use store::{Events, Session, Sessions, StoreError};
use web::{BootError, Client, Endpoint, Json, Problem, Route, UserDetails, World};

/// The number of events per request to the database.
const PAGE: usize = 1_000;

/// The maximum size of the events in an export, in bytes. Lambda limits a response to 6 MB. The response contains the
/// body as a JSON string, so each quotation mark and each backslash of the body takes two bytes.
const MAX_BYTES: usize = 2_000_000;

/// How much later than the time in its id an event can have happened. Some ids contain the start of the hour
/// ([`EventId::hourly`]).
const LATEST_AFTER_ID: SignedDuration = SignedDuration::from_hours(1);

/// Exports the data of callers.
pub struct AccountExportRoute {
    sessions: Sessions,
    events: Events,
    world: World,
}

/// The data of an account, without secrets. The account's known networks, from which its owner has authenticated, are
/// not listed separately, because the sessions and events contain them.
#[derive(Serialize)]
pub struct Export {
    format: Format,
    exported_at: Timestamp,
    user: UserDetails,
    /// The address that the account will have when its owner confirms it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_email: Option<Email>,
    /// All sessions, including expired ones that are still stored.
    sessions: Vec<ExportedSession>,
    /// The events, latest first. One of them reports the session's exports of this minute.
    events: Vec<Event>,
    /// Set if all events together would exceed [`MAX_BYTES`]: some events before this time are omitted, and no later ones.
    /// `GET /auth/me/events` lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_omitted_before: Option<Timestamp>,
    factors: [(); 0],
    api_keys: [(); 0],
}

/// The format of an export.
#[derive(Clone, Copy, Debug, Serialize)]
enum Format {
    #[serde(rename = "latchkey-export/1")]
    First,
}

/// A session as its owner sees it.
#[derive(Serialize)]
struct ExportedSession {
    sid: SessionId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    user_agent: Option<String>,
    network: Option<Network>,
}

impl From<Session> for ExportedSession {
    fn from(session: Session) -> Self {
        Self {
            sid: session.id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.ends_at,
            user_agent: session.user_agent,
            network: session.network,
        }
    }
}

impl Route for AccountExportRoute {
    const NAME: &'static str = "account-export";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/auth/me/export")];
    type Access = Fresh<Anyone>;
    type Settings = ();
    type Input = Client;
    type Output = Json<Export>;

    async fn open((): (), guard: &AccountGuard, world: &World) -> Result<Self, BootError> {
        let (users, database) = (guard.users(), guard.database());
        Ok(Self {
            sessions: Sessions::new(users, database.clone()),
            events: Events::new(users, database.clone()),
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        caller: FreshCaller<Anyone>,
        client: Client,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account().clone();
        let now = self.world.clock.now();
        let origin = Origin { network: client.network, user_agent: client.user_agent };
        let occasion = Occasion::new(now, &*self.world.random, origin);
        // Record the event first, so that no export goes unrecorded and every export contains its event. The exports of one
        // session in one minute have one event. Otherwise, a user could create any number of events. Different sessions
        // have different events: otherwise, an export of the owner could hide one of a thief.
        let once = EventId::minutely(now, caller.session_id());
        let event = occasion.event(account.id, Kind::Exported);
        match self.events.record(account.id, &event, once).await {
            // The account has been deleted since the caller was admitted.
            Err(StoreError::Absent) => return Err(Problem::invalid_token()),
            recorded => recorded?,
        }
        let sessions = self.sessions.of(account.id);
        let events = self.events(&occasion, account.id);
        let (sessions, (events, events_omitted_before)) =
            futures_util::try_join!(sessions, events)?;
        let mut sessions: Vec<_> = sessions.into_iter().map(ExportedSession::from).collect();
        sessions.sort_by_key(|session| std::cmp::Reverse((session.created_at, session.sid)));
        Ok(Json(Export {
            format: Format::First,
            exported_at: occasion.at,
            pending_email: account.pending_email.clone(),
            user: account.into(),
            sessions,
            events,
            events_omitted_before,
            factors: [],
            api_keys: [],
        }))
    }
}

impl AccountExportRoute {
    /// Reads the latest events, up to [`MAX_BYTES`]. If others remain, also returns a time before which all of them
    /// happened.
    async fn events(
        &self,
        occasion: &Occasion,
        user: UserId,
    ) -> Result<(Vec<Event>, Option<Timestamp>), StoreError> {
        let (mut events, mut bytes, mut before) = (Vec::<Event>::new(), 0, None);
        loop {
            let page = self.events.page(user, before, PAGE, occasion.at).await?;
            for event in page.events {
                bytes += serde_json::to_vec(&event).map_or(0, |json| json.len());
                if bytes > MAX_BYTES {
                    let events = sorted(events);
                    let earliest = events.last().map_or(occasion.at, |event| event.at);
                    let omitted =
                        earliest.saturating_add(LATEST_AFTER_ID).unwrap_or(Timestamp::MAX);
                    return Ok((events, Some(omitted.min(occasion.at))));
                }
                events.push(event);
            }
            before = page.next;
            if before.is_none() {
                return Ok((sorted(events), None));
            }
        }
    }
}

/// Sorts events by time, latest first. They are stored in the order of their ids, some of which contain an earlier time
/// ([`Event::id`]).
fn sorted(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| std::cmp::Reverse((event.at, event.id)));
    events
}
