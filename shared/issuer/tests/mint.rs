//! What is minted: exactly what the contract says, and what our own verifier accepts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use auth::{
    Account, Admin, Clock, ConfigErrors, Email, EmailStanding, Env, Role, Roles, SessionId,
    Standing, SystemRandom, TokenError, TokenRules, UserId, Username, Verifier,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use issuer::{Config, Grant, Issuer, SigningKeys};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::{AUDIENCE, Forge, ISSUER, SeededRandom, TestClock};

fn config(changes: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let base = [("ISSUER", ISSUER), ("AUDIENCE", AUDIENCE)];
    base.iter().chain(changes).copied().collect::<Env>().read(Config::read)
}

fn account(now: Timestamp) -> Account {
    Account {
        id: UserId::new(now, &SystemRandom),
        username: Username::parse("Straße").unwrap(),
        email: Some(Email::parse("private@example.com").unwrap()),
        email_standing: EmailStanding::Verified,
        roles: Roles::from_iter([Role::User, Role::Admin]),
        created_at: now,
        standing: Standing::Active,
        ver: 3,
    }
}

struct Bench {
    keys: SigningKeys,
    clock: TestClock,
    account: Account,
    session: SessionId,
}

impl Bench {
    fn new() -> Self {
        let clock = TestClock::default();
        let account = account(clock.now());
        let keys = SigningKeys::generate(&SystemRandom);
        Self { keys, clock, account, session: SessionId::new(&SystemRandom) }
    }

    fn grant(&self) -> Grant<'_> {
        let Account { ver, .. } = self.account;
        let auth_time = self.clock.now() - SignedDuration::from_secs(60);
        Grant { account: &self.account, session: self.session, ver, auth_time }
    }

    fn mint(&self, changes: &[(&str, &str)]) -> String {
        let issuer = Issuer::new(config(changes).unwrap(), &self.keys);
        issuer.mint(self.grant(), self.clock.now(), &SystemRandom).unwrap().into_token()
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
async fn a_minted_token_lets_its_owner_in_until_it_expires() {
    let bench = Bench::new();
    let token = bench.mint(&[]);
    let caller = bench.verifier().admit::<Admin>(&token).await.unwrap();
    assert_eq!((caller.user_id(), caller.session_id()), (bench.account.id, bench.session));
    bench.clock.advance(SignedDuration::from_secs(900 + 30));
    assert_eq!(bench.verifier().verify(&token).await, Err(TokenError::Expired));
}

#[test]
fn the_header_is_that_of_an_access_token_and_no_more() {
    let bench = Bench::new();
    let kid = bench.keys.public().as_jwks().keys[0].common.key_id.clone();
    let expected = json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"});
    assert_eq!(part(&bench.mint(&[]), 0), expected);
}

#[test]
fn the_claims_are_those_of_the_contract_and_no_more() {
    let bench = Bench::new();
    let now = bench.clock.now().as_second();
    let token = bench.mint(&[("ACCESS_TOKEN_SECONDS", "60"), ("CLIENT_ID", "another")]);
    let mut claims = part(&token, 1);
    let jti = claims["jti"].take();
    assert!(jti.as_str().unwrap().parse::<auth::TokenId>().is_ok());
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
        "amr": ["pwd"],
        "preferred_username": "Straße",
    });
    assert_eq!(claims, expected);
}

#[test]
fn every_token_is_another() {
    let bench = Bench::new();
    let jti = |_| part(&bench.mint(&[]), 1)["jti"].to_string();
    assert_eq!((0..100).map(jti).collect::<BTreeSet<_>>().len(), 100);
}

#[test]
fn the_randomness_is_the_one_passed_in() {
    let bench = Bench::new();
    let issuer = Issuer::new(config(&[]).unwrap(), &bench.keys);
    let mint = |seed| {
        let random = SeededRandom::new(seed);
        issuer.mint(bench.grant(), bench.clock.now(), &random).unwrap().into_token()
    };
    assert_eq!(mint(1), mint(1));
    assert_ne!(mint(1), mint(2));
}

#[tokio::test]
async fn the_first_key_of_a_set_signs_and_all_verify() {
    let bench = Bench::new();
    let other = SigningKeys::generate(&SystemRandom);
    let joined = |first: &SigningKeys, second: &SigningKeys| -> SigningKeys {
        let read = |keys: &SigningKeys| serde_json::from_str::<Value>(&keys.to_json()).unwrap();
        let keys = json!({"keys": [read(first)["keys"][0], read(second)["keys"][0]]});
        keys.to_string().parse().unwrap()
    };
    let (ours_first, other_first) = (joined(&bench.keys, &other), joined(&other, &bench.keys));
    let rules = TokenRules::new(ISSUER, AUDIENCE);
    let verifier =
        Verifier::new(rules, Forge::of(ours_first.clone()), Arc::new(bench.clock.clone()));
    let mut kids = BTreeSet::new();
    for keys in [ours_first, other_first] {
        let issuer = Issuer::new(config(&[]).unwrap(), &keys);
        let token = issuer.mint(bench.grant(), bench.clock.now(), &SystemRandom).unwrap();
        let token = token.into_token();
        kids.insert(part(&token, 0)["kid"].to_string());
        assert!(verifier.verify(&token).await.is_ok());
    }
    assert_eq!(kids.len(), 2);
}

#[test]
fn the_lifetime_is_bounded() {
    for good in ["1", "900", "3600"] {
        assert!(config(&[("ACCESS_TOKEN_SECONDS", good)]).is_ok(), "{good}");
    }
    for bad in ["0", "3601", "-1", "15m", "1e3", "900.5", "99999999999999999999"] {
        let error = config(&[("ACCESS_TOKEN_SECONDS", bad)]).unwrap_err().to_string();
        assert!(error.contains("ACCESS_TOKEN_SECONDS"), "{bad}: {error}");
        assert!(!error.contains(bad) || bad == "0", "values are not quoted: {error}");
    }
    let bench = Bench::new();
    let issuer = Issuer::new(config(&[]).unwrap(), &bench.keys);
    let minted = issuer.mint(bench.grant(), bench.clock.now(), &SystemRandom).unwrap();
    assert_eq!(minted.lifetime().as_secs(), 900);
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    let bad = [("ISSUER", ""), ("AUDIENCE", ""), ("ACCESS_TOKEN_SECONDS", "x")];
    let error = config(&bad).unwrap_err().to_string();
    for (name, _) in bad {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let bench = Bench::new();
    let issuer = Issuer::new(config(&[]).unwrap(), &bench.keys);
    let minted = issuer.mint(bench.grant(), bench.clock.now(), &SystemRandom).unwrap();
    let shown = format!("{minted:?} {issuer:?} {:?}", bench.keys);
    let private = serde_json::from_str::<Value>(&bench.keys.to_json()).unwrap();
    for secret in [minted.into_token().as_str(), private["keys"][0]["d"].as_str().unwrap()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_key_set_that_is_not_one_says_nothing_of_its_content() {
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
