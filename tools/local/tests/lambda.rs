//! Tests the local imitation of Lambda: how it passes work to instances, and what happens when they fail.
//!
//! A function here is a shell script that never polls for work itself. The test polls in its place, and so controls
//! what the instance does and when.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use local::gateway::{InvokeError, Invoker};
use local::lambda::{Lambda, LocalLambda, Program, Replaced, Settings};
use process::{Clock, SystemClock};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// The script of a function. It reports its process id and the address at which it should poll for work, then sleeps.
const SCRIPT: &str = "echo \"$$ $AWS_LAMBDA_RUNTIME_API\" > \"$STARTED\"; exec sleep 600";

/// A duration far longer than any test.
const LONG: Duration = Duration::from_mins(10);

type Invoked = JoinHandle<Result<Bytes, InvokeError>>;

struct Bench {
    lambda: LocalLambda,
    started: BufReader<pipe::Receiver>,
    folder: tempfile::TempDir,
}

/// A started instance.
#[derive(Clone, Debug)]
struct Instance {
    pid: u32,
    address: String,
    prefix: String,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1
    }

    fn id(&self) -> &str {
        self.header("lambda-runtime-aws-request-id")
    }
}

impl Bench {
    async fn new(script: &str, concurrency: u16, start_limit: Duration, timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("started");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let started = pipe::OpenOptions::new().read_write(true).open_receiver(&fifo).unwrap();
        let binary = folder.path().join("example");
        write_script(&binary, script);
        let program = Program { name: "example".to_owned(), binary, timeout };
        let environment = [("STARTED".to_owned(), fifo.display().to_string())].into();
        let concurrency = NonZeroU16::new(concurrency).unwrap();
        let settings = Settings { concurrency, environment, start_limit };
        let lambda = LocalLambda::start(vec![program], settings).await.unwrap();
        Self { lambda, started: BufReader::new(started), folder }
    }

    async fn with_concurrency(concurrency: u16) -> Self {
        Self::new(SCRIPT, concurrency, LONG, LONG).await
    }

    fn handle(&self) -> Lambda {
        self.lambda.handle()
    }

    fn invoke(&self, event: &'static str) -> Invoked {
        let lambda = self.handle();
        tokio::spawn(async move { lambda.invoke("example", event.into()).await })
    }

    /// Waits for the next instance to start.
    async fn instance(&mut self) -> Instance {
        let mut line = String::new();
        self.started.read_line(&mut line).await.unwrap();
        let (pid, api) = line.trim().split_once(' ').unwrap();
        let (address, prefix) = api.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let (address, prefix) = (address.to_owned(), format!("/{prefix}/2018-06-01/runtime"));
        Instance { pid: pid.parse().unwrap(), address, prefix }
    }

    fn built(&self) -> BTreeMap<String, PathBuf> {
        [("example".to_owned(), self.folder.path().join("example"))].into()
    }

    /// Replaces the binary as a linker does, and reports the end of the build.
    fn rebuild(&self) -> Replaced {
        let binary = self.folder.path().join("example");
        let new = self.folder.path().join("new");
        write_script(&new, SCRIPT);
        fs::rename(new, binary).unwrap();
        self.handle().build_ends(&self.built())
    }
}

fn write_script(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Instance {
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let (address, prefix, length) = (&self.address, &self.prefix, body.len());
        let host = if headers.contains("Host: ") { "" } else { &format!("Host: {address}\r\n") };
        let request = format!(
            "{method} {prefix}{path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn next(&self) -> Answer {
        self.send("GET", "/invocation/next", "", "").await
    }

    async fn respond(&self, id: &str, body: &str) -> u16 {
        self.send("POST", &format!("/invocation/{id}/response"), "", body).await.status
    }

    fn runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
    }

    async fn wait_until_ended(&self) {
        let ended = async {
            while self.runs() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), ended).await.expect("the instance ends");
    }

    fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[tokio::test]
async fn an_instance_gets_events_with_a_deadline_and_is_reused() {
    let mut bench = Bench::new(SCRIPT, 1, LONG, Duration::from_secs(15)).await;
    let first = bench.invoke("{\"n\":1}");
    let instance = bench.instance().await;
    for n in 1..=2 {
        let invoked = if n == 1 { None } else { Some(bench.invoke("{\"n\":2}")) };
        let before = SystemClock.now().as_millisecond();
        let work = instance.next().await;
        assert_eq!((work.status, &work.body), (200, &format!("{{\"n\":{n}}}")));
        let deadline: i64 = work.header("lambda-runtime-deadline-ms").parse().unwrap();
        let left = deadline - before;
        assert!(
            (10_000..=20_000).contains(&left),
            "the deadline must be an absolute time; {left} ms left"
        );
        assert_eq!(instance.respond(work.id(), "\"done\"").await, 202);
        assert_eq!(
            instance.respond(work.id(), "\"again\"").await,
            403,
            "a second response is refused"
        );
        if let Some(invoked) = invoked {
            assert_eq!(invoked.await.unwrap().unwrap(), "\"done\"");
        }
    }
    assert_eq!(first.await.unwrap().unwrap(), "\"done\"");
}

#[tokio::test]
async fn a_functions_error_reaches_the_caller() {
    let mut bench = Bench::with_concurrency(1).await;
    let invoked = bench.invoke("{}");
    let instance = bench.instance().await;
    let work = instance.next().await;
    let error = r#"{"errorType":"T","errorMessage":"m"}"#;
    let path = format!("/invocation/{}/error", work.id());
    assert_eq!(instance.send("POST", &path, "", error).await.status, 202);
    assert_eq!(invoked.await.unwrap(), Err(InvokeError::Failed(error.into())));
    let unknown = bench.handle().invoke("unknown", "{}".into()).await;
    assert_eq!(unknown, Err(InvokeError::Unknown));
}

#[tokio::test]
async fn a_result_may_be_as_large_as_on_aws_and_no_larger() {
    let mut bench = Bench::with_concurrency(1).await;
    let invoked = bench.invoke("{}");
    let instance = bench.instance().await;
    let work = instance.next().await;
    let largest = "x".repeat(6_291_556);
    let path = format!("/invocation/{}/response", work.id());
    let refused = instance.send("POST", &path, "", &format!("{largest}x")).await;
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("(6291556 bytes)"), "{}", refused.body);
    assert_eq!(instance.respond(work.id(), &largest).await, 202);
    assert_eq!(invoked.await.unwrap().unwrap().len(), largest.len());
}

#[tokio::test]
async fn a_function_that_exits_at_startup_is_reported_immediately() {
    let bench = Bench::new("echo boom >&2; exit 3", 4, LONG, LONG).await;
    let invoked: Vec<_> = (0..8).map(|_| bench.invoke("{}")).collect();
    for invoked in invoked {
        assert_eq!(invoked.await.unwrap(), Err(InvokeError::DoesNotStart));
    }
}

#[tokio::test]
async fn an_initialization_error_is_reported_immediately() {
    let mut bench = Bench::with_concurrency(1).await;
    let invoked = bench.invoke("{}");
    let instance = bench.instance().await;
    assert_eq!(instance.send("POST", "/init/error", "", "{}").await.status, 202);
    assert_eq!(invoked.await.unwrap(), Err(InvokeError::DoesNotStart));
    instance.wait_until_ended().await;
}

#[tokio::test]
async fn a_function_that_never_polls_for_work_is_killed_and_reported() {
    let mut bench = Bench::new(SCRIPT, 1, Duration::from_millis(500), LONG).await;
    let mut invoked = bench.invoke("{}");
    // On a slow machine, the instance may be killed before it can report its address.
    let (instance, outcome) = tokio::select! {
        biased;
        instance = bench.instance() => (Some(instance), invoked.await),
        outcome = &mut invoked => (None, outcome),
    };
    assert_eq!(outcome.unwrap(), Err(InvokeError::DoesNotStart));
    if let Some(instance) = instance {
        instance.wait_until_ended().await;
    }
}

#[tokio::test]
async fn a_burst_above_the_limit_waits_and_every_invocation_is_answered() {
    let mut bench = Bench::with_concurrency(2).await;
    let invoked: Vec<_> = (0..30).map(|_| bench.invoke("{}")).collect();
    let play = |instance: Instance| {
        tokio::spawn(async move {
            loop {
                let work = instance.next().await;
                if work.status != 200 {
                    break;
                }
                instance.respond(work.id(), "1").await;
            }
        })
    };
    let (one, two) = (bench.instance().await, bench.instance().await);
    let players = [play(one), play(two)];
    for invoked in invoked {
        assert_eq!(invoked.await.unwrap().unwrap(), "1");
    }
    // A third instance would have started before the first answer.
    let mut line = String::new();
    let third = bench.started.read_line(&mut line);
    let none = tokio::select! {
        biased;
        _ = third => false,
        () = std::future::ready(()) => true,
    };
    assert!(none, "{line}");
    players.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn an_instance_that_dies_fails_only_its_current_request() {
    let mut bench = Bench::with_concurrency(1).await;
    let (first, second) = (bench.invoke("1"), bench.invoke("2"));
    let instance = bench.instance().await;
    assert_eq!(instance.next().await.body, "1");
    instance.kill();
    assert_eq!(first.await.unwrap(), Err(InvokeError::Ended));
    let instance = bench.instance().await;
    let work = instance.next().await;
    assert_eq!(work.body, "2");
    instance.respond(work.id(), "2").await;
    assert_eq!(second.await.unwrap().unwrap(), "2");
}

#[tokio::test]
async fn an_instance_that_exceeds_the_timeout_is_killed_and_replaced() {
    let mut bench = Bench::new(SCRIPT, 1, LONG, Duration::from_millis(100)).await;
    let invoked = bench.invoke("1");
    let instance = bench.instance().await;
    let work = instance.next().await;
    assert_eq!(invoked.await.unwrap(), Err(InvokeError::TimedOut));
    instance.wait_until_ended().await;
    assert_eq!(instance.respond(work.id(), "late").await, 403);
    // Whether this invocation is answered in time depends on the machine.
    let _invoked = bench.invoke("2");
    let new = bench.instance().await;
    assert_ne!(new.pid, instance.pid);
    assert_eq!(new.next().await.body, "2");
}

#[tokio::test]
async fn a_rebuild_replaces_instances_and_fails_no_request() {
    let mut bench = Bench::with_concurrency(2).await;
    let (first, second) = (bench.invoke("1"), bench.invoke("2"));
    let (busy, idle) = (bench.instance().await, bench.instance().await);
    let work = busy.next().await;
    let other = idle.next().await;
    idle.respond(other.id(), "\"old\"").await;
    let waiting = {
        let idle = idle.clone();
        tokio::spawn(async move { idle.next().await.status })
    };

    bench.handle().build_begins();
    let replaced = bench.rebuild();
    assert_eq!(replaced, Replaced { rebuilt: vec!["example".to_owned()], broken: vec![] });
    idle.wait_until_ended().await;
    assert!(!waiting.is_finished(), "a runtime panics on any answer other than work");
    waiting.abort();
    // Running invocations continue. New ones start the new binary, without waiting for the old instances to end.
    let third = bench.invoke("3");
    let new = bench.instance().await;
    let next = new.next().await;
    assert_eq!(next.body, "3");
    new.respond(next.id(), "\"new\"").await;
    assert!(busy.runs());
    assert_eq!(busy.respond(work.id(), "\"old\"").await, 202);
    let waiting = {
        let busy = busy.clone();
        tokio::spawn(async move { busy.next().await.status })
    };
    busy.wait_until_ended().await;
    assert!(!waiting.is_finished());
    waiting.abort();
    for (invoked, by) in [(first, "\"old\""), (second, "\"old\""), (third, "\"new\"")] {
        assert_eq!(invoked.await.unwrap().unwrap(), by);
    }
    // A build without changes replaces no instance.
    let unchanged = bench.handle().build_ends(&bench.built());
    assert_eq!(unchanged, Replaced { rebuilt: vec![], broken: vec![] });
    assert!(new.runs());
}

#[tokio::test]
async fn requests_fail_immediately_while_the_source_does_not_compile() {
    let mut bench = Bench::with_concurrency(1).await;
    let (running, waiting) = (bench.invoke("1"), bench.invoke("2"));
    let instance = bench.instance().await;
    let work = instance.next().await;
    let replaced = bench.handle().build_ends(&BTreeMap::new());
    assert_eq!(replaced.broken, ["example"]);
    for invoked in [waiting, bench.invoke("3")] {
        assert_eq!(invoked.await.unwrap(), Err(InvokeError::DoesNotCompile));
    }
    // The running instance continues, and takes work again once the source compiles.
    assert_eq!(instance.respond(work.id(), "1").await, 202);
    assert_eq!(running.await.unwrap().unwrap(), "1");
    bench.handle().build_ends(&bench.built());
    let invoked = bench.invoke("4");
    let work = instance.next().await;
    instance.respond(work.id(), "4").await;
    assert_eq!(invoked.await.unwrap().unwrap(), "4");
}

#[tokio::test]
async fn an_invocation_waits_for_a_binary_that_a_linker_is_replacing() {
    let mut bench = Bench::with_concurrency(1).await;
    bench.handle().build_begins();
    let binary = bench.folder.path().join("example");
    fs::remove_file(&binary).unwrap();
    let invoked = bench.invoke("1");
    // Let the server look for the binary before the build ends.
    tokio::task::yield_now().await;
    bench.rebuild();
    let instance = bench.instance().await;
    let work = instance.next().await;
    instance.respond(work.id(), "1").await;
    assert_eq!(invoked.await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn an_abandoned_invocation_is_not_delivered() {
    let mut bench = Bench::with_concurrency(1).await;
    let (_first, abandoned, last) = (bench.invoke("1"), bench.invoke("2"), bench.invoke("3"));
    let instance = bench.instance().await;
    let work = instance.next().await;
    assert_eq!(work.body, "1");
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    instance.respond(work.id(), "1").await;
    let work = instance.next().await;
    assert_eq!(work.body, "3");
    instance.respond(work.id(), "3").await;
    assert_eq!(last.await.unwrap().unwrap(), "3");
}

/// A web page from another site in the developer's browser can send requests to local ports.
#[tokio::test]
async fn neither_web_pages_nor_other_instances_can_take_work() {
    let mut bench = Bench::with_concurrency(1).await;
    let invoked = bench.invoke("1");
    let instance = bench.instance().await;
    let work = instance.next().await;
    let path = format!("/invocation/{}/response", work.id());
    let port = instance.address.rsplit(':').next().unwrap();
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        "Origin: http://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
    ] {
        assert_eq!(instance.send("POST", &path, &headers, "1").await.status, 403, "{headers}");
    }
    let prefix = instance.prefix.replacen(|c: char| c.is_ascii_digit(), "x", 1);
    let other = Instance { prefix, ..instance.clone() };
    assert_eq!(other.respond(work.id(), "1").await, 403);
    assert_eq!(other.next().await.status, 410);
    assert_eq!(instance.respond(work.id(), "1").await, 202);
    assert_eq!(invoked.await.unwrap().unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_instance_outlives_the_server() {
    let mut bench = Bench::with_concurrency(2).await;
    let _invoked = [bench.invoke("1"), bench.invoke("2")];
    let (one, two) = (bench.instance().await, bench.instance().await);
    one.next().await;
    drop(bench);
    assert!(!one.runs() && !two.runs());
}
