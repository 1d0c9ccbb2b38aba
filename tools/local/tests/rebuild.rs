//! Edits sources while functions run. The project consists of two functions without dependencies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU16;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use local::binaries;
use local::gateway::{InvokeError, Invoker};
use local::lambda::{Lambda, LocalLambda, Program, Settings};
use local::rebuild::{Sources, rebuild};
use template::project::Project;

/// A function that answers every event with `ANSWER`, a placeholder that `write` replaces.
const SOURCE: &str = r#"
use std::io::{Read, Write};
use std::net::TcpStream;

fn call(method: &str, path: &str, body: &str) -> String {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let (host, prefix) = api.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} /{prefix}/2018-06-01/runtime/invocation/{path} HTTP/1.1\r\nHost: {host}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn main() {
    loop {
        let work = call("GET", "next", "");
        if !work.starts_with("HTTP/1.1 200") {
            return;
        }
        let id = work.lines().find_map(|line| line.strip_prefix("lambda-runtime-aws-request-id: "));
        call("POST", &format!("{}/response", id.unwrap()), "ANSWER");
    }
}
"#;

const NAMES: [&str; 2] = ["one", "two"];

fn write(root: &Path, name: &str, answer: &str) {
    let folder = root.join("functions").join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest =
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    if !folder.join("Cargo.toml").exists() {
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    }
    fs::write(folder.join("src/main.rs"), SOURCE.replace("ANSWER", answer)).unwrap();
}

async fn invoke(lambda: &Lambda, name: &str) -> Result<Bytes, InvokeError> {
    lambda.invoke(name, "{}".into()).await
}

/// Invokes `name` until it returns `expected`. Every earlier result must be `before`.
async fn invoke_until(
    lambda: &Lambda,
    name: &str,
    before: &Result<Bytes, InvokeError>,
    expected: &Result<Bytes, InvokeError>,
) {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let outcome = invoke(lambda, name).await;
        if outcome == *expected {
            return;
        }
        assert_eq!(outcome, *before, "{name}");
        assert!(Instant::now() < deadline, "{name} still answers {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_fail_only_while_the_source_does_not_compile() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    fs::write(
        root.join("Cargo.toml"),
        "[workspace]\nmembers = [\"functions/*\"]\nresolver = \"3\"\n",
    )
    .unwrap();
    for name in NAMES {
        write(&root, name, "1");
    }
    let project = Project::at(root.clone());
    let names = NAMES.map(str::to_owned);
    let mut sources = Sources::watch(&project);
    let built = binaries::build_functions(&project, false, &names).await.unwrap();
    // The first build writes the lock file, which is a change to the sources.
    sources.changed().await;
    let programs = names.iter().map(|name| Program {
        name: name.clone(),
        binary: built[name].clone(),
        timeout: Duration::from_mins(1),
    });
    let settings = Settings {
        concurrency: NonZeroU16::new(2).unwrap(),
        environment: BTreeMap::new(),
        start_limit: Duration::from_mins(1),
    };
    let local = LocalLambda::start(programs.collect(), settings).await.unwrap();
    let lambda = local.handle();
    let rebuilding = {
        let lambda = lambda.clone();
        tokio::spawn(async move { rebuild(&project, false, &names, sources, &lambda).await })
    };
    let (one, two) = (Ok(Bytes::from("1")), Ok(Bytes::from("2")));
    for name in NAMES {
        assert_eq!(invoke(&lambda, name).await, one);
    }

    write(&root, "one", "2");
    invoke_until(&lambda, "one", &one, &two).await;
    assert_eq!(invoke(&lambda, "two").await, one, "two has not changed");

    fs::write(root.join("functions/one/src/main.rs"), "fn main() { this does not compile }")
        .unwrap();
    invoke_until(&lambda, "one", &two, &Err(InvokeError::DoesNotCompile)).await;
    assert_eq!(invoke(&lambda, "two").await, one, "two still compiles");

    write(&root, "one", "3");
    invoke_until(&lambda, "one", &Err(InvokeError::DoesNotCompile), &Ok(Bytes::from("3"))).await;
    rebuilding.abort();
}
