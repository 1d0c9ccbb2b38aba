//! Tests `mailer` against an embedded DynamoDB, from the stream's event to the email.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Once;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use identity::{Account, CanonicalName, Email, MailId, MailedFor, Role, UserId};
use jiff::{SignedDuration, Timestamp};
use lambda::{EventHandler, World, open_handler};
use mailer::MailerFunction;
use process::{Clock, Env, Metric, SystemClock, SystemRandom};
use serde_json::{Value, json};
use store::{
    CODE_VALID_FOR, Codes, DigitsOf, Epochs, Mail, NewMail, Notice, Outbox, Redeemed, Verifications,
};
use testkit::{Fault, Interceptor, LINK_BASE, NewUser, Received, Stack, load};

thread_local! {
    /// The log of this thread. Each test runs on one thread.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the log of this thread.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Installs the log for all threads. `tracing` caches whether anything records an event, so a test without a log
/// could silence the log of another test.
fn install_log() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| Log).init();
    });
}

/// How many times this thread has logged a metric.
fn measured(metric: Metric) -> usize {
    let log = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["metric"] == metric.name()).count()
}

struct Bench {
    stack: Stack,
    mailer: MailerFunction,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        install_log();
        let stack = Stack::start().await;
        let mailer =
            Box::pin(open_handler::<MailerFunction>(&stack.env_with(settings), &World::system()))
                .await
                .unwrap();
        let email = Some("Owner@example.com");
        let user = NewUser { username: "Owner", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        let account = stack.confirm(&account).await;
        Self { stack, mailer, account }
    }

    /// Requests an email, and returns its id.
    async fn ask(&self, mail: Mail) -> MailId {
        self.ask_at(mail, SystemClock.now()).await
    }

    async fn ask_at(&self, mail: Mail, asked_at: Timestamp) -> MailId {
        let id = MailId::new(asked_at, &SystemRandom);
        let outbox = Outbox::new(&self.stack.users(), self.stack.client());
        outbox.put(&[NewMail { id, mail, asked_at }]).await.unwrap();
        id
    }

    /// Passes all records of the stream to `mailer`, including records from earlier calls. Returns the failures.
    async fn deliver(&self, mailer: &MailerFunction) -> Value {
        let event = serde_json::from_value(self.stack.mailer_event()).unwrap();
        serde_json::to_value(mailer.handle(event).await.unwrap()).unwrap()["batchItemFailures"]
            .take()
    }

    /// Runs the mailer until no email is waiting. Returns all emails that have been sent so far.
    async fn run(&self) -> Vec<Received> {
        assert_eq!(self.deliver(&self.mailer).await, json!([]));
        assert_eq!(self.waiting().await, 0, "the outbox is empty");
        self.stack.mails()
    }

    /// The number of emails that are still to be sent.
    async fn waiting(&self) -> usize {
        let items = self.stack.items().await;
        items.iter().filter(|item| item["sk"].as_s().unwrap() == "MAIL").count()
    }

    fn verification(&self, spelled: &str) -> Mail {
        let (user_id, epoch) = (self.account.id, self.account.epoch);
        Mail::EmailVerification { user_id, epoch, address: address(spelled) }
    }

    fn notice(&self, notice: Notice) -> Mail {
        Mail::Notice { user_id: self.account.id, notice, address: None }
    }

    fn codes(&self) -> Codes {
        Codes::new(&self.stack.users(), self.stack.client())
    }

    async fn find(&self, purpose: MailedFor, id: MailId) -> bool {
        self.codes().find(purpose, id, SystemClock.now()).await.unwrap().is_some()
    }
}

fn reset(spelled: &str) -> Mail {
    Mail::PasswordReset { address: address(spelled) }
}

fn address(text: &str) -> Email {
    Email::parse(text).unwrap()
}

fn canonical_name(text: &str) -> CanonicalName {
    address(text).canonical().clone()
}

const ALL_NOTICES: [Notice; 5] = [
    Notice::PasswordChanged,
    Notice::EmailChangeRequested,
    Notice::EmailChanged,
    Notice::SessionReused,
    Notice::NewNetwork,
];

const RESET: MailedFor = MailedFor::PasswordReset;
const VERIFY: MailedFor = MailedFor::EmailVerification;

#[tokio::test]
async fn the_event_file_is_handled() {
    let bench = Bench::start().await;
    let event = serde_json::from_value(load("mailer")).unwrap();
    let answer = bench.mailer.handle(event).await.unwrap();
    assert_eq!(serde_json::to_value(answer).unwrap(), json!({"batchItemFailures": []}));
    assert!(bench.stack.mails().is_empty(), "the event refers to no stored item");
}

#[tokio::test]
async fn a_reset_goes_to_the_address_as_its_owner_spelled_it() {
    let bench = Bench::start().await;
    let id = bench.ask(reset("OWNER@EXAMPLE.COM")).await;
    let mails = bench.run().await;
    let [mail] = mails.as_slice() else { panic!("expected one email") };
    assert_eq!((mail.id.clone(), mail.to.as_str()), (id.to_string(), "Owner@example.com"));
    assert_eq!(mail.from, "no-reply@example.com");
    assert_eq!(mail.subject, "Latchkey: set a new password");
    assert!(mail.text.starts_with("Hello Owner,"));
    let peppers = bench.stack.peppers();
    assert!(mail.link().unwrap().starts_with(&format!("{LINK_BASE}/reset-password?token=")));
    assert_eq!(peppers.mail_of_token(RESET, mail.token().unwrap()), Some(id));
    let owner = canonical_name("owner@example.com");
    let tried = bench.codes().try_digits(DigitsOf::Reset(&owner), SystemClock.now()).await;
    let tried = tried.unwrap().unwrap();
    assert_eq!(tried.mail(), id);
    assert!(peppers.are_digits_of(RESET, id, tried.pepper(), mail.digits().unwrap()));
    assert!(bench.find(RESET, id).await && !bench.find(VERIFY, id).await);
}

#[tokio::test]
async fn an_unknown_address_gets_no_mail_and_leaves_no_item() {
    let bench = Bench::start().await;
    let before = bench.stack.items().await.len();
    bench.ask(reset("nobody@example.com")).await;
    assert_eq!(bench.run().await, []);
    assert_eq!(bench.stack.items().await.len(), before);
    // A disabled account gets no email either.
    bench.stack.disable(bench.account.id).await;
    bench.ask(reset("owner@example.com")).await;
    bench.ask(bench.verification("new@example.com")).await;
    assert_eq!(bench.run().await, []);
    assert_eq!(bench.stack.items().await.len(), before);
}

#[tokio::test]
async fn a_verification_goes_to_the_new_address() {
    let bench = Bench::start().await;
    let id = bench.ask(bench.verification("New@example.com")).await;
    let mails = bench.run().await;
    let [mail] = mails.as_slice() else { panic!("expected one email") };
    assert_eq!(mail.to, "New@example.com");
    // The page tells the user that this address replaces another one.
    assert!(mail.link().unwrap().starts_with(&format!("{LINK_BASE}/confirm-email?token=")));
    assert_eq!(mail.subject, "Latchkey: confirm your new email address");
    assert_eq!(bench.stack.peppers().mail_of_token(VERIFY, mail.token().unwrap()), Some(id));
    assert!(mail.digits().is_some());
    let (code, account) = bench.codes().find(VERIFY, id, SystemClock.now()).await.unwrap().unwrap();
    assert_eq!((code.address.as_str(), account.id), ("New@example.com", bench.account.id));
}

#[tokio::test]
async fn the_address_of_the_account_is_confirmed_and_not_replaced() {
    let bench = Bench::start().await;
    let user = NewUser { username: "nowhere", email: None, roles: &[Role::User] };
    let nowhere = bench.stack.user(user).await;
    let first = Mail::EmailVerification {
        user_id: nowhere.id,
        epoch: nowhere.epoch,
        address: address("first@example.com"),
    };
    for (mail, to) in [
        (bench.verification("OWNER@example.com"), "OWNER@example.com"),
        (first, "first@example.com"),
    ] {
        bench.ask(mail).await;
        let mails = bench.run().await;
        let mail = mails.iter().find(|mail| mail.to == to).unwrap();
        assert!(mail.link().unwrap().starts_with(&format!("{LINK_BASE}/verify-email?token=")));
        assert_eq!(mail.subject, "Latchkey: confirm your email address");
    }
}

/// The notice goes to the address as its owner spelled it, and contains no code.
#[tokio::test]
async fn the_owner_of_a_taken_address_gets_a_notice() {
    let bench = Bench::start().await;
    let email = Some("Other@example.com");
    let other = bench.stack.user(NewUser { username: "other", email, roles: &[Role::User] }).await;
    bench.stack.confirm(&other).await;
    let id = bench.ask(bench.verification("OTHER@example.com")).await;
    let mails = bench.run().await;
    let [mail] = mails.as_slice() else { panic!("expected one email") };
    assert_eq!(mail.to, "Other@example.com");
    assert!(mail.text.starts_with("Hello other,"));
    assert_eq!((mail.token(), mail.digits()), (None, None));
    assert!(!bench.find(VERIFY, id).await);
}

/// A thief whose sessions have ended must not be able to confirm an address for the account.
#[tokio::test]
async fn a_mail_requested_before_all_sessions_ended_is_not_sent() {
    let bench = Bench::start().await;
    let (before, after) =
        (bench.verification("a@example.com"), bench.verification("b@example.com"));
    let mailed = bench.ask(before).await;
    bench.run().await;
    assert!(bench.find(VERIFY, mailed).await);
    let waiting = bench.ask(after).await;
    let epochs = Epochs::new(&bench.stack.users(), bench.stack.client());
    epochs.raise(bench.account.id, &testkit::occasion(SystemClock.now())).await.unwrap();
    assert_eq!(bench.run().await.len(), 1, "no further email");
    assert!(!bench.find(VERIFY, mailed).await && !bench.find(VERIFY, waiting).await);
}

#[tokio::test]
async fn notices_are_sent_and_can_be_switched_off() {
    let bench = Bench::start().await;
    for notice in ALL_NOTICES {
        bench.ask(bench.notice(notice)).await;
    }
    // This notice goes to the address that the account had at the time of the request.
    let before = Account { email: Some(address("old@example.com")), ..bench.account.clone() };
    let now = SystemClock.now();
    let notice = NewMail::notice(&before, Notice::EmailChanged, now, &SystemRandom).unwrap();
    bench.ask_at(notice.mail, now).await;
    let mails = bench.run().await;
    let to: Vec<_> = mails.iter().map(|mail| mail.to.as_str()).collect();
    let mine = "Owner@example.com";
    assert_eq!(to, [mine, mine, mine, mine, mine, "old@example.com"]);
    for mail in &mails {
        assert!(mail.text.starts_with("Hello Owner,"), "{}", mail.text);
        assert_eq!((mail.token(), mail.digits()), (None, None));
    }
    let off = Bench::start_with(&[
        ("NOTICE_PASSWORD_CHANGED", "off"),
        ("NOTICE_EMAIL_CHANGED", "off"),
        ("NOTICE_SESSION_REUSED", "off"),
        ("NOTICE_NEW_NETWORK", "off"),
    ])
    .await;
    for notice in ALL_NOTICES {
        off.ask(off.notice(notice)).await;
    }
    assert_eq!(off.run().await, []);
    // An account without an address gets nothing.
    let bench = Bench::start().await;
    let user = NewUser { username: "nowhere", email: None, roles: &[Role::User] };
    let user_id = bench.stack.user(user).await.id;
    bench.ask(Mail::Notice { user_id, notice: Notice::NewNetwork, address: None }).await;
    assert_eq!(bench.run().await, []);
}

/// The stream may deliver a record twice, or the function may die after sending. The second email has the same
/// code, and earlier tries still count.
#[tokio::test]
async fn sending_a_mail_twice_sends_the_same_code() {
    let bench = Bench::start().await;
    let mail = reset("owner@example.com");
    let now = SystemClock.now();
    let id = bench.ask_at(mail.clone(), now).await;
    let [first] = bench.run().await.try_into().unwrap();
    assert_eq!(bench.run().await.len(), 1, "nothing is left to send");

    // Use up all tries but one.
    let owner = canonical_name("owner@example.com");
    for _ in 0..store::DIGITS_TRIES - 1 {
        assert!(bench.codes().try_digits(DigitsOf::Reset(&owner), now).await.unwrap().is_some());
    }
    // Restore the item, as if it had not been deleted.
    let outbox = Outbox::new(&bench.stack.users(), bench.stack.client());
    outbox.put(&[NewMail { id, mail, asked_at: now }]).await.unwrap();
    assert_eq!(bench.run().await, [Received { id: id.to_string(), ..first }]);
    assert!(bench.codes().try_digits(DigitsOf::Reset(&owner), now).await.unwrap().is_some());
    assert_eq!(bench.codes().try_digits(DigitsOf::Reset(&owner), now).await.unwrap(), None);
}

#[tokio::test]
async fn sending_a_mail_again_does_not_restore_a_used_code() {
    let bench = Bench::start().await;
    let (mail, now) = (bench.verification("owner@example.com"), SystemClock.now());
    let id = bench.ask_at(mail.clone(), now).await;
    bench.run().await;
    let (code, account) = bench.codes().find(VERIFY, id, now).await.unwrap().unwrap();
    let verifications = Verifications::new(&bench.stack.users(), bench.stack.client());
    let used = verifications
        .verify(&code, &account, bench.stack.peppers(), None, &testkit::occasion(now))
        .await
        .unwrap();
    assert_eq!(used, Redeemed::Done);
    // Restore the item, as if it had not been deleted, and send the email again.
    let outbox = Outbox::new(&bench.stack.users(), bench.stack.client());
    outbox.put(&[NewMail { id, mail, asked_at: now }]).await.unwrap();
    bench.run().await;
    assert!(!bench.find(VERIFY, id).await);
}

/// The digits of the later request are valid even if its email is sent first.
#[tokio::test]
async fn after_two_mails_both_links_and_the_later_digits_are_valid() {
    let bench = Bench::start().await;
    let now = SystemClock.now();
    let earlier = now - SignedDuration::from_secs(1);
    let owner = canonical_name("owner@example.com");
    let first = bench.ask_at(reset("owner@example.com"), now).await;
    bench.run().await;
    let second = bench.ask_at(reset("owner@example.com"), earlier).await;
    bench.run().await;
    assert_eq!(
        bench.codes().try_digits(DigitsOf::Reset(&owner), now).await.unwrap().unwrap().mail(),
        first
    );
    assert!(bench.find(RESET, first).await && bench.find(RESET, second).await);
    let third = bench.ask(reset("owner@example.com")).await;
    bench.run().await;
    assert_eq!(
        bench.codes().try_digits(DigitsOf::Reset(&owner), now).await.unwrap().unwrap().mail(),
        third
    );
    assert!(bench.find(RESET, first).await);
}

#[tokio::test]
async fn an_expired_mail_is_not_sent() {
    let bench = Bench::start().await;
    let long_ago = SystemClock.now() - CODE_VALID_FOR;
    bench.ask_at(reset("owner@example.com"), long_ago).await;
    assert_eq!(bench.run().await, []);
}

#[tokio::test]
async fn a_failed_record_is_reported_and_sent_later() {
    let bench = Bench::start().await;
    bench.ask(bench.notice(Notice::NewNetwork)).await;
    bench.ask(reset("owner@example.com")).await;
    let event = bench.stack.mailer_event();
    let number = |at: usize| event["Records"][at]["dynamodb"]["SequenceNumber"].clone();
    // Without peppers, no code can be derived and no notice can be counted.
    let env = bench.stack.env_with(&[("PEPPERS_SECRET", "file:/nowhere/at/all")]);
    let broken = Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap();
    let failed = json!([{"itemIdentifier": number(0)}, {"itemIdentifier": number(1)}]);
    assert_eq!(bench.deliver(&broken).await, failed);
    assert_eq!((bench.stack.mails().len(), bench.waiting().await), (0, 2));
    assert_eq!(bench.run().await.len(), 2);

    // Without the database, all records fail.
    bench.ask(bench.notice(Notice::NewNetwork)).await;
    let env = bench.stack.env_out_of_reach();
    let broken = Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap();
    assert_eq!(bench.deliver(&broken).await.as_array().unwrap().len(), 3);
}

/// Simulates a crash after the code's item is stored and before the email is sent.
#[tokio::test]
async fn after_a_crash_neither_table_nor_stream_reveals_a_code() {
    let bench = Bench::start().await;
    let id = bench.ask(reset("owner@example.com")).await;
    // The email cannot be written, because the path of its folder leads through a file.
    let nowhere = format!("file:{}/outbox", bench.stack.peppers_file().display());
    let env = bench.stack.env_with(&[("MAIL_TRANSPORT", &nowhere)]);
    let broken = Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap();
    assert_eq!(bench.deliver(&broken).await.as_array().unwrap().len(), 1);
    assert!(bench.find(RESET, id).await, "the code's item is stored");
    assert_eq!((bench.waiting().await, bench.stack.mails().len()), (1, 0));

    // The email that is sent later reveals the code to search for.
    let stored = format!("{:?} {:?}", bench.stack.items().await, bench.stack.stream_records());
    let [mail] = bench.run().await.try_into().unwrap();
    let mac = mail.token().unwrap().rsplit_once('.').unwrap().1;
    for secret in [mail.token().unwrap(), mac, mail.digits().unwrap()] {
        assert!(!stored.contains(secret), "{stored}");
    }
    assert!(stored.contains(&id.to_string()), "the search covers the outbox item");
    let (codes, owner) = (bench.codes(), canonical_name("owner@example.com"));
    let tried =
        codes.try_digits(DigitsOf::Reset(&owner), SystemClock.now()).await.unwrap().unwrap();
    let peppers = bench.stack.peppers();
    assert!(peppers.are_digits_of(RESET, id, tried.pepper(), mail.digits().unwrap()));
}

/// An unconfirmed address gets no notices, and no email to it contains the username, which a stranger may have
/// chosen.
#[tokio::test]
async fn an_unconfirmed_address_gets_codes_without_the_username() {
    let bench = Bench::start().await;
    let email = Some("victim@example.com");
    let user = NewUser { username: "call-me-maybe", email, roles: &[Role::User] };
    let account = bench.stack.user(user).await;
    for notice in ALL_NOTICES {
        assert_eq!(NewMail::notice(&account, notice, SystemClock.now(), &SystemRandom), None);
        bench.ask(Mail::Notice { user_id: account.id, notice, address: None }).await;
    }
    // Another account requests confirmation of the same address.
    bench.ask(bench.verification("victim@example.com")).await;
    assert_eq!(bench.run().await, []);
    bench.ask(reset("victim@example.com")).await;
    let (user_id, epoch, address) = (account.id, account.epoch, address("victim@example.com"));
    bench.ask(Mail::EmailVerification { user_id, epoch, address }).await;
    let mails = bench.run().await;
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        assert!(mail.token().is_some() && mail.text.starts_with("Hello,"), "{}", mail.text);
        assert!(!format!("{mail:?}").contains("maybe"), "{mail:?}");
    }
    // A confirmed address gets notices, and its emails contain the username.
    bench.stack.confirm(&account).await;
    bench.ask(reset("victim@example.com")).await;
    bench.ask(Mail::Notice { user_id, notice: Notice::NewNetwork, address: None }).await;
    let mails = bench.run().await;
    assert_eq!(mails.iter().filter(|it| it.text.starts_with("Hello call-me-maybe,")).count(), 2);
}

#[tokio::test]
async fn an_address_gets_at_most_ten_notices_a_day_but_all_codes() {
    let bench = Bench::start().await;
    for _ in 0..4 {
        for notice in ALL_NOTICES {
            bench.ask(bench.notice(notice)).await;
        }
    }
    assert_eq!(bench.run().await.len(), 10);
    // An email about a taken address also counts as a notice.
    let user = NewUser { username: "other", email: None, roles: &[] };
    let other = bench.stack.user(user).await;
    let (user_id, epoch, address) = (other.id, other.epoch, address("owner@example.com"));
    bench.ask(Mail::EmailVerification { user_id, epoch, address }).await;
    assert_eq!(bench.run().await.len(), 10);
    bench.ask(reset("owner@example.com")).await;
    assert_eq!(bench.run().await.len(), 11);
}

/// Anyone can trigger notices that an address is taken. These may use up only a few of the day's notices, so that
/// enough remain for changes that the owner must know about.
#[tokio::test]
async fn strangers_cannot_use_up_the_notices_of_an_address() {
    let bench = Bench::start().await;
    let user = NewUser { username: "other", email: None, roles: &[] };
    let other = bench.stack.user(user).await;
    for _ in 0..12 {
        let (user_id, epoch, address) = (other.id, other.epoch, address("owner@example.com"));
        bench.ask(Mail::EmailVerification { user_id, epoch, address }).await;
    }
    assert_eq!(bench.run().await.len(), 3);
    for notice in [Notice::PasswordChanged, Notice::EmailChangeRequested] {
        bench.ask(bench.notice(notice)).await;
    }
    assert_eq!(bench.run().await.len(), 5);
}

#[tokio::test]
async fn an_unsent_notice_counts_against_no_limit() {
    let bench = Bench::start().await;
    bench.ask(bench.notice(Notice::NewNetwork)).await;
    // The email cannot be written, because the path of its folder leads through a file.
    let nowhere = format!("file:{}/outbox", bench.stack.peppers_file().display());
    let env = bench.stack.env_with(&[("MAIL_TRANSPORT", &nowhere)]);
    let broken = Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap();
    for _ in 0..12 {
        assert_eq!(bench.deliver(&broken).await.as_array().unwrap().len(), 1);
    }
    assert_eq!(bench.run().await.len(), 1);
}

/// An item or notice from a newer version, or a malformed record, is not retried and does not hold up later emails.
#[tokio::test]
async fn an_unsendable_mail_is_given_up_without_retries() {
    let bench = Bench::start().await;
    let client = bench.stack.client();
    for attribute in ["kind", "notice", "asked_at"] {
        let id = bench.ask(bench.notice(Notice::NewNetwork)).await;
        client
            .update_item()
            .table_name("UsersTable")
            .key("pk", AttributeValue::S(format!("OUTBOX#{id}")))
            .key("sk", AttributeValue::S("MAIL".to_owned()))
            .update_expression("SET #attribute = :newer")
            .expression_attribute_names("#attribute", attribute)
            .expression_attribute_values(":newer", AttributeValue::S("from a newer version".into()))
            .send()
            .await
            .unwrap();
    }
    bench.ask(bench.notice(Notice::PasswordChanged)).await;
    let mut event = bench.stack.mailer_event();
    let records = event["Records"].as_array_mut().unwrap();
    let odd = json!({"eventName": "INSERT", "dynamodb": {
        "Keys": {"pk": {"S": "OUTBOX#x"}, "sk": {"S": "MAIL"}}, "SequenceNumber": "1",
    }});
    records.insert(0, odd);
    records.insert(0, json!({"eventName": "INSERT"}));
    records.insert(0, json!(7));
    let answer = bench.mailer.handle(serde_json::from_value(event).unwrap()).await.unwrap();
    assert_eq!(serde_json::to_value(answer).unwrap(), json!({"batchItemFailures": []}));
    assert_eq!((bench.stack.mails().len(), bench.waiting().await), (1, 0));
    // Three items from a newer version, and three malformed records.
    assert_eq!(measured(Metric::MailsGivenUp), 6);
}

/// The remains of an account that has been deleted.
struct Buried {
    bench: Bench,
    user: UserId,
}

impl Buried {
    /// An account of which `sessions` sessions, a known network and an outbox item remain.
    async fn with(sessions: usize) -> Self {
        Self::of(Bench::start().await, sessions).await
    }

    async fn of(bench: Bench, sessions: usize) -> Self {
        let user = UserId::new(SystemClock.now(), &SystemRandom);
        let this = Self { bench, user };
        let mut items: Vec<_> = (0..sessions).map(|n| this.session(n)).collect();
        items.push(item("KNOWN#name", "NETWORK#network"));
        let mut remains = item(&format!("OUTBOX#{user}"), "REMAINS");
        let names = vec![AttributeValue::S("name".to_owned())];
        remains.insert("user_id".to_owned(), AttributeValue::S(user.to_string()));
        remains.insert("known_under".to_owned(), AttributeValue::L(names));
        items.push(remains);
        this.put(items).await;
        this
    }

    /// Pretends that deleting the remains has failed this often.
    async fn set_failures(&self, failures: u64) {
        let update = self.bench.stack.client().update_item().table_name("UsersTable");
        update
            .key("pk", AttributeValue::S(format!("OUTBOX#{}", self.user)))
            .key("sk", AttributeValue::S("REMAINS".to_owned()))
            .update_expression("SET failures = :failures")
            .expression_attribute_values(":failures", AttributeValue::N(failures.to_string()))
            .send()
            .await
            .unwrap();
    }

    fn session(&self, n: usize) -> Item {
        item(&format!("USER#{}", self.user), &format!("SESSION#{n:04}"))
    }

    async fn put(&self, items: Vec<Item>) {
        let put = |item| {
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        };
        let puts: Vec<_> = items.into_iter().map(put).collect();
        for batch in puts.chunks(25) {
            let write = self.bench.stack.client().batch_write_item();
            write.request_items("UsersTable", batch.to_vec()).send().await.unwrap();
        }
    }

    /// The number of items that remain, without and with the outbox item.
    async fn left(&self) -> (usize, usize) {
        let id = self.user.to_string();
        let items = self.bench.stack.items().await.into_iter();
        let keys = items.map(|item| item["pk"].as_s().unwrap().clone());
        let keys: Vec<_> = keys.filter(|pk| pk.ends_with(&id) || pk == "KNOWN#name").collect();
        (keys.iter().filter(|pk| !pk.starts_with("OUTBOX#")).count(), keys.len())
    }

    /// Passes the records after the first `seen` to `mailer`, and updates `seen`. Returns the failures.
    async fn deliver_new(&self, mailer: &MailerFunction, seen: &mut usize) -> Value {
        let mut event = self.bench.stack.mailer_event();
        let records = event["Records"].as_array_mut().unwrap();
        let known = std::mem::replace(seen, records.len());
        records.drain(..known);
        assert!(!records.is_empty(), "nothing invokes the mailer");
        let answer = mailer.handle(serde_json::from_value(event).unwrap()).await.unwrap();
        serde_json::to_value(answer).unwrap()["batchItemFailures"].take()
    }

    /// A mailer for which `operation` on sessions fails.
    async fn failing(&self, operation: &'static str, fault: Fault) -> MailerFunction {
        let interceptor = Interceptor::of(&self.bench.stack).await;
        interceptor.fail_when(move |call| {
            let is_on_session = call.sort_key().starts_with("SESSION#");
            if call.operation == operation && is_on_session { fault } else { Fault::None }
        });
        let env = interceptor.env(&self.bench.stack, &[]);
        Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap()
    }
}

type Item = HashMap<String, AttributeValue>;

fn item(pk: &str, sk: &str) -> Item {
    let key = [("pk", pk), ("sk", sk)];
    key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned()))).into()
}

/// Otherwise, a user with very many events could delay everyone's emails, by deleting the account.
#[tokio::test]
async fn emails_are_sent_between_two_parts_of_the_remains_of_an_account() {
    let buried = Buried::with(700).await;
    let (bench, mut seen, mut left) = (&buried.bench, 0, Vec::new());
    while buried.left().await.1 > 0 {
        bench.ask(reset("owner@example.com")).await;
        assert_eq!(buried.deliver_new(&bench.mailer, &mut seen).await, json!([]));
        left.push(buried.left().await.0);
        assert_eq!(bench.stack.mails().len(), left.len(), "one email for each delivery");
    }
    assert_eq!(left, [401, 101, 0], "pages of 100 items");
    // The mailer is not invoked again.
    assert_eq!(bench.stack.mailer_event()["Records"].as_array().unwrap().len(), seen);
}

#[tokio::test]
async fn the_remains_of_all_accounts_together_delay_emails_no_longer_than_those_of_one() {
    let (one, user) = (Buried::with(300).await, UserId::new(SystemClock.now(), &SystemRandom));
    let (other, mut seen) = (item(&format!("USER#{user}"), "SESSION#1"), 0);
    let mut outbox = item(&format!("OUTBOX#{user}"), "REMAINS");
    outbox.insert("user_id".to_owned(), AttributeValue::S(user.to_string()));
    outbox.insert("known_under".to_owned(), AttributeValue::L(Vec::new()));
    one.put(vec![other, outbox]).await;
    let is_left = async || {
        let items = one.bench.stack.items().await;
        items.iter().any(|item| item["pk"].as_s().unwrap() == &format!("USER#{user}"))
    };
    one.deliver_new(&one.bench.mailer, &mut seen).await;
    assert!(is_left().await, "the first account has used up the time");
    while one.left().await.1 > 0 || is_left().await {
        assert_eq!(one.deliver_new(&one.bench.mailer, &mut seen).await, json!([]));
    }
}

/// A session that a login left after the deletion was complete.
#[tokio::test]
async fn remains_without_an_outbox_item_are_deleted() {
    let buried = Buried::with(1).await;
    let (bench, mut seen) = (&buried.bench, 0);
    buried.deliver_new(&bench.mailer, &mut seen).await;
    assert_eq!(buried.left().await, (0, 0));
    buried.put((0..300).map(|n| buried.session(n)).collect()).await;
    // Lambda delivers the record again.
    assert_eq!(buried.deliver_new(&bench.mailer, &mut 0).await, json!([]));
    while buried.left().await.1 > 0 {
        assert_eq!(buried.deliver_new(&bench.mailer, &mut seen).await, json!([]));
    }
}

#[tokio::test]
async fn remains_that_cannot_be_deleted_now_do_not_hold_up_emails() {
    let buried = Buried::with(1).await;
    let (bench, mut seen) = (&buried.bench, 0);
    bench.ask(reset("owner@example.com")).await;
    let throttled = buried.failing("DeleteItem", Fault::Throttled).await;
    assert_eq!(buried.deliver_new(&throttled, &mut seen).await, json!([]));
    assert_eq!((bench.stack.mails().len(), buried.left().await.0), (1, 1));
    assert_eq!(measured(Metric::MailsGivenUp), 0);
    assert_eq!(buried.deliver_new(&bench.mailer, &mut seen).await, json!([]));
    assert_eq!(buried.left().await, (0, 0));
}

#[tokio::test]
async fn remains_that_can_never_be_deleted_are_given_up_and_measured() {
    // The second number is more than one batch may delete.
    for sessions in [1, 700] {
        let buried = Buried::with(sessions).await;
        let (bench, mut seen) = (&buried.bench, 0);
        bench.ask(reset("owner@example.com")).await;
        let (given_up, refused) = (
            measured(Metric::MailsGivenUp),
            buried.failing("DeleteItem", Fault::AccessDenied).await,
        );
        assert_eq!(buried.deliver_new(&refused, &mut seen).await, json!([]));
        let given_up = measured(Metric::MailsGivenUp) - given_up;
        assert_eq!((bench.stack.mails().len(), given_up), (1, 1));
        assert_eq!(bench.stack.mailer_event()["Records"].as_array().unwrap().len(), seen);
        // The outbox item remains, so that an operator can complete the deletion.
        assert_eq!(buried.left().await, (sessions, sessions + 1));
    }
}

/// Otherwise, one item that a newer version wrote would keep all others.
#[tokio::test]
async fn an_item_that_can_never_be_deleted_does_not_keep_the_others() {
    let buried = Buried::with(700).await;
    let interceptor = Interceptor::of(&buried.bench.stack).await;
    interceptor.fail_when(|call| {
        let is_stuck = call.operation == "DeleteItem" && call.sort_key() == "SESSION#0000";
        if is_stuck { Fault::AccessDenied } else { Fault::None }
    });
    let env = interceptor.env(&buried.bench.stack, &[]);
    let refused = Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap();
    let mut seen = 0;
    while measured(Metric::MailsGivenUp) == 0 {
        assert_eq!(buried.deliver_new(&refused, &mut seen).await, json!([]));
    }
    assert_eq!(buried.left().await, (1, 2));
}

/// Otherwise, nobody would notice remains that are postponed again and again.
#[tokio::test]
async fn remains_whose_deletion_has_failed_very_often_are_measured() {
    let buried = Buried::with(1).await;
    let throttled = buried.failing("DeleteItem", Fault::Throttled).await;
    let (mut seen, mut given_up) = (0, Vec::new());
    for failures in [0, 99, 100] {
        buried.set_failures(failures).await;
        assert_eq!(buried.deliver_new(&throttled, &mut seen).await, json!([]));
        given_up.push(measured(Metric::MailsGivenUp));
    }
    assert_eq!(given_up, [0, 0, 1]);
    // The mailer keeps trying.
    assert_eq!(buried.deliver_new(&buried.bench.mailer, &mut seen).await, json!([]));
    assert_eq!(buried.left().await, (0, 0));
}

/// Otherwise, each failed try to send an email would add a record to the stream.
#[tokio::test]
async fn remains_behind_an_email_that_fails_are_not_postponed_with_each_try() {
    let bench = Bench::start().await;
    bench.ask(reset("owner@example.com")).await;
    let buried = Buried::of(bench, 700).await;
    let bench = &buried.bench;
    // The email cannot be written, because the path of its folder leads through a file.
    let nowhere = format!("file:{}/outbox", bench.stack.peppers_file().display());
    let env = bench.stack.env_with(&[("MAIL_TRANSPORT", &nowhere)]);
    let broken = Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap();
    for _ in 0..3 {
        assert_eq!(buried.deliver_new(&broken, &mut 0).await.as_array().unwrap().len(), 1);
        assert_eq!(bench.stack.mailer_event()["Records"].as_array().unwrap().len(), 2);
    }
    let mut seen = 0;
    while buried.left().await.1 > 0 {
        assert_eq!(buried.deliver_new(&bench.mailer, &mut seen).await, json!([]));
    }
    assert_eq!(bench.stack.mails().len(), 1);
}

/// If the database is down, the deletion cannot be postponed either.
#[tokio::test]
async fn remains_that_cannot_be_postponed_are_delivered_again() {
    let buried = Buried::with(1).await;
    let env = buried.bench.stack.env_out_of_reach();
    let broken = Box::pin(open_handler::<MailerFunction>(&env, &World::system())).await.unwrap();
    assert_eq!(buried.deliver_new(&broken, &mut 0).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started = Box::pin(open_handler::<MailerFunction>(&Env::default(), &World::system())).await;
    let error = started.err().unwrap().to_string();
    for name in ["USERS_TABLE", "MAIL_FROM", "MAIL_LINK_BASE", "PEPPERS_SECRET", "AWS_REGION"] {
        assert!(error.contains(&format!("{name} is missing")), "{error}");
    }
    let env = [
        ("MAIL_LINK_BASE", "http://example.com"),
        ("MAIL_FROM", "x"),
        ("NOTICE_NEW_NETWORK", "no"),
    ];
    let started =
        Box::pin(open_handler::<MailerFunction>(&Env::from_iter(env), &World::system())).await;
    let error = started.err().unwrap().to_string();
    for name in ["MAIL_LINK_BASE", "MAIL_FROM", "NOTICE_NEW_NETWORK"] {
        assert!(error.contains(&format!("{name} is invalid")), "{error}");
    }
}
