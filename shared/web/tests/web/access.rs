//! Tests which callers a route admits, and how it answers the others.

use auth::LiveSession;
use identity::{
    Account, Attributes, Authentication, EmailStanding, Method, Revision, Role, Roles,
    SessionEpoch, Standing, UserId, Username,
};
use jiff::SignedDuration;
use process::Clock;
use serde_json::{Value, json};
use testkit::{Forge, TestClock, bearer, event, header as with_header, without_token};
use web::{EventResponse, Route, Service, answer, describe};

use crate::routes::{
    ByAccount, ByAccountAdmin, ByFreshAccount, ByFreshAccountAdmin, ByToken, ByTokenAdmin, Finding,
};
use crate::{header, outcome, post};

struct Bench {
    forge: Forge,
    clock: TestClock,
    claims: Value,
}

impl Bench {
    fn new(roles: &[Role]) -> Self {
        let clock = TestClock::default();
        let claims = Forge::claims(clock.now(), &roles.iter().copied().collect());
        Self { forge: Forge::new(), clock, claims }
    }

    fn token(&self) -> String {
        self.forge.sign(&self.forge.header(), &self.claims)
    }

    fn by_token(&self) -> Service<ByToken> {
        ByToken::new(&self.forge, &self.clock, Finding::Nothing)
    }

    fn account(&self, roles: &[Role]) -> Account {
        Account {
            id: self.claims["sub"].as_str().unwrap().parse::<UserId>().unwrap(),
            username: Username::parse("testuser").unwrap(),
            email: None,
            email_standing: EmailStanding::Unverified,
            pending_email: None,
            roles: roles.iter().copied().collect::<Roles>(),
            created_at: self.clock.now(),
            standing: Standing::Active,
            epoch: SessionEpoch::new(1),
            attributes: Attributes::default(),
            revision: Revision::FIRST,
            last_login_at: None,
        }
    }

    fn session(&self) -> LiveSession {
        LiveSession {
            created_at: self.clock.now(),
            epoch: SessionEpoch::new(1),
            expires_at: self.clock.now() + SignedDuration::from_secs(1),
            authentication: Authentication {
                at: self.clock.now(),
                methods: Method::Password.into(),
            },
        }
    }

    /// The outcome of a request to a checked route if the account check has this result.
    async fn checked(&self, finding: Finding) -> (i64, String) {
        let route = ByAccount::new(&self.forge, &self.clock, finding);
        outcome(&ask(&route, &self.token()).await)
    }
}

async fn ask<R: Route>(route: &Service<R>, token: &str) -> EventResponse {
    answer(route, event(bearer(post(b"{}"), token))).await
}

fn admitted() -> (i64, String) {
    (204, String::new())
}

fn refused(status: i64, code: &str) -> (i64, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn without_a_token_the_challenge_has_no_error() {
    let bench = Bench::new(&[]);
    let route = bench.by_token();
    let plain = without_token(post(b"{}"));
    let mut events = vec![
        plain.clone(),
        with_header(plain.clone(), "cookie", &format!("token={}", bench.token())),
        with_header(plain.clone(), "x-user-id", "admin"),
        with_header(plain.clone(), "x-access-token", &bench.token()),
        with_header(plain.clone(), "proxy-authorization", &format!("Bearer {}", bench.token())),
    ];
    for value in ["", "Bearer", "Bearer ", "Basic dTpw", "Token abc", &bench.token()] {
        events.push(with_header(plain.clone(), "authorization", value));
    }
    let mut query = plain;
    query["rawQueryString"] = json!(format!("access_token={}", bench.token()));
    query["queryStringParameters"] = json!({"access_token": bench.token()});
    events.push(query);
    for event_json in events {
        let response = answer(&route, event(event_json.clone())).await;
        assert_eq!(outcome(&response), refused(401, "missing_token"), "{event_json}");
        let challenge = header(&response, "www-authenticate");
        assert_eq!(challenge, Some(r#"Bearer realm="latchkey""#));
    }
}

#[tokio::test]
async fn every_bad_token_gets_the_same_answer() {
    let bench = Bench::new(&[Role::User]);
    let route = bench.by_token();
    let mut first = None;
    let bad = bench.forge.bad_tokens(&bench.claims, bench.clock.now());
    // A header cannot contain a line break.
    for bad in bad.into_iter().filter(|bad| !bad.token.contains('\n')) {
        let response = ask(&route, &bad.token).await;
        let (status, code) = outcome(&response);
        assert_eq!((status, code.as_str()), (401, "invalid_token"), "{}", bad.fault);
        let challenge = header(&response, "www-authenticate");
        assert_eq!(challenge, Some(r#"Bearer realm="latchkey", error="invalid_token""#));
        let readable = testkit::readable(&response);
        assert_eq!(*first.get_or_insert(readable.clone()), readable, "{}", bad.fault);
    }
}

#[tokio::test]
async fn more_than_one_token_is_refused() {
    let bench = Bench::new(&[Role::User]);
    let route = bench.by_token();
    let token = bench.token();
    assert_eq!(outcome(&ask(&route, &token).await), admitted());
    for value in [
        format!("Bearer {token},Bearer {token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token},Basic dTpw"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}\u{e4}"),
    ] {
        let event_json = with_header(post(b"{}"), "authorization", &value);
        let response = answer(&route, event(event_json)).await;
        assert_eq!(outcome(&response), refused(401, "invalid_token"), "{value}");
    }
    let mut twice = event(bearer(post(b"{}"), &token));
    let value = twice.headers["authorization"].clone();
    twice.headers.append("authorization", value);
    assert_eq!(outcome(&answer(&route, twice).await), refused(401, "invalid_token"));
}

#[tokio::test]
async fn the_scheme_is_case_insensitive() {
    let bench = Bench::new(&[]);
    for scheme in ["bearer", "BEARER", "bEaReR", "Bearer  "] {
        let value = format!("{scheme} {}", bench.token());
        let event_json = with_header(post(b"{}"), "authorization", &value);
        assert_eq!(outcome(&answer(&bench.by_token(), event(event_json)).await), admitted());
    }
}

#[tokio::test]
async fn a_caller_without_the_role_gets_the_challenge_insufficient_scope() {
    let bench = Bench::new(&[Role::User, Role::SuperAdmin]);
    let by_token = ByTokenAdmin::new(&bench.forge, &bench.clock, Finding::Nothing);
    let found = Finding::Found(bench.account(&[Role::User]), bench.session());
    let by_account = ByAccountAdmin::new(&bench.forge, &bench.clock, found);
    for response in [ask(&by_token, &bench.token()).await, ask(&by_account, &bench.token()).await] {
        assert_eq!(outcome(&response), refused(403, "insufficient_role"));
        let challenge = header(&response, "www-authenticate");
        assert_eq!(challenge, Some(r#"Bearer realm="latchkey", error="insufficient_scope""#));
    }
}

#[tokio::test]
async fn routes_by_token_use_roles_from_the_token_and_checked_routes_use_current_roles() {
    let former_admin = Bench::new(&[Role::Admin]);
    let by_token = ByTokenAdmin::new(&former_admin.forge, &former_admin.clock, Finding::Nothing);
    assert_eq!(outcome(&ask(&by_token, &former_admin.token()).await), admitted());
    let demoted = Finding::Found(former_admin.account(&[Role::User]), former_admin.session());
    let checked = ByAccountAdmin::new(&former_admin.forge, &former_admin.clock, demoted);
    let response = ask(&checked, &former_admin.token()).await;
    assert_eq!(outcome(&response), refused(403, "insufficient_role"));

    let former_user = Bench::new(&[Role::User]);
    let promoted = Finding::Found(former_user.account(&[Role::Admin]), former_user.session());
    let checked = ByAccountAdmin::new(&former_user.forge, &former_user.clock, promoted);
    assert_eq!(outcome(&ask(&checked, &former_user.token()).await), admitted());
}

#[tokio::test]
async fn a_checked_route_requires_an_active_account_and_a_live_session() {
    let bench = Bench::new(&[Role::User]);
    let account = bench.account(&[Role::User]);
    let session = bench.session();
    let found =
        |account: &Account, session: &LiveSession| Finding::Found(account.clone(), session.clone());
    assert_eq!(bench.checked(found(&account, &session)).await, admitted());

    let disabled = Account { standing: Standing::Disabled, ..account.clone() };
    let of_next_epoch = Account { epoch: SessionEpoch::new(2), ..account.clone() };
    let expired = LiveSession { expires_at: bench.clock.now(), ..session.clone() };
    let of_earlier_epoch = LiveSession { epoch: SessionEpoch::new(0), ..session.clone() };
    let of_next = LiveSession { epoch: SessionEpoch::new(2), ..session.clone() };
    for (why, finding) in [
        ("no account", Finding::Nothing),
        ("the account is disabled", found(&disabled, &session)),
        ("no session", Finding::AccountOnly(account.clone())),
        ("the session has expired", found(&account, &expired)),
        ("the session has an earlier epoch", found(&account, &of_earlier_epoch)),
        ("the token has an earlier epoch", found(&of_next_epoch, &of_next)),
        ("the token and the session have an earlier epoch", found(&of_next_epoch, &session)),
    ] {
        assert_eq!(bench.checked(finding).await, refused(401, "invalid_token"), "{why}");
    }
}

#[tokio::test]
async fn a_fresh_route_checks_the_age_of_the_authentication_last() {
    let bench = Bench::new(&[]);
    let at = |seconds| Authentication {
        at: bench.clock.now() - SignedDuration::from_secs(seconds),
        methods: Method::Password.into(),
    };
    let session = |seconds| LiveSession { authentication: at(seconds), ..bench.session() };
    let user = |seconds| Finding::Found(bench.account(&[Role::User]), session(seconds));
    let route = |finding| ByFreshAccount::new(&bench.forge, &bench.clock, finding);
    assert_eq!(outcome(&ask(&route(user(600)), &bench.token()).await), admitted());

    let stale = ask(&route(user(601)), &bench.token()).await;
    assert_eq!(outcome(&stale), refused(401, "insufficient_user_authentication"));
    assert_eq!(testkit::body(&stale)["max_age"], 600);
    assert_eq!(
        header(&stale, "www-authenticate"),
        Some(r#"Bearer realm="latchkey", error="insufficient_user_authentication", max_age=600"#)
    );

    let ended = LiveSession { expires_at: bench.clock.now(), ..session(601) };
    let ended = Finding::Found(bench.account(&[Role::User]), ended);
    let answer = ask(&route(ended), &bench.token()).await;
    assert_eq!(outcome(&answer), refused(401, "invalid_token"));
    let admins = ByFreshAccountAdmin::new(&bench.forge, &bench.clock, user(601));
    let answer = ask(&admins, &bench.token()).await;
    assert_eq!(outcome(&answer), refused(403, "insufficient_role"));
    let admin = Finding::Found(bench.account(&[Role::Admin]), session(601));
    let admins = ByFreshAccountAdmin::new(&bench.forge, &bench.clock, admin);
    let answer = ask(&admins, &bench.token()).await;
    assert_eq!(outcome(&answer), refused(401, "insufficient_user_authentication"));
}

#[tokio::test]
async fn a_failed_account_check_admits_no_caller() {
    let bench = Bench::new(&[Role::User]);
    assert_eq!(bench.checked(Finding::Outage).await, refused(503, "unavailable"));
    assert_eq!(bench.checked(Finding::Defect).await, refused(500, "internal"));
    let route = ByAccount::new(&bench.forge, &bench.clock, Finding::Outage);
    let response = ask(&route, &bench.token()).await;
    assert!(header(&response, "retry-after").unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn the_caller_is_admitted_before_the_body_is_read() {
    let bench = Bench::new(&[]);
    let bad_bodies = [b"{".to_vec(), b"\xff".to_vec(), vec![b'a'; 1_000_000]];
    for body in bad_bodies {
        let plain = without_token(post(&body));
        let response = answer(&bench.by_token(), event(plain.clone())).await;
        assert_eq!(outcome(&response), refused(401, "missing_token"));
        let response = answer(&bench.by_token(), event(bearer(plain, "a.b.c"))).await;
        assert_eq!(outcome(&response), refused(401, "invalid_token"));
        let response = answer(&bench.by_token(), event(bearer(post(&body), &bench.token()))).await;
        assert!(matches!(response.status_code, 400 | 413));
    }
}

#[test]
fn a_route_describes_its_access() {
    let access = [
        describe::<ByToken>().access,
        describe::<ByTokenAdmin>().access,
        describe::<ByAccount>().access,
        describe::<ByAccountAdmin>().access,
        describe::<ByFreshAccount>().access,
        describe::<ByFreshAccountAdmin>().access,
        describe::<crate::routes::Echo>().access,
    ];
    let expected = [
        "by token",
        "by token, role admin",
        "checked",
        "checked, role admin",
        "fresh",
        "fresh, role admin",
        "anyone",
    ];
    assert_eq!(access, expected);
}
