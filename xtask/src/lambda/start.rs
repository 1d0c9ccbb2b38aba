//! Starting processes that the kernel ends with this one.

use std::io;
use std::process::Stdio;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::process::command;

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts processes, all from one thread.
///
/// Linux ends a process that asked for it when the *thread* that started it ends (`PR_SET_PDEATHSIG`), and
/// the threads of the runtime come and go. This one lives as long as this value.
#[derive(Debug)]
pub(super) struct Starter {
    requests: mpsc::Sender<Request>,
    /// Whether `setpriv` of util-linux is available, which asks the kernel for it.
    ends_with_us: bool,
}

impl Starter {
    pub(super) async fn new() -> Self {
        let asked = command("setpriv").args(["--pdeathsig", "KILL", "true"]).output().await;
        let (requests, received) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        std::thread::spawn(move || {
            let _entered = runtime.enter();
            for (mut command, reply) in received {
                // A receiver that is gone drops the child, which ends it.
                let _ = reply.send(command.spawn());
            }
        });
        Self { requests, ends_with_us: asked.is_ok_and(|asked| asked.status.success()) }
    }

    /// A command for `program` in a process group of its own, which a terminal's Ctrl-C does not reach.
    pub(super) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = if self.ends_with_us {
            let mut with = command("setpriv");
            with.args(["--pdeathsig", "KILL", "--"]).arg(program);
            with
        } else {
            command(program)
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
    }

    pub(super) async fn start(&self, command: Command) -> io::Result<Child> {
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the server is ending");
        self.requests.send((command, reply)).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}
