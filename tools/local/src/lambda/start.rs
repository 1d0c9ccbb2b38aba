//! Starts processes that the kernel kills when this process ends.

use std::io;
use std::process::Stdio;
use std::sync::mpsc;

use template::process::command;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts all processes from one thread.
///
/// The kernel kills a process that has set `PR_SET_PDEATHSIG` when the *thread* that started it ends. A thread of the
/// async runtime may end at any time, but the thread of a `Starter` lives as long as the `Starter`.
#[derive(Debug)]
pub(super) struct Starter {
    requests: mpsc::Sender<Request>,
    /// Whether `setpriv` of util-linux, which sets `PR_SET_PDEATHSIG`, is available.
    has_setpriv: bool,
}

impl Starter {
    pub(super) async fn new() -> Self {
        let probe = command("setpriv").args(["--pdeathsig", "KILL", "true"]).output().await;
        let (requests, received) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        std::thread::spawn(move || {
            let _entered = runtime.enter();
            for (mut command, reply) in received {
                // If the receiver is gone, the child is dropped, which kills it.
                let _ = reply.send(command.spawn());
            }
        });
        Self { requests, has_setpriv: probe.is_ok_and(|probe| probe.status.success()) }
    }

    /// A command that runs `program` in its own process group, which a terminal's Ctrl-C does not reach.
    pub(super) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = if self.has_setpriv {
            let mut setpriv = command("setpriv");
            setpriv.args(["--pdeathsig", "KILL", "--"]).arg(program);
            setpriv
        } else {
            command(program)
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
    }

    pub(super) async fn start(&self, command: Command) -> io::Result<Child> {
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the server is shutting down");
        self.requests.send((command, reply)).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// A server that was killed cannot stop its processes, so the kernel must do it.
    #[tokio::test]
    async fn a_process_ends_with_the_thread_that_started_it() {
        let starter = Starter::new().await;
        let mut command = starter.command(Path::new("sh"));
        command.args(["-c", "echo started; exec sleep 600"]);
        let mut child = starter.start(command).await.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started"));
        drop(starter);
        let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
        assert_eq!(ended.expect("the kernel kills it").unwrap().signal(), Some(9));
    }
}
