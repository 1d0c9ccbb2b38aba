//! A local Lambda: the Runtime API, and the instances of functions that poll it for work.
//!
//! As on Lambda, an instance handles one invocation at a time. Instances start on demand, up to a limit per
//! function. Further invocations wait. An instance runs until its function is rebuilt, until it exceeds the
//! function's timeout, or until the server ends.

mod runtime_api;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use process::{Clock, Random, SystemClock, SystemRandom};
use rustix::process::{Pid, Signal, kill_process};
use template::process::is_alive;
use template::ui;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use self::start::Starter;
use crate::gateway::{InvokeError, Invoker};

/// How long an instance may take from its start until it first polls for work, as on Lambda.
pub const START_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait for the last output of a process that has ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// How long to wait for killed processes to end.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long a binary may be missing while a linker replaces it.
const LINK_LIMIT: Duration = Duration::from_secs(1);

/// How often to poll a condition that sends no notification.
const POLL: Duration = Duration::from_millis(5);

/// Settings that all functions share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The maximum number of instances of one function.
    pub concurrency: NonZeroU16,
    /// The environment of all functions.
    pub environment: BTreeMap<String, String>,
    /// How long an instance may take until it first polls for work: [`START_LIMIT`], except in tests.
    pub start_limit: Duration,
}

/// A function and how to run it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The function's name.
    pub name: String,
    /// Its binary.
    pub binary: PathBuf,
    /// How long it may work on one invocation.
    pub timeout: Duration,
}

/// The local Lambda with its running functions. Dropping it ends all instances.
#[derive(Debug)]
pub struct LocalLambda {
    lambda: Lambda,
    server: JoinHandle<()>,
}

/// A handle for invoking functions and reporting builds.
#[derive(Clone, Debug)]
pub struct Lambda(Arc<Shared>);

/// The effect of a build on the functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Functions with a new binary.
    pub rebuilt: Vec<String>,
    /// Functions whose source does not compile.
    pub broken: Vec<String>,
}

type InstanceId = String;

#[derive(Debug)]
struct Shared {
    settings: Settings,
    api: SocketAddr,
    starter: Starter,
    functions: BTreeMap<String, Function>,
    building: watch::Sender<bool>,
    ending: AtomicBool,
}

#[derive(Debug)]
struct Function {
    program: Program,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    source: Source,
    generation: u64,
    stamp: Option<Stamp>,
    waiting: VecDeque<Invocation>,
    instances: BTreeMap<InstanceId, Instance>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Compiles,
    DoesNotCompile,
}

/// Distinguishes two builds of a binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(binary: &Path) -> Option<Self> {
        let file = fs::metadata(binary).ok()?;
        Some(Self { inode: file.ino(), seconds: file.mtime(), nanoseconds: file.mtime_nsec() })
    }
}

type Outcome = Result<Bytes, InvokeError>;

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Bytes,
    reply: oneshot::Sender<Outcome>,
}

/// An invocation as an instance receives it.
#[derive(Debug)]
struct Delivery {
    id: String,
    event: Bytes,
    deadline: Timestamp,
}

#[derive(Debug)]
struct Instance {
    generation: u64,
    pid: Option<Pid>,
    phase: Phase,
    stop: Arc<Notify>,
}

#[derive(Debug)]
enum Phase {
    /// It has not polled for work yet.
    Starting,
    /// It has reported that it cannot start.
    Failing,
    /// It is waiting for work.
    Idle(oneshot::Sender<Delivery>),
    /// It is handling an invocation.
    Busy(Work),
    /// It has answered, but has not polled for more work yet.
    Answered,
    /// It has been told to stop.
    Retired,
}

#[derive(Debug)]
struct Work {
    id: String,
    reply: oneshot::Sender<Outcome>,
    _timer: Timer,
}

/// A task that is aborted when this value is dropped.
#[derive(Debug)]
struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the process of an instance ended.
enum End {
    /// It exited, or something other than this server ended it.
    Exited(String),
    /// It could not be started.
    NotStarted(String),
    /// It did not poll for work in time, so it was killed.
    NeverPolled,
    /// The server killed it. The phase of the instance gives the reason.
    Killed,
}

impl LocalLambda {
    /// Serves the Runtime API on a free port. No function starts before its first invocation.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(programs: Vec<Program>, settings: Settings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let api = listener.local_addr().context("no free port")?;
        let functions = programs.into_iter().map(|program| {
            let state = State {
                source: Source::Compiles,
                generation: 0,
                stamp: Stamp::of(&program.binary),
                waiting: VecDeque::new(),
                instances: BTreeMap::new(),
            };
            (program.name.clone(), Function { program, state: Mutex::new(state) })
        });
        let shared = Arc::new(Shared {
            settings,
            api,
            starter: Starter::new().await,
            functions: functions.collect(),
            building: watch::channel(false).0,
            ending: AtomicBool::new(false),
        });
        let server = tokio::spawn(runtime_api::serve(listener, api.port(), Arc::clone(&shared)));
        Ok(Self { lambda: Lambda(shared), server })
    }

    /// A handle for invoking functions.
    #[must_use]
    pub fn handle(&self) -> Lambda {
        self.lambda.clone()
    }
}

impl Drop for LocalLambda {
    fn drop(&mut self) {
        let shared = &self.lambda.0;
        shared.ending.store(true, Ordering::SeqCst);
        let mut killed = Vec::new();
        for function in shared.functions.values() {
            let mut state = function.state();
            state.waiting.clear();
            for instance in state.instances.values_mut() {
                instance.phase = Phase::Retired;
                instance.stop.notify_one();
                killed.extend(instance.pid);
            }
        }
        for pid in &killed {
            let _ = kill_process(*pid, Signal::KILL);
        }
        let deadline = Instant::now() + KILL_LIMIT;
        while killed.iter().any(|pid| is_running(*pid)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.server.abort();
    }
}

/// Whether a process is running. A zombie, which has ended but was not reaped by its parent, is not running.
fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let ended = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
    is_alive(pid) && !stat.is_ok_and(ended)
}

impl Lambda {
    /// Announces that a build begins. Until the build ends, a binary may be missing for a moment.
    pub fn build_begins(&self) {
        self.0.building.send_replace(true);
    }

    /// Applies the result of a build. `compiled` contains the functions that compile. Instances of a previous binary
    /// finish their current invocation and end.
    pub fn build_ends(&self, compiled: &BTreeMap<String, PathBuf>) -> Replaced {
        self.0.building.send_replace(false);
        let mut replaced = Replaced { rebuilt: Vec::new(), broken: Vec::new() };
        for (name, function) in &self.0.functions {
            let mut state = function.state();
            if !compiled.contains_key(name) {
                state.source = Source::DoesNotCompile;
                for invocation in state.waiting.drain(..) {
                    let _ = invocation.reply.send(Err(InvokeError::DoesNotCompile));
                }
                replaced.broken.push(name.clone());
                continue;
            }
            state.source = Source::Compiles;
            let stamp = Stamp::of(&function.program.binary);
            if state.stamp != stamp {
                state.stamp = stamp;
                state.generation += 1;
                for instance in state.instances.values_mut() {
                    if matches!(instance.phase, Phase::Idle(_) | Phase::Starting) {
                        instance.retire();
                    }
                }
                replaced.rebuilt.push(name.clone());
            }
            self.0.hand_out(function, &mut state);
        }
        replaced
    }
}

impl Invoker for Lambda {
    async fn invoke(&self, function: &str, event: Bytes) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        {
            let function = self.0.functions.get(function).ok_or(InvokeError::Unknown)?;
            let mut state = function.state();
            if state.source == Source::DoesNotCompile {
                return Err(InvokeError::DoesNotCompile);
            }
            state.waiting.push_back(Invocation { id: random_id(), event, reply });
            self.0.hand_out(function, &mut state);
        }
        outcome.await.unwrap_or(Err(InvokeError::Ended))
    }
}

impl Function {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instance {
    /// Stops the process and gives the instance no more work.
    fn retire(&mut self) {
        self.phase = Phase::Retired;
        self.stop.notify_one();
    }
}

impl Shared {
    /// Gives waiting invocations to idle instances, and starts new instances for the rest.
    fn hand_out(self: &Arc<Self>, function: &Function, state: &mut State) {
        if self.ending.load(Ordering::SeqCst) {
            return state.waiting.clear();
        }
        // A closed reply channel means that the caller has given up.
        state.waiting.retain(|invocation| !invocation.reply.is_closed());
        let generation = state.generation;
        for (id, instance) in &mut state.instances {
            if instance.generation != generation || !matches!(instance.phase, Phase::Idle(_)) {
                continue;
            }
            let Some(invocation) = state.waiting.pop_front() else { return };
            if let Err(invocation) = self.deliver(&function.program, id, instance, invocation) {
                state.waiting.push_front(invocation);
            }
        }
        let current = state.instances.values().filter(|it| it.generation == generation);
        let (mut all, mut starting) = (0, 0);
        for instance in current {
            all += usize::from(!matches!(instance.phase, Phase::Retired));
            starting += usize::from(matches!(instance.phase, Phase::Starting));
        }
        let free = usize::from(self.settings.concurrency.get()).saturating_sub(all);
        for _ in 0..state.waiting.len().saturating_sub(starting).min(free) {
            let (id, stop) = (random_id(), Arc::new(Notify::new()));
            let phase = Phase::Starting;
            let instance = Instance { generation, pid: None, phase, stop: Arc::clone(&stop) };
            state.instances.insert(id.clone(), instance);
            let (shared, name) = (Arc::clone(self), function.program.name.clone());
            tokio::spawn(async move { shared.run(&name, id, &stop).await });
        }
    }

    /// Gives an invocation to an idle instance. Returns the invocation if the instance has gone away.
    fn deliver(
        self: &Arc<Self>,
        program: &Program,
        instance_id: &InstanceId,
        instance: &mut Instance,
        invocation: Invocation,
    ) -> Result<(), Invocation> {
        let Phase::Idle(next) = std::mem::replace(&mut instance.phase, Phase::Answered) else {
            return Err(invocation);
        };
        let Invocation { id, event, reply } = invocation;
        let timeout = SignedDuration::try_from(program.timeout).unwrap_or(SignedDuration::MAX);
        let deadline = SystemClock.now().saturating_add(timeout).unwrap_or(Timestamp::MAX);
        if let Err(lost) = next.send(Delivery { id: id.clone(), event, deadline }) {
            instance.retire();
            return Err(Invocation { id, event: lost.event, reply });
        }
        let timer = {
            let (shared, timeout) = (Arc::clone(self), program.timeout);
            let (name, instance, id) = (program.name.clone(), instance_id.clone(), id.clone());
            tokio::spawn(async move {
                tokio::time::sleep(timeout).await;
                shared.time_out(&name, &instance, &id);
            })
        };
        let timer = Timer(timer.abort_handle());
        instance.phase = Phase::Busy(Work { id, reply, _timer: timer });
        Ok(())
    }

    /// Waits for the next invocation for an instance. Returns `None` if the instance does not exist.
    ///
    /// A retired instance gets no answer before its process is killed, because the Rust runtime for Lambda panics on
    /// any answer other than an invocation.
    async fn next(self: &Arc<Self>, function: &str, instance_id: &str) -> Option<Delivery> {
        let work = {
            let function = self.functions.get(function)?;
            let mut state = function.state();
            let generation = state.generation;
            let instance = state.instances.get_mut(instance_id)?;
            let (next, work) = oneshot::channel();
            // If the instance polls before it has answered its invocation, changing the phase drops that invocation,
            // and its caller gets an error.
            if instance.generation != generation {
                instance.retire();
            } else if !matches!(instance.phase, Phase::Retired) {
                instance.phase = Phase::Idle(next);
                self.hand_out(function, &mut state);
            }
            work
        };
        match work.await {
            Ok(delivery) => Some(delivery),
            Err(_) => std::future::pending().await,
        }
    }

    /// Accepts the outcome of an invocation. Returns whether the instance was processing that invocation.
    fn finish(&self, function: &str, instance: &str, id: &str, outcome: Outcome) -> bool {
        let Some(function) = self.functions.get(function) else { return false };
        let mut state = function.state();
        let Some(instance) = state.instances.get_mut(instance) else { return false };
        if !matches!(&instance.phase, Phase::Busy(work) if work.id == id) {
            return false;
        }
        if let Phase::Busy(work) = std::mem::replace(&mut instance.phase, Phase::Answered) {
            // An error means that the caller has given up.
            let _ = work.reply.send(outcome);
        }
        true
    }

    /// Accepts an instance's report that it cannot start. Returns whether the instance was starting.
    fn cannot_start(&self, function: &str, instance: &str) -> bool {
        let Some(function) = self.functions.get(function) else { return false };
        let mut state = function.state();
        let Some(instance) = state.instances.get_mut(instance) else { return false };
        if !matches!(instance.phase, Phase::Starting) {
            return false;
        }
        instance.phase = Phase::Failing;
        instance.stop.notify_one();
        true
    }

    /// Stops an instance that exceeded its function's timeout.
    fn time_out(&self, function: &str, instance: &str, id: &str) {
        let Some(function) = self.functions.get(function) else { return };
        let mut state = function.state();
        let Some(instance) = state.instances.get_mut(instance) else { return };
        if !matches!(&instance.phase, Phase::Busy(work) if work.id == id) {
            return;
        }
        if let Phase::Busy(work) = std::mem::replace(&mut instance.phase, Phase::Retired) {
            let _ = work.reply.send(Err(InvokeError::TimedOut));
        }
        instance.stop.notify_one();
        let Program { name, timeout, .. } = &function.program;
        ui::note(format_args!(
            "{name} did not answer within {} s: the instance was stopped",
            timeout.as_secs_f64()
        ));
    }

    /// Runs an instance until its process ends.
    async fn run(self: Arc<Self>, function: &str, id: InstanceId, stop: &Notify) {
        let Some(function) = self.functions.get(function) else { return };
        let end = match self.start(function, &id).await {
            Ok(child) => self.attend(function, &id, child, stop).await,
            Err(reason) => End::NotStarted(reason),
        };
        let mut state = function.state();
        let Some(instance) = state.instances.remove(&id) else { return };
        if self.ending.load(Ordering::SeqCst) {
            return;
        }
        let name = &function.program.name;
        let (never_polled, why) = match &end {
            End::Exited(status) => (false, format!("it exited ({status})")),
            End::NotStarted(reason) => (false, reason.clone()),
            End::Killed => (false, "it reported an initialization error".to_owned()),
            End::NeverPolled => {
                let limit = self.settings.start_limit.as_secs_f64();
                (true, format!("it did not poll for work within {limit} s and was stopped"))
            }
        };
        match instance.phase {
            Phase::Starting | Phase::Failing => {
                let log = if never_polled { "" } else { "; see its log above, if any" };
                ui::note(format_args!("error: {name} does not start: {why}{log}"));
                // A new instance would fail in the same way. So fail the waiting invocations, unless another
                // instance has started and can take them.
                let is_up = |it: &Instance| !matches!(it.phase, Phase::Starting | Phase::Failing);
                if !state.instances.values().any(is_up) {
                    for invocation in state.waiting.drain(..) {
                        let _ = invocation.reply.send(Err(InvokeError::DoesNotStart));
                    }
                }
            }
            Phase::Busy(work) => {
                ui::note(format_args!("error: {name} failed on a request: {why}"));
                let _ = work.reply.send(Err(InvokeError::Ended));
            }
            Phase::Idle(_) | Phase::Answered => {
                ui::note(format_args!("{name} has stopped ({why}): the next request restarts it"));
            }
            Phase::Retired => {}
        }
        self.hand_out(function, &mut state);
    }

    /// Starts the process of an instance.
    async fn start(&self, function: &Function, id: &InstanceId) -> Result<Child, String> {
        let Program { name, binary, .. } = &function.program;
        self.wait_for(binary).await?;
        // A build may have retired this instance during the wait. A process that started now would be killed at once.
        let is_wanted = |it: &Instance| !matches!(it.phase, Phase::Retired);
        if !function.state().instances.get(id).is_some_and(is_wanted) {
            return Err("a build replaced it".to_owned());
        }
        let mut command = self.starter.command(binary);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("AWS_") {
                // A function must not use the developer's own AWS account.
                command.env_remove(variable);
            }
        }
        command
            .envs(&self.settings.environment)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api::address(self.api, name, id));
        let child = self.starter.start(command).await;
        let child = child.map_err(|error| format!("cannot run {}: {error}", binary.display()))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let mut state = function.state();
        match state.instances.get_mut(id) {
            Some(instance) if !self.ending.load(Ordering::SeqCst) => instance.pid = pid,
            // Dropping the child ends it.
            _ => return Err("the server is shutting down".to_owned()),
        }
        Ok(child)
    }

    /// Waits until `binary` exists. A binary is missing for a moment while a linker replaces it.
    async fn wait_for(&self, binary: &Path) -> Result<(), String> {
        if !binary.exists() {
            let mut building = self.building.subscribe();
            drop(building.wait_for(|building| !*building).await);
            let deadline = tokio::time::Instant::now() + LINK_LIMIT;
            while !binary.exists() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(POLL).await;
            }
        }
        if binary.exists() {
            return Ok(());
        }
        Err(format!("{} is missing: restart the dev server to build it", binary.display()))
    }

    /// Waits until the process of an instance ends, and kills the process if the instance has to stop.
    async fn attend(
        &self,
        function: &Function,
        id: &InstanceId,
        mut child: Child,
        stop: &Notify,
    ) -> End {
        let relays = [
            child.stdout.take().map(|stream| tokio::spawn(relay(stream))),
            child.stderr.take().map(|stream| tokio::spawn(relay(stream))),
        ];
        let never_polls = async {
            tokio::time::sleep(self.settings.start_limit).await;
            let starting = |state: &State| {
                state.instances.get(id).is_some_and(|it| matches!(it.phase, Phase::Starting))
            };
            if !starting(&function.state()) {
                std::future::pending::<()>().await;
            }
        };
        let end = tokio::select! {
            status = child.wait() => {
                End::Exited(status.map_or_else(|error| error.to_string(), |it| it.to_string()))
            }
            () = never_polls => End::NeverPolled,
            () = stop.notified() => End::Killed,
        };
        if !matches!(end, End::Exited(_)) {
            let _ = child.start_kill();
            drop(child.wait().await);
        }
        // From now on, the id may belong to another process, which must be neither killed nor waited for.
        if let Some(instance) = function.state().instances.get_mut(id) {
            instance.pid = None;
        }
        for relay in relays.into_iter().flatten() {
            drop(tokio::time::timeout(OUTPUT_LIMIT, relay).await);
        }
        end
    }
}

/// Prints the lines that a function writes.
async fn relay(stream: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        ui::note(String::from_utf8_lossy(&line));
    }
}

fn random_id() -> String {
    Uuid::from_bytes((&SystemRandom as &dyn Random).bytes()).to_string()
}
