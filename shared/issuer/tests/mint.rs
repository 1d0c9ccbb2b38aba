//! Tests that minted tokens have exactly the documented content, and that the verifier accepts them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use auth::{Algorithm, TokenError, TokenRules, Verifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{
    Account, Admin, Attributes, Authentication, Email, EmailStanding, Method, Methods, Revision,
    Role, Roles, SessionEpoch, SessionId, Standing, UserId, Username,
};
use issuer::{AccessConfig as Config, AccessTokens, Grant, SigningKeys};
use jiff::{SignedDuration, Timestamp};
use process::{Clock, ConfigErrors, Env, SystemRandom};
use serde_json::{Value, json};
use testkit::{AUDIENCE, Forge, ISSUER, SeededRandom, TestClock};

fn config(changes: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let base = [("ISSUER", ISSUER), ("AUDIENCE", AUDIENCE)];
    base.iter().chain(changes).copied().collect::<Env>().settings::<Config>()
}

fn account(now: Timestamp) -> Account {
    Account {
        id: UserId::new(now, &SystemRandom),
        username: Username::parse("Straße").unwrap(),
        email: Some(Email::parse("private@example.com").unwrap()),
        email_standing: EmailStanding::Verified,
        pending_email: None,
        roles: Roles::from_iter([Role::User, Role::Admin]),
        created_at: now,
        standing: Standing::Active,
        epoch: SessionEpoch::new(3),
        attributes: Attributes::default(),
        revision: Revision::FIRST,
        last_login_at: None,
    }
}

struct Bench {
    keys: SigningKeys,
    clock: TestClock,
    account: Account,
    session: SessionId,
    authentication: Authentication,
}

impl Bench {
    fn new() -> Self {
        let clock = TestClock::default();
        let account = account(clock.now());
        let keys = SigningKeys::generate(Algorithm::EdDsa, "v1", &SystemRandom);
        let at = clock.now() - SignedDuration::from_secs(60);
        let methods = Methods::from(Method::Password).and(Method::Otp);
        let authentication = Authentication { at, methods };
        Self { keys, clock, account, session: SessionId::new(&SystemRandom), authentication }
    }

    fn grant(&self) -> Grant<'_> {
        let Account { epoch, .. } = self.account;
        let Self { account, session, authentication, .. } = self;
        Grant { account, session: *session, epoch, authentication }
    }

    fn mint(&self, changes: &[(&str, &str)]) -> String {
        let issuer = AccessTokens::new(config(changes).unwrap());
        issuer
            .mint(self.keys.active().unwrap(), self.grant(), self.clock.now(), &SystemRandom)
            .unwrap()
            .into_token()
    }

    fn verifier(&self) -> Verifier<Forge> {
        let rules = TokenRules::new(ISSUER, AUDIENCE);
        Verifier::new(rules, Forge::of(self.keys.clone()), Arc::new(self.clock.clone()))
    }
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_minted_token_is_accepted_until_it_expires() {
    let bench = Bench::new();
    let token = bench.mint(&[]);
    let caller = bench.verifier().admit::<Admin>(&token).await.unwrap();
    assert_eq!((caller.user_id(), caller.session_id()), (bench.account.id, bench.session));
    bench.clock.advance(SignedDuration::from_secs(900 + 30));
    assert_eq!(bench.verifier().verify(&token).await, Err(TokenError::Expired));
}

#[test]
fn the_header_contains_only_alg_kid_and_typ() {
    let bench = Bench::new();
    let kid = bench.keys.active().unwrap().kid();
    let expected = json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"});
    assert_eq!(part(&bench.mint(&[]), 0), expected);
}

#[test]
fn a_token_has_exactly_the_documented_claims() {
    let bench = Bench::new();
    let now = bench.clock.now().as_second();
    let token = bench.mint(&[("ACCESS_TOKEN_SECONDS", "60"), ("CLIENT_ID", "another")]);
    let mut claims = part(&token, 1);
    let jti = claims["jti"].take();
    assert!(jti.as_str().unwrap().parse::<identity::TokenId>().is_ok());
    let expected = json!({
        "iss": ISSUER,
        "sub": bench.account.id,
        "aud": AUDIENCE,
        "exp": now + 60,
        "iat": now,
        "jti": null,
        "client_id": "another",
        "sid": bench.session,
        "ver": 3,
        "roles": ["user", "admin"],
        "auth_time": now - 60,
        "acr": "2",
        "amr": ["pwd", "otp"],
        "preferred_username": "Straße",
    });
    assert_eq!(claims, expected);
}

#[test]
fn attributes_are_one_claim_with_a_configurable_name() {
    let mut bench = Bench::new();
    bench.account.attributes = Attributes::parse(r#"{"tenant":"acme","seats":7}"#).unwrap();
    let expected = json!({"tenant": "acme", "seats": 7});
    assert_eq!(part(&bench.mint(&[]), 1)["attributes"], expected);
    let name = "https://example.com/attributes";
    let claims = part(&bench.mint(&[("ATTRIBUTES_CLAIM", name)]), 1);
    assert_eq!((claims.get("attributes"), &claims[name]), (None, &expected));
    for name in ["sub", "roles", "scope", "", "a b", "ä", &"x".repeat(101)] {
        let error = config(&[("ATTRIBUTES_CLAIM", name)]).map(drop);
        // An empty variable counts as unset.
        assert_eq!(error.is_ok(), name.is_empty(), "{name}");
    }
}

/// No attribute can replace another claim, because the attributes are nested in a claim of their own.
#[tokio::test]
async fn attributes_cannot_change_another_claim() {
    let mut bench = Bench::new();
    let attributes = r#"{"sub":"x","roles":["super_admin"],"exp":99999999999}"#;
    bench.account.attributes = Attributes::parse(attributes).unwrap();
    let claims = bench.verifier().verify(&bench.mint(&[])).await.unwrap();
    assert_eq!((claims.sub, &claims.roles), (bench.account.id, &bench.account.roles));
}

/// Verifiers refuse tokens over 4 KiB.
#[tokio::test]
async fn the_longest_token_is_accepted() {
    let mut bench = Bench::new();
    let long = "\u{10400}".repeat(80);
    bench.account.username = Username::parse(&long).unwrap();
    bench.account.roles = Role::ALL.into_iter().collect();
    let attributes = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_024 - 8));
    bench.account.attributes = Attributes::parse(&attributes).unwrap();
    bench.keys = SigningKeys::generate(Algorithm::Rs256, "v1", &SystemRandom);
    let token = bench.mint(&[("CLIENT_ID", &"c".repeat(100))]);
    assert!(bench.verifier().verify(&token).await.is_ok(), "{} bytes", token.len());
}

#[test]
fn every_token_has_its_own_id() {
    let bench = Bench::new();
    let jti = |_| part(&bench.mint(&[]), 1)["jti"].to_string();
    assert_eq!((0..100).map(jti).collect::<BTreeSet<_>>().len(), 100);
}

#[test]
fn the_token_id_comes_from_the_given_randomness() {
    let bench = Bench::new();
    let issuer = AccessTokens::new(config(&[]).unwrap());
    let mint = |seed| {
        let random = SeededRandom::new(seed);
        issuer
            .mint(bench.keys.active().unwrap(), bench.grant(), bench.clock.now(), &random)
            .unwrap()
            .into_token()
    };
    assert_eq!(mint(1), mint(1));
    assert_ne!(mint(1), mint(2));
}

/// Covers every algorithm, a rotation and a change of algorithm.
#[tokio::test]
async fn the_active_key_signs_whatever_its_algorithm() {
    let bench = Bench::new();
    for (first, then) in [
        (Algorithm::EdDsa, Algorithm::Es256),
        (Algorithm::Es256, Algorithm::Rs256),
        (Algorithm::Rs256, Algorithm::EdDsa),
    ] {
        let keys = SigningKeys::generate(first, "v1", &SystemRandom);
        let rotated = keys.rotated(then, "v2", &SystemRandom).unwrap();
        let again = rotated.rotated(then, "v3", &SystemRandom).unwrap();
        let issuer = AccessTokens::new(config(&[]).unwrap());
        for (keys, algorithm) in [(&keys, first), (&rotated, first), (&again, then)] {
            let active = keys.active().unwrap();
            let minted = issuer.mint(active, bench.grant(), bench.clock.now(), &SystemRandom);
            let token = minted.unwrap().into_token();
            let header = json!({"alg": algorithm, "kid": active.kid(), "typ": "at+jwt"});
            assert_eq!(part(&token, 0), header);
            let rules = TokenRules::new(ISSUER, AUDIENCE);
            let verifier =
                Verifier::new(rules, Forge::of(keys.clone()), Arc::new(bench.clock.clone()));
            assert!(verifier.verify(&token).await.is_ok(), "{algorithm}");
            // The signature must not be valid for other claims.
            let (message, signature) = token.rsplit_once('.').unwrap();
            let other = message.replacen('.', ".e30", 1);
            let altered = verifier.verify(&format!("{other}.{signature}")).await;
            assert_eq!(altered, Err(TokenError::Signature), "{algorithm}");
        }
    }
}

#[test]
fn the_lifetime_must_be_from_one_second_to_an_hour() {
    for good in ["1", "900", "3600"] {
        assert!(config(&[("ACCESS_TOKEN_SECONDS", good)]).is_ok(), "{good}");
    }
    for bad in ["0", "3601", "-1", "15m", "1e3", "900.5", "99999999999999999999"] {
        let error = config(&[("ACCESS_TOKEN_SECONDS", bad)]).unwrap_err().to_string();
        assert!(error.contains("ACCESS_TOKEN_SECONDS"), "{bad}: {error}");
        assert!(!error.contains(bad) || bad == "0", "values are not quoted: {error}");
    }
    let bench = Bench::new();
    let issuer = AccessTokens::new(config(&[]).unwrap());
    let minted = issuer
        .mint(bench.keys.active().unwrap(), bench.grant(), bench.clock.now(), &SystemRandom)
        .unwrap();
    assert_eq!(minted.lifetime().as_secs(), 900);
}

#[test]
fn all_missing_settings_are_reported_together() {
    let bad = [("ISSUER", ""), ("AUDIENCE", ""), ("ACCESS_TOKEN_SECONDS", "x")];
    let error = config(&bad).unwrap_err().to_string();
    for (name, _) in bad {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let bench = Bench::new();
    let issuer = AccessTokens::new(config(&[]).unwrap());
    let minted = issuer
        .mint(bench.keys.active().unwrap(), bench.grant(), bench.clock.now(), &SystemRandom)
        .unwrap();
    let shown = format!("{minted:?} {issuer:?} {:?}", bench.keys);
    let private = serde_json::from_str::<Value>(&bench.keys.to_json()).unwrap();
    for secret in [minted.into_token().as_str(), private["keys"][0]["d"].as_str().unwrap()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn the_error_for_an_invalid_key_set_reveals_no_content() {
    for bad in [
        "hush",
        r#"{"keys":["hush"]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"a","x":"hush","d":"hush"}]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"a","x":"hush","d":"hush"}]}"#,
    ] {
        let error = bad.parse::<SigningKeys>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}
