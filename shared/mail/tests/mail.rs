//! Sends emails to a folder and to an emulated SES, and reads them there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use identity::{Email, MailId};
use jiff::Timestamp;
use mail::{CodeContent, Config, Letter, MailError, Mailer, NoticeContent};
use process::{Clock, Env, Fault, FaultKind, SystemClock, SystemRandom};
use proptest::strategy::{Strategy as _, ValueTree as _};
use testkit::{EmailService, Received, mails_in};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const AWS: [(&str, &str); 3] = [
    ("AWS_REGION", "us-east-1"),
    ("AWS_ACCESS_KEY_ID", "local"),
    ("AWS_SECRET_ACCESS_KEY", "local"),
];

const FROM: &str = "no-reply@example.com";

fn config(settings: &[(&str, &str)]) -> Result<Config, String> {
    let defaults = [("MAIL_FROM", FROM), ("MAIL_LINK_BASE", "https://app.example.com/account/")];
    let variables = AWS.iter().chain(&defaults).chain(settings).copied();
    let env: Env = variables.collect();
    env.settings::<Config>().map_err(|error| error.to_string())
}

fn recipient() -> Email {
    Email::parse("rosa@example.com").unwrap()
}

fn time() -> Timestamp {
    "2026-03-12T19:03:58Z".parse().unwrap()
}

/// A folder for emails, and a mailer that writes to it.
struct Folder {
    path: PathBuf,
    mailer: Mailer,
}

impl Folder {
    fn new(name: &str, settings: &[(&str, &str)]) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        let place = format!("file:{}", path.display());
        let settings = [settings, &[("MAIL_TRANSPORT", place.as_str())]].concat();
        Self { path, mailer: Mailer::connect(&config(&settings).unwrap()) }
    }

    async fn send_and_read(&self, letter: &Letter<'_>) -> Received {
        let id = MailId::new(SystemClock.now(), &SystemRandom);
        self.mailer.send(id, &recipient(), letter, time()).await.unwrap();
        let mails = mails_in(&self.path);
        mails.into_iter().find(|mail| mail.id == id.to_string()).unwrap()
    }
}

fn letters(username: &str) -> Vec<Letter<'_>> {
    let code = || CodeContent { token: "p.id.mac", digits: "01234567", minutes: 10 };
    let notice = || NoticeContent { username, time: time() };
    vec![
        Letter::PasswordReset { username: Some(username), code: code() },
        Letter::EmailVerification(code()),
        Letter::EmailChange(code()),
        Letter::AddressTaken(notice()),
        Letter::PasswordChanged(notice()),
        Letter::EmailChangeRequested(notice()),
        Letter::EmailChanged(notice()),
        Letter::SessionReused(notice()),
        Letter::NewNetwork(notice()),
    ]
}

#[tokio::test]
async fn every_email_matches_its_snapshot() {
    let folder = Folder::new("every-letter", &[("PRODUCT_NAME", "Example & Söhne")]);
    for letter in letters("Rosa") {
        let mail = folder.send_and_read(&letter).await;
        assert_eq!((mail.from.as_str(), mail.to.as_str()), (FROM, "rosa@example.com"));
        let Received { subject, text, html, .. } = mail;
        insta::assert_snapshot!(letter.name(), format!("{subject}\n\n{text}\n-----\n{html}"));
    }
}

/// A stranger may have chosen the username, and mail programs turn some text into links.
#[tokio::test]
async fn a_name_that_could_become_a_link_is_omitted() {
    let folder = Folder::new("a-name", &[]);
    for username in
        ["https://evil.example/win-500", "evil.example", "<b>\"&{{ product }}", "18005551234"]
    {
        for letter in letters(username) {
            let mail = folder.send_and_read(&letter).await;
            assert!(mail.text.starts_with("Hello,"), "{}", mail.text);
            for part in ["evil", "<b>", "&lt;b", "1800"] {
                assert!(!mail.text.contains(part) && !mail.html.contains(part), "{}", mail.html);
            }
        }
    }
    for letter in letters("Rosa-1") {
        let mail = folder.send_and_read(&letter).await;
        // An email that confirms an address never contains a name.
        let greeting = match letter {
            Letter::EmailVerification(_) | Letter::EmailChange(_) => "Hello,",
            _ => "Hello Rosa-1,",
        };
        assert!(mail.text.starts_with(greeting), "{}", mail.text);
        assert!(mail.html.contains(&format!("<p>{greeting}</p>")), "{}", mail.html);
    }
}

/// Automatic responders must not reply (RFC 3834).
#[tokio::test]
async fn an_email_is_marked_as_automatic() {
    let folder = Folder::new("auto-submitted", &[]);
    for letter in letters("Rosa") {
        let mail = folder.send_and_read(&letter).await;
        let file = folder.path.join(format!("{}.eml", mail.id));
        let file = std::fs::read_to_string(file).unwrap();
        assert_eq!(file.matches("\r\nAuto-Submitted: auto-generated\r\n").count(), 1, "{file}");
    }
}

#[tokio::test]
async fn every_link_begins_with_the_configured_base() {
    for (base, expected) in [
        ("https://app.example.com", "https://app.example.com/reset-password?token=p.id.mac"),
        ("https://app.example.com/#/a/", ""),
        ("http://127.0.0.1:9000/a/", "http://127.0.0.1:9000/a/reset-password?token=p.id.mac"),
        ("http://app.example.com", ""),
        ("https://a@app.example.com", ""),
        ("javascript:alert(1)", ""),
        ("//app.example.com", ""),
        ("app.example.com", ""),
    ] {
        if expected.is_empty() {
            let refused = config(&[("MAIL_LINK_BASE", base)]).unwrap_err();
            assert!(refused.contains("MAIL_LINK_BASE is invalid"), "{base}: {refused}");
            continue;
        }
        let folder = Folder::new("a-link", &[("MAIL_LINK_BASE", base)]);
        let letter = letters("Rosa").swap_remove(0);
        assert_eq!(folder.send_and_read(&letter).await.link(), Some(expected));
    }
}

#[test]
fn invalid_settings_are_reported() {
    for (name, value) in [
        ("MAIL_FROM", "Example <no-reply@example.com>"),
        ("MAIL_FROM", "no-reply@example.com\r\nBcc: a@example.com"),
        ("MAIL_TRANSPORT", "smtp"),
        ("MAIL_TRANSPORT", "file:"),
        ("PRODUCT_NAME", "Example\r\nBcc: a@example.com"),
        ("PRODUCT_NAME", &"x".repeat(61)),
    ] {
        let refused = config(&[(name, value)]).unwrap_err();
        assert!(refused.contains(&format!("{name} is invalid")), "{value}: {refused}");
    }
}

#[tokio::test]
async fn every_part_names_its_charset_once() {
    let folder = Folder::new("charset", &[]);
    for letter in letters("Rosa") {
        let mail = folder.send_and_read(&letter).await;
        let path = folder.path.join(format!("{}.eml", mail.id));
        let message = std::fs::read_to_string(path).unwrap().replace("\r\n", "\n");
        for kind in ["text/plain", "text/html"] {
            let header = format!("Content-Type: {kind}; charset=");
            let (_, value) = message.split_once(&header).unwrap();
            assert_eq!(value.lines().next().map(|value| value.trim_matches('"')), Some("utf-8"));
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_an_email_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("for-its-owner", &[]);
    let mail = folder.send_and_read(&letters("Rosa").swap_remove(0)).await;
    let file = std::fs::metadata(folder.path.join(format!("{}.eml", mail.id))).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

/// Captures the body of the request that asks SES to send an email.
async fn request_to_ses(to: &Email) -> serde_json::Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mailer = Mailer::connect(&config(&[("AWS_ENDPOINT_URL_SESV2", &url)]).unwrap());
    let ses = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            assert_ne!(
                stream.read_buf(&mut request).await.unwrap(),
                0,
                "the request must be complete"
            );
            let text = str::from_utf8(&request).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() == length {
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                    content-length: 17\r\nconnection: close\r\n\r\n{\"MessageId\":\"1\"}";
                stream.write_all(answer.as_bytes()).await.unwrap();
                return serde_json::from_str(body).unwrap();
            }
        }
    };
    let id = MailId::new(SystemClock.now(), &SystemRandom);
    let letter = letters("Rosa").swap_remove(0);
    let (request, sent) = tokio::join!(ses, mailer.send(id, to, &letter, time()));
    sent.unwrap();
    request
}

#[tokio::test]
async fn an_email_through_ses_is_marked_as_automatic() {
    let request = request_to_ses(&recipient()).await;
    let expected = serde_json::json!([{"Name": "Auto-Submitted", "Value": "auto-generated"}]);
    assert_eq!(request["Content"]["Simple"]["Headers"], expected, "{request}");
    assert_eq!(request["Destination"]["ToAddresses"], serde_json::json!(["rosa@example.com"]));
}

#[tokio::test]
async fn end_to_end_ses_sends_an_email() {
    let service = EmailService::start(FROM).await;
    let settings =
        [("AWS_ENDPOINT_URL_SESV2", service.url()), ("PRODUCT_NAME", "Example \"& Söhne")];
    let mailer = Mailer::connect(&config(&settings).unwrap());
    let id = MailId::new(SystemClock.now(), &SystemRandom);
    let letter = letters("Rosa").swap_remove(0);
    mailer.send(id, &recipient(), &letter, time()).await.unwrap();

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = client.get(service.messages()).send().await.unwrap();
    let sent: serde_json::Value = sent.json().await.unwrap();
    let accounts: Vec<_> = sent["messages"].as_object().unwrap().values().collect();
    let [account] = accounts.as_slice() else { panic!("{sent}") };
    let [message] = account.as_array().unwrap().as_slice() else { panic!("{sent}") };
    assert_eq!(message["To"], serde_json::json!(["rosa@example.com"]));
    assert!(message["Source"].as_str().unwrap().ends_with(&format!("<{FROM}>")), "{message}");
    assert_eq!(message["Subject"], "Example \"& Söhne: set a new password");
    let whole = message.to_string();
    for part in ["01234567", "reset-password?token=p.id.mac"] {
        assert!(whole.contains(part), "{whole}");
    }

    // SES never sends an email from an unverified identity, so retrying is useless.
    let settings = [("AWS_ENDPOINT_URL_SESV2", service.url()), ("MAIL_FROM", "a@example.org")];
    let unverified = Mailer::connect(&config(&settings).unwrap());
    let refused = unverified.send(id, &recipient(), &letter, time()).await.unwrap_err();
    assert!(matches!(refused, MailError::Refused(_)), "{refused:?}");
    // The error message from SES contains the address, which must not be logged.
    let shown = format!("{refused} {refused:?}");
    assert!(shown.contains("MessageRejected") && !shown.contains('@'), "{shown}");

    // SES is unreachable, so a later attempt may succeed.
    let settings = [("AWS_ENDPOINT_URL_SESV2", "http://127.0.0.1:1")];
    let offline = Mailer::connect(&config(&settings).unwrap());
    let offline = offline.send(id, &recipient(), &letter, time()).await.unwrap_err();
    assert_eq!(offline.kind(), FaultKind::Unavailable);
}

/// A mail server without SMTPUTF8, such as SES, accepts a domain only in ASCII (A-labels).
#[tokio::test]
async fn domains_are_sent_in_ascii_form() {
    let folder = Folder::new("a-labels", &[("MAIL_FROM", "no-reply@straße.example")]);
    let id = MailId::new(SystemClock.now(), &SystemRandom);
    let letter = &letters("Rosa")[0];
    let address = Email::parse("Rosa@Bücher.example").unwrap();
    folder.mailer.send(id, &address, letter, time()).await.unwrap();
    let [mail] = mails_in(&folder.path).try_into().unwrap();
    assert_eq!(mail.to, "Rosa@xn--bcher-kva.example");
    assert_eq!(mail.from, "no-reply@xn--strae-oqa.example");
}

/// The mailer's role may send only from `MailFrom`, and IAM compares addresses exactly.
#[test]
fn the_template_accepts_a_sender_only_in_the_form_sent_to_ses() {
    let template = include_str!("../../../template.yaml");
    let parameter = template.split("\n  MailFrom:\n").nth(1).unwrap();
    let pattern = parameter.lines().find_map(|line| line.trim().strip_prefix("AllowedPattern: "));
    let pattern = pattern.unwrap().strip_prefix("^(").unwrap().strip_suffix(")?$").unwrap();
    let (local, domain) = pattern.split_once('@').unwrap();
    // Short random parts are more likely to form a valid address.
    let pattern = format!(
        "{}{{1,4}}@{}{{1,4}}\\.[a-z]{{2}}",
        local.trim_end_matches('+'),
        domain.trim_end_matches('+')
    );
    let senders = proptest::string::string_regex(&pattern).unwrap();
    let mut addresses = 0;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..2_000 {
        let sender = senders.new_tree(&mut runner).unwrap().current();
        if let Ok(address) = Email::parse(&sender) {
            addresses += 1;
            assert_eq!(address.deliverable(), sender);
        }
    }
    assert!(addresses > 100, "{addresses}");
}
