//! Tests the verifier with valid tokens and every kind of invalid token.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use auth::{Audience, Refusal, TokenError, TokenRules, Verifier};
use identity::{Acr, Admin, Anyone, Role, Roles, SuperAdmin, User};
use jiff::SignedDuration;
use process::Clock;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::{AUDIENCE, Forge, ISSUER, TestClock, encode, encode_json};

struct Bench {
    forge: Forge,
    clock: TestClock,
    verifier: Verifier<Forge>,
    claims: Value,
}

fn bench() -> Bench {
    let forge = Forge::new();
    let clock = TestClock::default();
    let rules = TokenRules::new(ISSUER, AUDIENCE);
    let verifier = Verifier::new(rules, forge.clone(), Arc::new(clock.clone()));
    let claims = Forge::claims(clock.now(), &Roles::from_iter([Role::User]));
    Bench { forge, clock, verifier, claims }
}

impl Bench {
    fn verify(&self, token: &str) -> Result<auth::Claims, TokenError> {
        block_on(self.verifier.verify(token))
    }

    fn good(&self) -> String {
        self.forge.sign(&self.forge.header(), &self.claims)
    }

    /// Verifies a token with one header parameter changed.
    fn header(&self, name: &str, value: Value) -> Result<auth::Claims, TokenError> {
        self.verify(&self.forge.with_header(&self.claims, name, value))
    }

    /// Verifies a token with one claim changed.
    fn claim(&self, name: &str, value: Value) -> Result<auth::Claims, TokenError> {
        self.verify(&self.forge.with_claim(&self.claims, name, value))
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_valid_token_yields_its_claims() {
    let bench = bench();
    let claims = bench.verify(&bench.good()).unwrap();
    assert_eq!(serde_json::to_value(claims).unwrap(), bench.claims);
}

#[test]
fn every_bad_token_is_refused() {
    let bench = bench();
    let bad = bench.forge.bad_tokens(&bench.claims, bench.clock.now());
    assert!(bad.len() > 100, "{}", bad.len());
    for bad in bad {
        assert!(bench.verify(&bad.token).is_err(), "{}: {}", bad.fault, bad.token);
    }
}

#[test]
fn the_key_determines_the_algorithm() {
    for alg in ["none", "HS256", "EdDSA", "RS256", "ES384", "es256"] {
        assert_eq!(bench().header("alg", json!(alg)), Err(TokenError::Algorithm), "{alg}");
    }
}

#[test]
fn kid_must_name_a_known_key() {
    assert_eq!(bench().header("kid", json!("unknown")), Err(TokenError::UnknownKey));
    assert_eq!(bench().header("kid", Value::Null), Err(TokenError::Malformed));
}

#[test]
fn typ_must_be_at_jwt() {
    assert_eq!(bench().header("typ", json!("JWT")), Err(TokenError::Type));
    assert_eq!(bench().header("typ", Value::Null), Err(TokenError::Malformed));
}

#[test]
fn every_crit_header_is_refused() {
    let bench = bench();
    assert_eq!(bench.header("crit", json!(["exp"])), Err(TokenError::Critical));
    assert_eq!(bench.header("crit", json!([])), Err(TokenError::Critical));
    let null = bench.forge.header().to_string().replacen('{', r#"{"crit":null,"#, 1);
    let token = bench.forge.sign_parts(&encode(null), &encode_json(&bench.claims));
    assert_eq!(bench.verify(&token), Err(TokenError::Critical));
}

#[test]
fn a_key_in_the_header_is_ignored() {
    let bench = bench();
    for name in ["jwk", "jku", "x5u", "x5c"] {
        assert!(bench.header(name, json!("http://127.0.0.1:1/")).is_ok(), "{name} must be ignored");
    }
}

#[test]
fn the_issuer_must_match_exactly() {
    assert_eq!(bench().claim("iss", json!(format!("{ISSUER}/"))), Err(TokenError::Issuer));
    assert_eq!(bench().claim("iss", json!([ISSUER])), Err(TokenError::Claims));
}

#[test]
fn the_token_must_name_the_audience() {
    assert_eq!(bench().claim("aud", json!("other")), Err(TokenError::Audience));
    assert_eq!(bench().claim("aud", json!([])), Err(TokenError::Audience));
    let several = bench().claim("aud", json!(["other", AUDIENCE])).unwrap();
    assert_eq!(several.aud, Audience::Many(vec!["other".to_owned(), AUDIENCE.to_owned()]));
}

#[test]
fn expiry_has_a_leeway_of_thirty_seconds() {
    let bench = bench();
    let now = bench.now();
    assert!(bench.claim("exp", json!(now - 29)).is_ok());
    assert_eq!(bench.claim("exp", json!(now - 30)), Err(TokenError::Expired));
    assert_eq!(bench.claim("exp", json!(i64::MIN)), Err(TokenError::Expired));
    assert!(bench.claim("exp", json!(i64::MAX)).is_ok());
    let good = bench.good();
    bench.clock.advance(SignedDuration::from_secs(900 + 29));
    assert!(bench.verify(&good).is_ok());
    bench.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(bench.verify(&good), Err(TokenError::Expired));
}

#[test]
fn times_in_the_future_are_refused() {
    let bench = bench();
    let now = bench.now();
    assert!(bench.claim("nbf", json!(now + 30)).is_ok());
    assert_eq!(bench.claim("nbf", json!(now + 31)), Err(TokenError::NotYetValid));
    assert!(bench.claim("iat", json!(now + 30)).is_ok());
    assert_eq!(bench.claim("iat", json!(now + 31)), Err(TokenError::IssuedInTheFuture));
    assert_eq!(bench.claim("auth_time", json!(now + 31)), Err(TokenError::IssuedInTheFuture));
}

#[test]
fn every_claim_except_acr_is_required() {
    let bench = bench();
    // Tokens of earlier versions lack `acr`. The verifier assumes the lowest level.
    let without_acr = bench.forge.with_claim(&bench.claims, "acr", Value::Null);
    assert_eq!(bench.verify(&without_acr).unwrap().acr, Acr::One);
    for name in bench.claims.as_object().unwrap().keys().filter(|name| *name != "acr") {
        assert_eq!(bench.claim(name, Value::Null), Err(TokenError::Claims), "{name}");
    }
}

#[test]
fn claims_must_have_the_right_types() {
    for (name, value) in [
        ("sub", json!("testuser")),
        ("sid", json!(1)),
        ("ver", json!(-1)),
        ("roles", json!(["root"])),
        ("acr", json!("3")),
        ("acr", json!(1)),
        ("amr", json!([])),
        ("amr", json!("pwd")),
        ("exp", json!("1")),
        ("exp", json!(1e300)),
    ] {
        assert_eq!(bench().claim(name, value), Err(TokenError::Claims), "{name}");
    }
}

#[test]
fn an_overlong_token_is_refused() {
    let bench = bench();
    let long = "a".repeat(auth::MAX_TOKEN_BYTES + 1);
    assert_eq!(bench.verify(&long), Err(TokenError::TooLong));
    assert_eq!(
        bench.claim("preferred_username", json!("a".repeat(4096))),
        Err(TokenError::TooLong)
    );
}

#[test]
fn changing_any_bit_invalidates_a_token() {
    let bench = bench();
    let good = bench.good();
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let token = String::from_utf8(bytes).unwrap();
            assert!(bench.verify(&token).is_err(), "bit {bit} of byte {at}");
        }
    }
    for length in 0..good.len() {
        assert!(bench.verify(&good[..length]).is_err(), "truncated to {length} bytes");
    }
}

#[test]
fn only_the_required_role_admits_a_caller() {
    let bench = bench();
    let token = bench.forge.with_claim(&bench.claims, "roles", json!(["admin"]));
    assert!(block_on(bench.verifier.admit::<Anyone>(&token)).is_ok());
    assert!(block_on(bench.verifier.admit::<Admin>(&token)).is_ok());
    let missing = |refusal: Refusal| match refusal {
        Refusal::RoleMissing(role) => role,
        other => panic!("{other}"),
    };
    let user = block_on(bench.verifier.admit::<User>(&token)).map_err(missing);
    assert_eq!(user.unwrap_err(), Role::User);
    let super_admin = block_on(bench.verifier.admit::<SuperAdmin>(&token)).map_err(missing);
    assert_eq!(super_admin.unwrap_err(), Role::SuperAdmin);
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused(token in ".{0,300}") {
        prop_assert!(bench().verify(&token).is_err());
    }

    #[test]
    fn arbitrary_parts_are_refused(header in any::<Vec<u8>>(), payload in any::<Vec<u8>>()) {
        let bench = bench();
        let token = bench.forge.sign_parts(&encode(header), &encode(payload));
        prop_assert!(bench.verify(&token).is_err());
    }

    #[test]
    fn claims_round_trip(name in ".{0,40}", ver in any::<u64>(), admin in any::<bool>()) {
        let bench = bench();
        let mut claims = bench.claims.clone();
        claims["preferred_username"] = json!(name);
        claims["ver"] = json!(ver);
        claims["roles"] = if admin { json!(["user", "admin"]) } else { json!([]) };
        let token = bench.forge.sign(&bench.forge.header(), &claims);
        prop_assert_eq!(serde_json::to_value(bench.verify(&token).unwrap()).unwrap(), claims);
    }
}
