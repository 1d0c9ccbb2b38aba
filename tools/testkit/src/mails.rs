//! Reads the emails that the mailer has written to a folder.

use std::path::Path;

use lambda::{EventHandler, World, open_handler};
use mail_parser::MessageParser;
use serde_json::json;

use crate::Stack;

/// An email as its recipient reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The email's id, which is also the name of its file.
    pub id: String,
    /// The recipient's address.
    pub to: String,
    /// The sender's address.
    pub from: String,
    /// The subject line.
    pub subject: String,
    /// The plain-text body.
    pub text: String,
    /// The HTML body.
    pub html: String,
}

impl Received {
    fn of(id: String, bytes: &[u8]) -> Self {
        let message = MessageParser::default().parse(bytes).expect("an email");
        let address = |addresses: Option<&mail_parser::Address<'_>>| {
            let address = addresses.and_then(|addresses| addresses.first()).expect("an address");
            address.address().expect("an address").to_owned()
        };
        Self {
            id,
            to: address(message.to()),
            from: address(message.from()),
            subject: message.subject().expect("a subject").to_owned(),
            text: message.body_text(0).expect("a plain-text body").into_owned(),
            html: message.body_html(0).expect("an HTML body").into_owned(),
        }
    }

    /// The link in the text, if the email has one.
    ///
    /// # Panics
    /// When the HTML does not contain the same link.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        let link = self.text.lines().find(|line| line.starts_with("http"))?.trim();
        assert!(self.html.contains(&format!("href=\"{link}\"")), "{}", self.html);
        Some(link)
    }

    /// The token in the link, if the email has one.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.link()?.split_once("?token=").map(|(_, token)| token)
    }

    /// The eight-digit code, if the email has one.
    #[must_use]
    pub fn digits(&self) -> Option<&str> {
        let is_code = |line: &&str| line.len() == 8 && line.bytes().all(|b| b.is_ascii_digit());
        self.text.lines().map(str::trim).find(is_code)
    }
}

/// Runs the mailer `H` on all requested emails. Returns all emails that have been sent so far.
///
/// # Panics
/// When the mailer does not start, or an email cannot be sent.
pub async fn deliver<H: EventHandler>(stack: &Stack) -> Vec<Received> {
    let mailer =
        Box::pin(open_handler::<H>(&stack.env(), &World::system())).await.expect("a mailer");
    let event = serde_json::from_value(stack.mailer_event()).expect("an event");
    let answer = Box::pin(mailer.handle(event)).await.expect("an answer");
    let failures = serde_json::to_value(answer).expect("the answer is JSON");
    assert_eq!(failures, json!({"batchItemFailures": []}));
    stack.mails()
}

/// The emails in a folder, in the order of their requests; empty if the folder does not exist.
///
/// # Panics
/// When a file is not an email.
#[must_use]
pub fn mails_in(folder: &Path) -> Vec<Received> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut mails: Vec<_> = entries
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter_map(|path| {
            let id = path.file_name()?.to_str()?.strip_suffix(".eml")?.to_owned();
            Some(Received::of(id, &std::fs::read(&path).expect("a file")))
        })
        .collect();
    // Ids sort by the time of their creation.
    mails.sort_by(|a, b| a.id.cmp(&b.id));
    mails
}
