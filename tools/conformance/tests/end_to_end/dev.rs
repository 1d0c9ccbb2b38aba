//! Tests the dev server itself: it keeps its data, ends its processes, and reports the user's mistakes.

use std::process::Stdio;

use develop::tools::{ToolSet, Tools};
use template::project::Project;

use super::server::{Server, shared};
use crate::journeys::Api;

#[tokio::test(flavor = "multi_thread")]
async fn users_survive_a_restart_and_nothing_is_left_running() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("users.db");
    let arguments = ["--db", database.to_str().unwrap()];

    let server = Server::start(&arguments);
    assert_eq!(server.register("survivor").await.status, 201);
    let pid = server.pid();
    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert!(rustix::process::test_kill_process(pid).is_err(), "the dev server is still running");

    let server = Server::start(&arguments);
    let token = server.login("survivor").await;
    assert_eq!(server.get("/auth/protected", Some(&token)).await.status, 200);
    let server_pid = server.pid().as_raw_nonzero().get().unsigned_abs();
    let processes = descendants(server_pid);
    assert!(!processes.is_empty(), "no function is running");
    server.terminate();
    let left: Vec<_> = processes.into_iter().filter(|pid| is_running(*pid)).collect();
    assert!(left.is_empty(), "left running: {left:?}");
}

/// Waits until all these processes have ended.
pub(super) fn wait_until_ended(processes: &[u32]) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(2);
    while processes.iter().any(|pid| is_running(*pid)) {
        assert!(std::time::Instant::now() < deadline, "left running: {processes:?}");
        std::thread::yield_now();
    }
}

fn is_running(pid: u32) -> bool {
    // A zombie, whose parent has not reaped it yet, is not running.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// All descendants of the process `pid`.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let mut all = Vec::new();
    // Linux lists each child under the thread that created it.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let listed = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .chain(children);
    for child in listed.flat_map(|text| {
        text.split(' ').filter_map(|pid| pid.trim().parse().ok()).collect::<Vec<u32>>()
    }) {
        if !all.contains(&child) {
            all.push(child);
            all.extend(descendants(child));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_reported_in_one_line() {
    let server = shared();
    let port = server.url().rsplit(':').next().unwrap();
    let output = std::process::Command::new(server.binaries().join("local"))
        .current_dir(Project::here().root())
        .args(["dev", "--db", "memory", "--port", port])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    assert!(message.contains(&format!("port {port}")), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_lambda_invoke_works_at_the_port_of_the_dev_server() {
    let server = shared();
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let registered = server.register("testuser").await;
    assert!([201, 409].contains(&registered.status), "{}", registered.text);
    let project = Project::here();
    let tools = Tools::install(&project, ToolSet::Dev).await.unwrap();
    let output = std::process::Command::new(tools.program("cargo-lambda"))
        .current_dir(project.root())
        .args(["lambda", "invoke", "login", "--data-file", "events/login.json"])
        .args(["--invoke-address", "127.0.0.1", "--invoke-port", &port])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{message}{}", String::from_utf8_lossy(&output.stderr));
    assert!(message.contains("access_token"), "{message}");
}

/// The kernel ends all functions when their server is killed, even functions that `SIGSTOP` has suspended.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_no_process() {
    let server = Server::start(&["--db", "memory"]);
    assert_eq!(server.register("survivor").await.status, 201);
    server.get("/auth/protected", None).await;
    let processes = descendants(server.pid().as_raw_nonzero().get().unsigned_abs());
    assert!(processes.len() >= 2, "{processes:?}");
    for instance in server.instances("protected") {
        let pid = rustix::process::Pid::from_raw(instance.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }
    let (_, _local) = server.end(rustix::process::Signal::KILL);
    wait_until_ended(&processes);
}

/// Linux allows each user only a few inotify instances (128 on Debian), and other programs need them.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_uses_no_inotify_instance() {
    let server = shared();
    assert_eq!(server.get("/auth/protected", None).await.status, 401);
    let server_pid = server.pid().as_raw_nonzero().get().unsigned_abs();
    for pid in descendants(server_pid).into_iter().chain([server_pid]) {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let watching = files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .filter(|to| to.to_string_lossy().contains("inotify"));
        assert_eq!(watching.count(), 0, "process {pid}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_reports_the_first_and_the_remedy() {
    let server = Server::start(&[]);
    let output = server.run("local", &["dev", "--port", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    let pid = server.pid().as_raw_nonzero();
    for part in [server.url(), &format!("process {pid}"), "cargo xtask dev --local", "--port 0"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let output = server.run("local", &["dev", "--concurrency", "0"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("expected a number from 1"), "{message}");
}

/// `cargo lambda watch` needs the router in `Cargo.toml` and the variables in `functions.env`, but not the local
/// gateway.
#[tokio::test(flavor = "multi_thread")]
async fn cargo_lambda_watch_alone_serves_logins_and_guarded_routes() {
    let server = Server::start(&[]);
    assert_eq!(server.register("watcher").await.status, 201);
    let project = Project::here();
    let tools = Tools::install(&project, ToolSet::Dev).await.unwrap();
    // Reserve the port until the end of the test, so that the system assigns it to no other process. A process that
    // names the port, such as `cargo lambda watch`, can still listen on it.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = reserved.local_addr().unwrap().port();
    let mut watch = template::process::command(tools.program("cargo-lambda"));
    watch
        .current_dir(project.root())
        .args(["lambda", "watch", "--disable-cors", "--invoke-address", "127.0.0.1"])
        .args(["--invoke-port", &port.to_string(), "--env-file"])
        .arg(server.local().join("functions.env"));
    // Dropping the group ends the process and its children.
    let _watch = template::process::Group::spawn(&mut watch).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(5);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(std::time::Instant::now() < deadline, "cargo lambda watch is not listening");
        tokio::task::yield_now().await;
    }
    let watched = Api::new(format!("http://127.0.0.1:{port}"));
    let token = watched.login("watcher").await;
    let answer = watched.get("/auth/protected", Some(&token)).await;
    assert_eq!((answer.status, answer.text.contains("watcher")), (200, true), "{}", answer.text);
    assert_eq!(watched.get("/auth/protected", None).await.short(), "401 missing_token");
}
