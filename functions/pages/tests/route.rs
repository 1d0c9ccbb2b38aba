//! Tests `pages`, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pages::PagesRoute;
use process::Env;
use serde_json::Value;
use store::CODE_VALID_FOR;
use testkit::{event, events_of, header, load};
use web::{Service, World, answer};

/// The service needs no AWS variables, because the function uses no AWS service.
async fn open(settings: &[(&str, &str)]) -> Service<PagesRoute> {
    let env: Env = settings.iter().copied().collect();
    Service::<PagesRoute>::open(&env, &World::system()).await.unwrap()
}

/// The headers and the HTML of a page.
struct Answer {
    headers: BTreeMap<String, String>,
    html: String,
}

async fn get(service: &Service<PagesRoute>, request: Value) -> Answer {
    let answer = answer(service, event(request)).await;
    assert_eq!(answer.status_code, 200);
    let headers = answer.headers.iter();
    let text =
        |name: &str, value: &[u8]| (name.to_owned(), str::from_utf8(value).unwrap().to_owned());
    Answer {
        headers: headers.map(|(name, value)| text(name.as_str(), value.as_bytes())).collect(),
        html: str::from_utf8(&answer.body.unwrap()).unwrap().to_owned(),
    }
}

/// The HTML of a page for a browser with these languages.
async fn in_language(service: &Service<PagesRoute>, accepted: &str) -> String {
    get(service, header(load("pages"), "accept-language", accepted)).await.html
}

/// The text between the only occurrence of `start` and the next `end`.
fn between<'a>(html: &'a str, start: &str, end: &str) -> &'a str {
    let [_, rest]: [&str; 2] = html.split(start).collect::<Vec<_>>().try_into().unwrap();
    rest.split_once(end).unwrap().0
}

/// The policy permits exactly one script and one style, which are those of the page.
#[tokio::test]
async fn a_page_can_run_its_own_script_and_call_its_own_api_and_nothing_else() {
    let service = open(&[]).await;
    for (name, event) in events_of("pages") {
        let page = get(&service, event).await;
        let hash = |start: &str, end: &str| {
            STANDARD.encode(digest(&SHA256, between(&page.html, start, end).as_bytes()))
        };
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash("<script>", "</script>"),
            hash("<style>", "</style>"),
        );
        let request_id = page.headers["x-request-id"].clone();
        let expected = [
            ("cache-control", "no-store"),
            ("content-security-policy", &policy),
            ("content-type", "text/html; charset=utf-8"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-request-id", &request_id),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(page.headers, BTreeMap::from(expected), "{name}");
        for foreign in ["src=", "href=", "://", " style=", " onclick=", "@import", "url("] {
            assert!(!page.html.contains(foreign), "{name}: {foreign}");
        }
    }
}

/// Programs that scan emails follow links.
#[tokio::test]
async fn a_get_depends_on_nothing_in_the_url_and_only_the_script_posts_the_token() {
    let service = open(&[]).await;
    for (name, action) in [
        ("pages", "/auth/password/reset"),
        ("pages-verify-email", "/auth/email/verify"),
        ("pages-confirm-email", "/auth/email/verify"),
    ] {
        let page = get(&service, load(name)).await.html;
        assert_eq!(between(&page, "<form method=\"post\" action=\"", "\""), action);
        assert_eq!(page.contains("name=\"new_password\""), name == "pages", "{name}");
        let token = load(name)["queryStringParameters"]["token"].as_str().unwrap().to_owned();
        assert!(!page.contains(&token), "{name}");
        let mut without = load(name);
        without["rawQueryString"] = "token=%3Cb%3E&lang=de".into();
        assert_eq!(get(&service, without).await.html, page, "{name}");
    }
}

#[tokio::test]
async fn the_languages_of_the_browser_determine_the_language_of_the_page() {
    let service = open(&[]).await;
    for (accepted, language) in [
        ("de", "de"),
        ("DE-at-1996", "de"),
        ("fr-CA, de;q=0.3, en;q=0.2", "de"),
        ("en;q=0.5,de;q=0.9", "de"),
        ("de,en", "de"),
        ("en,de", "en"),
        ("de;q=0,en;q=0.1", "en"),
        ("de;q=0", "en"),
        ("de;q=NaN", "en"),
        ("de;level=1", "en"),
        ("deu", "en"),
        ("fr", "en"),
        ("*", "en"),
        ("", "en"),
        (",;,q=;-", "en"),
    ] {
        let page = in_language(&service, accepted).await;
        assert_eq!(between(&page, "<html lang=\"", "\""), language, "{accepted}");
        let title = between(&page, "<h1>", "</h1>");
        let expected =
            if language == "de" { "Neues Passwort festlegen" } else { "Set a new password" };
        assert_eq!(title, expected, "{accepted}");
    }
    let mut silent = load("pages");
    silent["headers"].as_object_mut().unwrap().remove("accept-language");
    assert!(get(&service, silent).await.html.contains("<html lang=\"en\" dir=\"ltr\">"));
}

#[tokio::test]
async fn the_settings_appear_on_the_page_and_are_escaped() {
    let page = in_language(&open(&[]).await, "en").await;
    assert!(page.contains("<title>Set a new password – Latchkey</title>"));
    assert!(page.contains("At least 8 characters"));
    let settings = [("PRODUCT_NAME", "<b>\"{min}&Söhne"), ("PASSWORD_MIN_CHARS", "15")];
    let page = in_language(&open(&settings).await, "en").await;
    let escaped = "&#60;b&#62;&#34;{min}&#38;Söhne";
    assert_eq!(between(&page, "<header>", "</header>"), escaped);
    assert!(page.contains(&format!("your account at {escaped}.")));
    assert!(!page.contains("<b>"));
    assert!(page.contains("At least 15 characters"));
}

/// Every member of a JSON value, as a path, with the placeholders in its text.
fn texts(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                texts(member, &format!("{path}/{name}"), found);
            }
        }
        text => {
            let text = text.as_str().unwrap();
            assert!(!text.trim().is_empty(), "{path}");
            let placeholders = ["{product}", "{min}"].into_iter().filter(|it| text.contains(it));
            found.insert(path.to_owned(), placeholders.collect());
        }
    }
}

#[tokio::test]
async fn every_language_has_every_text() {
    let service = open(&[]).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("texts");
    let read = |path: &Path| {
        let mut found = BTreeMap::new();
        let json = std::fs::read_to_string(path).unwrap();
        texts(&serde_json::from_str(&json).unwrap(), "", &mut found);
        found
    };
    let english = read(&folder.join("en.json"));
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let is_text = |path: &Path| path.extension().is_some_and(|it| it == "json");
    let is_hidden = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with('.');
    for path in files.filter(|path| is_text(path) && !is_hidden(path)) {
        assert_eq!(read(&path), english, "{}", path.display());
        let language = path.file_stem().unwrap().to_str().unwrap();
        let page = in_language(&service, language).await;
        assert_eq!(between(&page, "<html lang=\"", "\""), language);
        // The outcomes that the script shows, and the codes of the problems that users can solve.
        for code in [
            "done",
            "invalid_code",
            "already_exists",
            "too_many_attempts",
            "too_short",
            "too_long",
            "too_common",
            "breached_password",
            "matches_username",
            "matches_email",
            "other",
        ] {
            assert!(page.contains(&format!("<p data-code=\"{code}\">")), "{language}: {code}");
        }
        // The texts contain the number, because this function does not link `store`.
        let minutes = format!(" {} ", CODE_VALID_FOR.as_mins());
        for (name, event) in events_of("pages") {
            let page = get(&service, header(event, "accept-language", language)).await.html;
            let invalid = between(&page, "<p data-code=\"invalid_code\">", "</p>");
            assert!(invalid.contains(&minutes), "{language}: {name}: {invalid}");
        }
    }
}

/// The pages must show no minimum that the functions that set passwords refuse, and no name that `mailer` refuses.
#[test]
fn the_settings_have_the_rules_of_the_functions_that_they_describe() {
    let (longest, too_long) = ("ö".repeat(60), "x".repeat(61));
    for (name, value, is_allowed) in [
        ("PRODUCT_NAME", "", true),
        ("PRODUCT_NAME", &longest, true),
        ("PRODUCT_NAME", &too_long, false),
        ("PRODUCT_NAME", "Example\nBcc: a@example.com", false),
        ("PRODUCT_NAME", "Example\u{7f}", false),
        ("PASSWORD_MIN_CHARS", "", true),
        ("PASSWORD_MIN_CHARS", "8", true),
        ("PASSWORD_MIN_CHARS", "64", true),
        ("PASSWORD_MIN_CHARS", "0", false),
        ("PASSWORD_MIN_CHARS", "7", false),
        ("PASSWORD_MIN_CHARS", "65", false),
        ("PASSWORD_MIN_CHARS", "70000", false),
        ("PASSWORD_MIN_CHARS", "-8", false),
        ("PASSWORD_MIN_CHARS", "many", false),
    ] {
        let env = Env::from_iter([
            ("MAIL_FROM", "no-reply@example.com"),
            ("MAIL_LINK_BASE", "https://example.com"),
            ("MAIL_TRANSPORT", "file:outbox"),
            (name, value),
        ]);
        let error = env.settings::<pages::Config>().err().map(|error| error.to_string());
        let others = env.settings::<(mail::Config, passwords::Policy)>();
        assert_eq!(error, others.err().map(|error| error.to_string()), "{name}={value:?}");
        assert_eq!(error.is_none(), is_allowed, "{name}={value:?}");
    }
}

#[tokio::test]
async fn an_invalid_setting_is_reported() {
    let env = Env::from_iter([("PASSWORD_MIN_CHARS", "many")]);
    let error = Service::<PagesRoute>::open(&env, &World::system()).await.err().unwrap();
    assert!(error.to_string().contains("PASSWORD_MIN_CHARS is invalid"), "{error}");
}
