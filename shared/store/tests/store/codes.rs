//! Tests emailed codes: the number of tries is limited, and each code can be used only once.

use auth::AccountCheck;
use futures_util::future::join_all;
use identity::{Account, CanonicalName, Email, MailId, MailedFor, Presented, StoredHash, UserId};
use jiff::{SignedDuration, Timestamp};
use process::{Clock, Fault as _, FaultKind, SystemClock, SystemRandom};
use store::{
    Accounts, Administration, CODE_VALID_FOR, ChangeError, CodeRecord, Codes, DIGITS_TRIES,
    DigitsOf, Epochs, Hashes, Mail, Mailings, NewMail, Notice, Redeemed, Resets, Stored,
    Verifications,
};
use testkit::{Fault, Faults, Stack};

use crate::{keys, new_account, registrations};

const RESET: MailedFor = MailedFor::PasswordReset;

struct Bench {
    stack: Stack,
    account: Account,
    now: Timestamp,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let new = new_account("owner", Some("Owner@example.com"));
        let account = registrations(&stack).create(new).await.unwrap();
        Self { stack, account, now: SystemClock.now() }
    }

    /// Stores the code for an email, as the mailer does.
    async fn mail(&self, purpose: MailedFor, address: &str) -> CodeRecord {
        let code = CodeRecord {
            mail: MailId::new(SystemClock.now(), &SystemRandom),
            purpose,
            user: self.account.id,
            epoch: self.account.epoch,
            address: Email::parse(address).unwrap(),
            pepper: "p".to_owned(),
            expires_at: self.now + CODE_VALID_FOR,
        };
        let mailings = Mailings::new(&self.stack.users(), self.stack.client());
        assert_eq!(mailings.store(&code).await.unwrap(), Stored::Done);
        code
    }

    fn codes(&self) -> Codes {
        Codes::new(&self.stack.users(), self.stack.client())
    }

    fn notice(&self) -> NewMail {
        let (user_id, notice) = (self.account.id, Notice::PasswordChanged);
        let mail = Mail::Notice { user_id, notice, address: None };
        NewMail { id: MailId::new(self.now, &SystemRandom), mail, asked_at: self.now }
    }

    async fn reset(&self, code: &CodeRecord, hash: &str) -> Redeemed {
        let resets = Resets::new(&self.stack.users(), self.stack.client());
        let (new, notice) = (StoredHash::new(hash), self.notice());
        let occasion = testkit::occasion(self.now);
        resets.reset(code, &self.account, new, Some(&notice), &occasion).await.unwrap()
    }

    async fn verify(&self, code: &CodeRecord, account: &Account) -> Redeemed {
        let verifications = Verifications::new(&self.stack.users(), self.stack.client());
        let notice = self.notice();
        let occasion = testkit::occasion(self.now);
        let peppers = self.stack.peppers();
        verifications.verify(code, account, peppers, Some(&notice), &occasion).await.unwrap()
    }

    async fn hash(&self) -> String {
        let hashes = Hashes::new(&self.stack.users(), self.stack.client());
        hashes.of(&self.account).await.unwrap().unwrap().expose().to_owned()
    }

    /// Reads the current state of an account.
    async fn current(&self, id: UserId) -> Account {
        let accounts = Accounts::new(&self.stack.users(), self.stack.client());
        let session = identity::SessionId::new(&SystemRandom);
        accounts.find(id, session).await.unwrap().account.unwrap()
    }

    /// The number of requested emails.
    async fn mails(&self) -> usize {
        keys(&self.stack.client()).await.iter().filter(|key| key.ends_with(" MAIL")).count()
    }
}

fn canonical(address: &str) -> CanonicalName {
    Email::parse(address).unwrap().canonical().clone()
}

/// The number of concurrent callers, which exceeds the number of allowed tries.
const RACERS: usize = 50;

/// Tries digits concurrently, each time with a different client. Returns how many of the tries are granted.
async fn race(fault: Fault) -> usize {
    let bench = Bench::start().await;
    let mail = bench.mail(RESET, "owner@example.com").await.mail;
    let faults = Faults::together(RACERS, fault);
    let tries = (0..RACERS).map(|_| {
        let codes = Codes::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let now = bench.now;
        tokio::spawn(async move {
            codes.try_digits(DigitsOf::Reset(&canonical("OWNER@example.com")), now).await.unwrap()
        })
    });
    let tries: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(faults.most_at_once(), RACERS, "the requests did not race");
    assert!(tries.iter().flatten().all(|tried| tried.mail() == mail));
    tries.iter().flatten().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_five_of_many_concurrent_tries_are_checked() {
    assert_eq!(race(Fault::None).await, DIGITS_TRIES as usize);
}

/// Shows that the condition on the write limits the tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_unconditional_writes_all_concurrent_tries_are_checked() {
    assert_eq!(race(Fault::Unconditional).await, RACERS);
}

#[tokio::test]
async fn digits_are_valid_only_for_their_address_and_purpose_until_they_expire() {
    let bench = Bench::start().await;
    let (codes, owner) = (bench.codes(), canonical("owner@example.com"));
    let code = bench.mail(RESET, "owner@example.com").await;
    let verify = MailedFor::EmailVerification;
    assert_eq!(
        codes.try_digits(DigitsOf::Confirmation(bench.account.id), bench.now).await.unwrap(),
        None
    );
    let other = canonical("other@example.com");
    assert_eq!(codes.try_digits(DigitsOf::Reset(&other), bench.now).await.unwrap(), None);
    let last = code.expires_at - SignedDuration::from_secs(1);
    assert!(codes.try_digits(DigitsOf::Reset(&owner), last).await.unwrap().is_some());
    assert_eq!(codes.try_digits(DigitsOf::Reset(&owner), code.expires_at).await.unwrap(), None);
    assert!(codes.find(RESET, code.mail, last).await.unwrap().is_some());
    assert_eq!(codes.find(RESET, code.mail, code.expires_at).await.unwrap(), None);
    assert_eq!(codes.find(verify, code.mail, last).await.unwrap(), None);
    // A try that was given back can be used again, and new digits can be tried the full number of times.
    for _ in 1..DIGITS_TRIES - 1 {
        assert!(codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap().is_some());
    }
    let tried = codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap().unwrap();
    assert_eq!(codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap(), None);
    codes.give_back(tried).await.unwrap();
    let tried = codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap().unwrap();
    let later = bench.mail(RESET, "Owner@example.com").await;
    // Giving back a try at earlier digits does not add a try at later ones.
    let first = codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap().unwrap();
    assert_eq!(first.mail(), later.mail);
    codes.give_back(tried).await.unwrap();
    for _ in 1..DIGITS_TRIES {
        let tried = codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap();
        assert_eq!(tried.unwrap().mail(), later.mail);
    }
    assert_eq!(codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap(), None);
}

/// A request that is retried after a lost answer counts as one try, even if no other try is left.
#[tokio::test]
async fn a_try_whose_answer_is_lost_counts_once() {
    let bench = Bench::start().await;
    let code = bench.mail(RESET, "owner@example.com").await;
    let owner = canonical("owner@example.com");
    let faults = Faults::script(&[]);
    let codes = Codes::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
    for n in 0..DIGITS_TRIES {
        faults.then(&[Fault::LostAnswer, Fault::LostAnswer]);
        let tried = codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap();
        assert_eq!(tried.map(|tried| tried.mail()), Some(code.mail), "{n}");
    }
    assert_eq!(codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap(), None);
}

/// Giving a try back twice would allow an extra try at the digits.
#[tokio::test]
async fn a_try_is_given_back_once_despite_lost_answers() {
    let bench = Bench::start().await;
    bench.mail(RESET, "owner@example.com").await;
    let owner = canonical("owner@example.com");
    let faults = Faults::script(&[]);
    let codes = Codes::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
    let tried = async || codes.try_digits(DigitsOf::Reset(&owner), bench.now).await.unwrap();
    let mut last = None;
    for _ in 0..DIGITS_TRIES {
        last = Some(tried().await.unwrap());
    }
    faults.then(&[Fault::LostAnswer, Fault::LostAnswer]);
    codes.give_back(last.unwrap()).await.unwrap();
    let again = tried().await.unwrap();
    assert_eq!(tried().await, None);
    codes.give_back(again).await.unwrap();
    assert!(tried().await.is_some());
    assert_eq!(tried().await, None);
}

/// Uses one code for many concurrent resets of a password. Returns how many resets succeed.
async fn race_to_reset(fault: Fault) -> usize {
    let bench = Bench::start().await;
    let code = bench.mail(RESET, "owner@example.com").await;
    let faults = Faults::together(RACERS, fault);
    let resets = (0..RACERS).map(|n| {
        let resets = Resets::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let (code, account, notice) = (code.clone(), bench.account.clone(), bench.notice());
        let (new, now) = (StoredHash::new(format!("hash {n}")), bench.now);
        tokio::spawn(async move {
            resets
                .reset(&code, &account, new, Some(&notice), &testkit::occasion(now))
                .await
                .unwrap()
        })
    });
    let reset: Vec<_> = join_all(resets).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(faults.most_at_once(), RACERS, "the requests did not race");
    let done = reset.iter().filter(|redeemed| **redeemed == Redeemed::Done).count();
    assert_eq!(bench.mails().await, done, "one notice per successful reset");
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_can_be_used_only_once() {
    assert_eq!(race_to_reset(Fault::None).await, 1);
}

/// Shows that the conditions on the writes let only one reset succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_unconditional_writes_every_reset_uses_the_code() {
    assert_eq!(race_to_reset(Fault::Unconditional).await, RACERS);
}

#[tokio::test]
async fn a_reset_sets_the_password_and_ends_the_sessions_or_does_nothing() {
    let bench = Bench::start().await;
    let code = bench.mail(RESET, "owner@example.com").await;
    // A reset does nothing if the account has changed since it was read.
    let nothing = async |bench: &Bench| {
        assert_eq!(bench.reset(&code, "new").await, Redeemed::Conflict);
        assert_eq!((bench.hash().await.as_str(), bench.mails().await), ("the hash of owner", 0));
    };
    let epochs = Epochs::new(&bench.stack.users(), bench.stack.client());
    epochs.raise(bench.account.id, &testkit::occasion(bench.now)).await.unwrap();
    nothing(&bench).await;
    let bench = Bench { account: bench.current(bench.account.id).await, ..bench };
    bench.stack.disable(bench.account.id).await;
    nothing(&bench).await;

    let bench = Bench::start().await;
    let code = bench.mail(RESET, "owner@example.com").await;
    assert_eq!(bench.reset(&code, "new").await, Redeemed::Done);
    assert_eq!((bench.hash().await.as_str(), bench.mails().await), ("new", 1));
    assert_eq!(bench.current(bench.account.id).await.epoch, bench.account.epoch.next());
    assert_eq!(bench.codes().find(RESET, code.mail, bench.now).await.unwrap(), None);
    // The code cannot be used again, even with the current state of the account.
    let bench = Bench { account: bench.current(bench.account.id).await, ..bench };
    assert_eq!(bench.reset(&code, "newer").await, Redeemed::Conflict);
    // After a change of address, an unused code cannot be used either.
    let code = bench.mail(RESET, "owner@example.com").await;
    let moved = bench.mail(MailedFor::EmailVerification, "new@example.com").await;
    assert_eq!(bench.verify(&moved, &bench.account).await, Redeemed::Done);
    assert_eq!(bench.reset(&code, "newer").await, Redeemed::Conflict);
    assert_eq!(bench.hash().await, "new");
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_does_not_conflict_with_the_first_attempt() {
    let bench = Bench::start().await;
    let code = bench.mail(RESET, "owner@example.com").await;
    let faults = Faults::script(&[Fault::LostAnswer]);
    let resets = Resets::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
    let (new, notice) = (StoredHash::new("new"), bench.notice());
    let reset = resets
        .reset(&code, &bench.account, new, Some(&notice), &testkit::occasion(bench.now))
        .await
        .unwrap();
    assert_eq!((reset, faults.requests()), (Redeemed::Done, 2));
}

/// The first attempt succeeds, but its answer is lost, and later attempts fail with errors that do not reveal
/// the success. If the change were sent again without the notice, it would conflict with itself, and the code
/// would seem wrong.
#[tokio::test]
async fn a_change_that_may_have_happened_is_not_sent_again_without_its_notice() {
    for (first, transient) in [
        (Fault::LostAnswer, Fault::Throttled),
        (Fault::LostAnswer, Fault::Code(400, "TransactionInProgressException")),
        (Fault::Silence, Fault::Code(400, "TransactionInProgressException")),
    ] {
        let bench = Bench::start().await;
        let code = bench.mail(RESET, "owner@example.com").await;
        let faults = Faults::script(&[first, transient, transient, transient, transient]);
        let resets = Resets::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let (new, notice) = (StoredHash::new("new"), bench.notice());
        let reset = resets
            .reset(&code, &bench.account, new, Some(&notice), &testkit::occasion(bench.now))
            .await;
        let kind = reset.map_err(|error| error.kind());
        assert_eq!((kind, faults.requests()), (Err(FaultKind::Unavailable), 5), "{first:?}");
    }
}

/// If the database refuses the notice or cancels the transaction, no earlier attempt has succeeded, so the change is
/// sent again without the notice.
#[tokio::test]
async fn a_change_that_cannot_have_happened_is_sent_again_without_its_notice() {
    let canceled = Fault::Canceled(&["None", "None", "None", "ValidationError"]);
    for script in [
        &[Fault::AccessDenied][..],
        &[Fault::Lost, Fault::AccessDenied],
        &[canceled],
        &[Fault::Lost, canceled],
    ] {
        let bench = Bench::start().await;
        let code = bench.mail(RESET, "owner@example.com").await;
        let faults = Faults::script(script);
        let resets = Resets::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let (new, notice) = (StoredHash::new("new"), bench.notice());
        let reset = resets
            .reset(&code, &bench.account, new, Some(&notice), &testkit::occasion(bench.now))
            .await;
        assert_eq!(reset.unwrap(), Redeemed::Done, "{script:?}");
        assert_eq!((bench.hash().await.as_str(), bench.mails().await), ("new", 0), "{script:?}");
    }
}

/// If the notice were left out, somebody who causes conflicts could change an account without a notice to its owner.
#[tokio::test]
async fn a_change_that_conflicts_or_is_throttled_is_not_made_without_its_notice() {
    for fault in [
        Fault::Conflict,
        Fault::Throttled,
        Fault::Canceled(&["ThrottlingError", "None", "None", "None"]),
        Fault::Canceled(&["None", "ProvisionedThroughputExceeded", "None", "None"]),
    ] {
        let bench = Bench::start().await;
        let code = bench.mail(RESET, "owner@example.com").await;
        let faults = Faults::script(&[fault; 5]);
        let resets = Resets::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let (new, notice) = (StoredHash::new("new"), bench.notice());
        let occasion = testkit::occasion(bench.now);
        let reset = resets.reset(&code, &bench.account, new, Some(&notice), &occasion).await;
        let kind = reset.map_err(|error| error.kind());
        assert_eq!((kind, faults.requests()), (Err(FaultKind::Unavailable), 5), "{fault:?}");
        assert_ne!(bench.hash().await, "new", "{fault:?}");
    }
}

/// Requests a code for one address, lets an administrator set another address, and then redeems the code. `fault`
/// applies to the redemption.
async fn redeem_after_a_change(fault: Fault) -> Redeemed {
    let bench = Bench::start().await;
    let users = bench.stack.users();
    let code = bench.mail(MailedFor::EmailVerification, "thief@example.com").await;
    let administration = Administration::new(&users, bench.stack.client());
    let email = Some(Email::parse("rescued@example.com").unwrap());
    let edit = |account: &Account| {
        Ok::<_, ChangeError>((Account { email: email.clone(), ..account.clone() }, None))
    };
    let (id, peppers) = (bench.account.id, bench.stack.peppers());
    administration.edit(id, testkit::occasion_now, peppers, edit).await.unwrap();
    let account = bench.current(id).await;
    let client = bench.stack.faulty_client(&Faults::script(&[fault]));
    let verifications = Verifications::new(&users, client);
    let occasion = testkit::occasion(bench.now);
    let redeemed = verifications.verify(&code, &account, peppers, None, &occasion).await.unwrap();
    // A code that is requested later is valid.
    if redeemed == Redeemed::Conflict {
        let later = bench.mail(MailedFor::EmailVerification, "later@example.com").await;
        assert_eq!(bench.verify(&later, &account).await, Redeemed::Done);
    }
    redeemed
}

#[tokio::test]
async fn a_code_from_before_an_administrators_change_of_address_is_void() {
    assert_eq!(redeem_after_a_change(Fault::None).await, Redeemed::Conflict);
}

#[tokio::test]
async fn without_the_condition_a_code_replaces_the_address_that_an_administrator_set() {
    assert_eq!(redeem_after_a_change(Fault::Unconditional).await, Redeemed::Done);
}

#[tokio::test]
async fn claiming_an_address_releases_the_previous_one() {
    let bench = Bench::start().await;
    let verify = MailedFor::EmailVerification;
    let code = bench.mail(verify, "New@example.com").await;
    assert_eq!(bench.verify(&code, &bench.account).await, Redeemed::Done);
    let current = bench.current(bench.account.id).await;
    assert_eq!(current.email.as_ref().unwrap().as_str(), "New@example.com");
    assert_eq!(current.email_standing, identity::EmailStanding::Verified);
    assert_eq!(current.epoch, bench.account.epoch, "no session ends");
    let logins = bench.stack.logins();
    let credential = async |address: &str| {
        logins.credential(&Presented::Email(canonical(address))).await.unwrap()
    };
    assert_eq!(credential("new@example.com").await.unwrap().user_id, bench.account.id);
    assert!(credential("owner@example.com").await.is_none());
    // The code can be used only once.
    assert_eq!(bench.verify(&code, &current).await, Redeemed::Conflict);

    // An account may claim another spelling of its own address.
    let code = bench.mail(verify, "NEW@example.com").await;
    assert_eq!(bench.verify(&code, &current).await, Redeemed::Done);
    let current = bench.current(bench.account.id).await;
    assert_eq!(current.email.unwrap().as_str(), "NEW@example.com");
    assert!(credential("new@example.com").await.is_some());
}

#[tokio::test]
async fn the_address_of_another_account_cannot_be_claimed() {
    let bench = Bench::start().await;
    let verify = MailedFor::EmailVerification;
    let code = bench.mail(verify, "other@example.com").await;
    let other = new_account("other", Some("Other@example.com"));
    let other = registrations(&bench.stack).create(other).await.unwrap();
    assert_eq!(bench.verify(&code, &bench.account).await, Redeemed::Taken);
    assert_eq!(bench.current(bench.account.id).await, bench.account);
    assert_eq!(bench.current(other.id).await.email, other.email);
    assert_eq!(bench.mails().await, 0);
    // The code has not been used up.
    assert!(bench.codes().find(verify, code.mail, bench.now).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_one_of_two_concurrent_claims_to_an_address_succeeds() {
    let bench = Bench::start().await;
    let second = registrations(&bench.stack).create(new_account("second", None)).await.unwrap();
    let verify = MailedFor::EmailVerification;
    let first = bench.account.clone();
    let mut claims = Vec::new();
    let faults = Faults::together(2, Fault::None);
    for account in [first, second] {
        let code = CodeRecord { user: account.id, ..bench.mail(verify, "new@example.com").await };
        let verifications =
            Verifications::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let (peppers, now) = (bench.stack.peppers().clone(), bench.now);
        claims.push(tokio::spawn(async move {
            verifications
                .verify(&code, &account, &peppers, None, &testkit::occasion(now))
                .await
                .unwrap()
        }));
    }
    let mut claimed: Vec<_> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(faults.most_at_once(), 2, "the requests did not race");
    claimed.sort_by_key(|redeemed| *redeemed != Redeemed::Done);
    assert_eq!(claimed, [Redeemed::Done, Redeemed::Taken]);
}

/// Two accounts claim the same address, and the owner of the address receives the digits for both.
#[tokio::test]
async fn digits_confirm_an_address_only_for_the_account_that_requested_them() {
    let bench = Bench::start().await;
    let second = registrations(&bench.stack).create(new_account("second", None)).await.unwrap();
    let verify = MailedFor::EmailVerification;
    let mine = bench.mail(verify, "new@example.com").await;
    let theirs = CodeRecord {
        mail: MailId::new(SystemClock.now(), &SystemRandom),
        user: second.id,
        ..mine.clone()
    };
    let mailings = Mailings::new(&bench.stack.users(), bench.stack.client());
    assert_eq!(mailings.store(&theirs).await.unwrap(), Stored::Done);
    let tried = async |account: UserId| {
        let of = DigitsOf::Confirmation(account);
        bench.codes().try_digits(of, bench.now).await.unwrap().unwrap().mail()
    };
    assert_eq!(
        tried(bench.account.id).await,
        mine.mail,
        "another account's request does not void the digits"
    );
    assert_eq!(tried(second.id).await, theirs.mail);
}

#[tokio::test]
async fn a_used_code_confirms_an_address_only_while_the_account_has_it() {
    let bench = Bench::start().await;
    let verify = MailedFor::EmailVerification;
    let confirmed = async |code: &CodeRecord| bench.codes().has_confirmed(code.mail).await.unwrap();
    let code = bench.mail(verify, "new@example.com").await;
    assert!(!confirmed(&code).await, "not used yet");
    assert_eq!(bench.verify(&code, &bench.account).await, Redeemed::Done);
    assert!(confirmed(&code).await);
    bench.stack.expire_codes().await;
    bench.stack.remove_expired().await;
    assert!(confirmed(&code).await, "a used confirmation code does not expire");
    // Ending all sessions does not undo the confirmation.
    let epochs = Epochs::new(&bench.stack.users(), bench.stack.client());
    epochs.raise(bench.account.id, &testkit::occasion(bench.now)).await.unwrap();
    assert!(confirmed(&code).await);
    // Confirming another address does undo it.
    let current = bench.current(bench.account.id).await;
    let other =
        CodeRecord { epoch: current.epoch, ..bench.mail(verify, "other@example.com").await };
    assert_eq!(bench.verify(&other, &current).await, Redeemed::Done);
    assert!(confirmed(&other).await && !confirmed(&code).await);
    bench.stack.disable(bench.account.id).await;
    assert!(!confirmed(&other).await);
    // A reset confirms no address, and its code is deleted once it has expired.
    let bench = Bench::start().await;
    let code = bench.mail(RESET, "owner@example.com").await;
    assert_eq!(bench.reset(&code, "new").await, Redeemed::Done);
    assert!(!bench.codes().has_confirmed(code.mail).await.unwrap());
    bench.stack.expire_codes().await;
    bench.stack.remove_expired().await;
    assert!(!keys(&bench.stack.client()).await.iter().any(|key| key.ends_with(" CODE")));
}
