//! Tests commands with `--stack` against an imitation of CloudFormation, which provides the table names and the clock,
//! and of Secrets Manager, which provides the peppers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use local::database::{LocalDatabase, Storage};
use peppers::Peppers;
use process::{Clock, SystemClock, SystemRandom};
use serde_json::json;
use template::Template;
use template::project::Project;

/// An imitated stack: its database, and the URL of the imitated services.
struct Stack {
    database: LocalDatabase,
    services: String,
}

impl Stack {
    /// Starts a stack with these parameters. Its clock is ahead of this machine's by `ahead`.
    async fn start(parameters: &[(&str, &str)], ahead: SignedDuration) -> Self {
        let template = Template::read(&Project::here().template()).unwrap();
        let database = LocalDatabase::start(&Storage::Memory, &template.tables).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let services = format!("http://{}", listener.local_addr().unwrap());
        let (description, secret) = (description(parameters), secret());
        // The thread ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &description, &secret, SystemClock.now() + ahead);
            }
        });
        Self { database, services }
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_operate"))
            .args(arguments)
            .args(["--stack", "mine", "--region", "us-east-1"])
            .env("AWS_ENDPOINT_URL_CLOUDFORMATION", &self.services)
            .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.services)
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.database.endpoint())
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Writing fails if the command ends without reading its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

/// The response to `DescribeStacks`.
fn description(parameters: &[(&str, &str)]) -> String {
    let members = |kind: &str, pairs: &[(&str, &str)]| {
        let member = |(key, value): &(&str, &str)| {
            format!(
                "<member><{kind}Key>{key}</{kind}Key><{kind}Value>{value}</{kind}Value></member>"
            )
        };
        pairs.iter().map(member).collect::<String>()
    };
    let outputs = [
        ("UsersTableName", "UsersTable"),
        ("KeysTableName", "KeysTable"),
        ("SigningKeysSecret", "signing-keys"),
        ("PeppersSecret", "peppers"),
    ];
    format!(
        "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
         <DescribeStacksResult><Stacks><member>\
         <StackName>mine</StackName><StackStatus>CREATE_COMPLETE</StackStatus>\
         <StackId>arn:aws:cloudformation:us-east-1:123456789012:stack/mine/id</StackId>\
         <CreationTime>2026-01-01T00:00:00Z</CreationTime>\
         <Outputs>{}</Outputs><Parameters>{}</Parameters>\
         </member></Stacks></DescribeStacksResult></DescribeStacksResponse>",
        members("Output", &outputs),
        members("Parameter", parameters)
    )
}

/// The response to `GetSecretValue`, with new peppers.
fn secret() -> String {
    let peppers = Peppers::generate("first", &SystemRandom).to_json();
    json!({"Name": "peppers", "VersionId": "first", "SecretString": *peppers}).to_string()
}

/// Reads a request, and answers with either the secret or the description of the stack.
fn answer(mut stream: TcpStream, description: &str, secret: &str, date: Timestamp) {
    let mut request = BufReader::new(stream.try_clone().unwrap());
    let (mut length, mut kind, mut body) = (0, "text/xml", description);
    for line in request.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
        let line = line.to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if line == "x-amz-target: secretsmanager.getsecretvalue" {
            (kind, body) = ("application/x-amz-json-1.1", secret);
        }
    }
    request.take(length).read_to_end(&mut Vec::new()).unwrap();
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).unwrap();
}

/// The standard output of a command that must succeed.
fn success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard error of a command that must fail.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// If `end-all` used the operator's own clock, it would lock out all users when that clock is ahead, and end no session
/// when it is behind.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_the_clock_of_the_stack() {
    for ahead in [SignedDuration::from_hours(-72), SignedDuration::from_hours(2)] {
        let stack = Stack::start(&[], ahead).await;
        let before = SystemClock.now() + ahead;
        let output = success(&stack.run(&["sessions", "end-all", "--yes"], &[], ""));
        let after = SystemClock.now() + ahead;
        let epoch =
            output.split_whitespace().find_map(|word| word.parse::<Timestamp>().ok()).unwrap();
        let tolerance = SignedDuration::from_secs(3);
        assert!(before < epoch && epoch < after + tolerance, "{before} {epoch} {after}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_account_must_satisfy_the_settings_of_the_stack() {
    let rules = [("PasswordMinChars", "20"), ("EmailVerification", "required")];
    let ahead = SignedDuration::from_hours(48);
    let stack = Stack::start(&rules, ahead).await;
    let create = ["admin", "create", "root", "--email", "root@example.com", "--password-stdin"];
    let laptop = [("PASSWORD_MIN_CHARS", "8"), ("EMAIL_VERIFICATION", "optional")];
    let message = refusal(&stack.run(&create, &laptop, "nineteen characters\n"));
    assert!(message.contains("must have at least 20 characters"), "{message}");

    let strict = [("PASSWORD_MIN_CHARS", "64")];
    let created = success(&stack.run(&create, &strict, "a password of many characters\n"));
    assert!(created.contains("root@example.com (not confirmed yet)"), "{created}");
    // The creation time comes from the stack's clock. With this machine's clock, the account would seem two days old.
    assert!(created.contains("(0 seconds ago)") || created.contains("(1 second ago)"), "{created}");
}

/// The stack's password lists are in a layer, which is not on this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_list_of_the_stack_is_read_from_a_local_copy() {
    let rules = [("CommonPasswordsFile", "/opt/common-passwords.txt")];
    let stack = Stack::start(&rules, SignedDuration::ZERO).await;
    let create = ["admin", "create", "root", "--password-stdin"];
    let message = refusal(&stack.run(&create, &[], "a long walk by the river\n"));
    assert!(message.contains("PASSWORD_COMMON_FILE"), "{message}");

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("common.txt");
    std::fs::write(&copy, "a long walk by the river\n").unwrap();
    let copy = [("PASSWORD_COMMON_FILE", copy.to_str().unwrap())];
    let message = refusal(&stack.run(&create, &copy, "a long walk by the river\n"));
    assert!(message.contains("most common passwords"), "{message}");
    success(&stack.run(&create, &copy, "a short walk by the sea\n"));
}

/// The operator's environment must not determine how long a name is in quarantine.
#[tokio::test(flavor = "multi_thread")]
async fn the_stack_determines_the_quarantine_of_a_deleted_name() {
    for (days, claimed) in [("0", true), ("1", false)] {
        let parameters = [("NameQuarantineDays", days)];
        let stack = Stack::start(&parameters, SignedDuration::ZERO).await;
        let create = ["admin", "create", "rosa", "--password-stdin"];
        success(&stack.run(&create, &[], "a long walk by the river\n"));
        let laptop = [("NAME_QUARANTINE_DAYS", if claimed { "30" } else { "0" })];
        let deleted = success(&stack.run(&["users", "delete", "rosa", "--yes"], &laptop, ""));
        assert!(deleted.contains(r#""action":"deleted""#), "{deleted}");
        let again = stack.run(&create, &[], "a long walk by the river\n");
        assert_eq!(again.status.success(), claimed, "{again:?}");
    }
}
