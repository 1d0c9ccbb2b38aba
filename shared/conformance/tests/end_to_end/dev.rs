//! The dev server itself: it keeps what it should, ends what it started, and says what is wrong.

use std::process::Stdio;

use xtask::project::Project;

use super::server::{Server, running, shared};

#[tokio::test(flavor = "multi_thread")]
async fn users_survive_a_restart_and_nothing_is_left_running() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("users.db");
    let arguments = ["--db", database.to_str().unwrap()];

    let server = Server::start(&arguments);
    let binaries = server.binaries().to_owned();
    assert_eq!(server.register("survivor").await.status, 201);
    let pid = server.pid();
    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert!(rustix::process::test_kill_process(pid).is_err(), "the dev server has ended");

    let server = Server::start(&arguments);
    let token = server.login("survivor").await;
    assert_eq!(server.get("/auth/protected", Some(&token)).await.status, 200);
    let mine = server.pid().as_raw_nonzero().get().unsigned_abs();
    let family = descendants(mine);
    assert!(!family.is_empty(), "cargo lambda watch and the functions run");
    server.terminate();
    let left: Vec<_> = family.into_iter().filter(|pid| is_running(*pid)).collect();
    assert!(left.is_empty(), "left running: {left:?}");
    drop(running(&binaries.join("login")));
}

/// Waits until none of these processes runs.
pub(super) fn wait_until_ended(processes: &[u32]) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while processes.iter().any(|pid| is_running(*pid)) {
        assert!(std::time::Instant::now() < deadline, "left running: {processes:?}");
        std::thread::yield_now();
    }
}

fn is_running(pid: u32) -> bool {
    // A zombie that its new parent has not collected yet is not running.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// All processes that `pid` started, and those they started.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let mut all = Vec::new();
    // A process of many threads lists each child under the thread that made it.
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
async fn a_taken_port_is_one_clear_line() {
    let server = shared();
    let port = server.url().rsplit(':').next().unwrap();
    let output = std::process::Command::new(server.binaries().join("xtask"))
        .current_dir(Project::here().root())
        .args(["dev", "--db", "memory", "--port", port])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(said.contains(&format!("port {port}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_lambda_invoke_works_at_the_same_port() {
    let server = shared();
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let registered = server.register("testuser").await;
    assert!([201, 409].contains(&registered.status), "{}", registered.text);
    let project = Project::here();
    let tools = project.tools().join("venv/bin");
    let output = std::process::Command::new(tools.join("cargo-lambda"))
        .current_dir(project.root())
        .args(["lambda", "invoke", "login", "--data-file", "events/login.json"])
        .args(["--invoke-address", "127.0.0.1", "--invoke-port", &port])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("access_token"), "{said}");
}
