//! A proxy between a function and its database. It records calls, and can run an action before a call or make a call
//! fail.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use process::Env;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::remove_conditions;
use crate::{Fault, Stack};

type Action = Pin<Box<dyn Future<Output = ()> + Send>>;
type ChooseFault = Box<dyn Fn(&Call) -> Fault + Send + Sync>;

/// A recorded call to the database.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, such as `UpdateItem`.
    pub operation: String,
    /// The request as JSON.
    pub body: Value,
}

impl Call {
    /// The partition key of the requested item. Empty unless the call requests exactly one item.
    #[must_use]
    pub fn partition_key(&self) -> &str {
        let of = |member: &str| self.body[member]["pk"]["S"].as_str();
        of("Key").or_else(|| of("Item")).unwrap_or_default()
    }

    /// The sort key of the requested item. Empty unless the call requests exactly one item.
    #[must_use]
    pub fn sort_key(&self) -> &str {
        let of = |member: &str| self.body[member]["sk"]["S"].as_str();
        of("Key").or_else(|| of("Item")).unwrap_or_default()
    }
}

/// A proxy in front of the database of a [`Stack`]. It numbers calls from 0.
pub struct Interceptor {
    url: String,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    /// For each call, a reference that is alive until the call has been answered.
    in_progress: Vec<Weak<()>>,
    action: Option<(usize, Action)>,
    choose: Option<ChooseFault>,
}

impl std::fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interceptor").field("url", &self.url).finish_non_exhaustive()
    }
}

fn locked(script: &Mutex<Script>) -> std::sync::MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Interceptor {
    /// Starts an interceptor for this stack that forwards every call.
    ///
    /// # Panics
    /// When no loopback port is free.
    pub async fn of(stack: &Stack) -> Self {
        let database = stack.endpoint().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (database, script) = (database.clone(), Arc::clone(&shared));
                // A client that disconnects does not fail the test.
                tokio::spawn(async move { drop(serve(client, &database, &script).await) });
            }
        });
        Self { url, script }
    }

    /// The environment of a function that calls its database through this interceptor.
    #[must_use]
    pub fn env(&self, stack: &Stack, changes: &[(&str, &str)]) -> Env {
        let url = [("AWS_ENDPOINT_URL_DYNAMODB", self.url.as_str())];
        stack.env_with(&[&url, changes].concat())
    }

    /// Forgets all calls and the script. Every later call is forwarded.
    pub fn reset(&self) {
        *locked(&self.script) = Script::default();
    }

    /// Calls [`reset`](Self::reset), then runs `action` before call number `call`, once all earlier calls have been
    /// answered.
    pub fn before(&self, call: usize, action: impl Future<Output = ()> + Send + 'static) {
        let action: Action = Box::pin(action);
        *locked(&self.script) = Script { action: Some((call, action)), ..Script::default() };
    }

    /// Calls [`reset`](Self::reset), then injects `fault` into call number `call`.
    pub fn fail_at(&self, call: usize, fault: Fault) {
        let calls = AtomicUsize::new(0);
        self.fail_when(move |_| {
            if calls.fetch_add(1, Ordering::SeqCst) == call { fault } else { Fault::None }
        });
    }

    /// Calls [`reset`](Self::reset), then injects into each call the fault that `choose` returns for it.
    pub fn fail_when(&self, choose: impl Fn(&Call) -> Fault + Send + Sync + 'static) {
        *locked(&self.script) = Script { choose: Some(Box::new(choose)), ..Script::default() };
    }

    /// Injects into each later call the fault that `choose` returns for it, and keeps the recorded calls.
    pub fn also_fail_when(&self, choose: impl Fn(&Call) -> Fault + Send + Sync + 'static) {
        locked(&self.script).choose = Some(Box::new(choose));
    }

    /// Waits until the first `count` calls since the last reset have been answered, even if the function no longer
    /// waits for them.
    pub async fn answered(&self, count: usize) {
        let in_progress = || {
            let script = locked(&self.script);
            script.in_progress.iter().take(count).any(|call| call.strong_count() > 0)
        };
        while in_progress() {
            tokio::task::yield_now().await;
        }
    }

    /// All calls since the last reset.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.script).calls.clone()
    }
}

/// Serves one call and closes the connection.
async fn serve(mut client: TcpStream, database: &str, script: &Mutex<Script>) -> io::Result<()> {
    let Some((head, body)) = request(&mut client).await? else { return Ok(()) };
    let request_json: Value = serde_json::from_slice(&body).expect("a request of the SDK is JSON");
    let call = Call {
        operation: header(&head, "x-amz-target").rsplit('.').next().unwrap_or_default().to_owned(),
        body: request_json.clone(),
    };
    let answered = Arc::new(());
    let (fault, action, earlier) = {
        let mut script = locked(script);
        let number = script.calls.len();
        let fault = script.choose.as_ref().map_or(Fault::None, |choose| choose(&call));
        script.calls.push(call);
        let earlier = script.in_progress.clone();
        script.in_progress.push(Arc::downgrade(&answered));
        (fault, script.action.take_if(|(before, _)| *before == number), earlier)
    };
    if let Some((_, action)) = action {
        while earlier.iter().any(|call| call.strong_count() > 0) {
            tokio::task::yield_now().await;
        }
        action.await;
    }
    let answer = match fault {
        Fault::None => forward(&head, &body, database).await?,
        Fault::LostAnswer => {
            forward(&head, &body, database).await?;
            return Ok(());
        }
        Fault::Lost => return Ok(()),
        Fault::Silence => std::future::pending().await,
        Fault::AccessDenied => canned(
            "400 Bad Request",
            r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}"#,
        ),
        Fault::ServerError => canned(
            "500 Internal Server Error",
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}"#,
        ),
        Fault::Throttled => canned(
            "400 Bad Request",
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#,
        ),
        Fault::Unconditional => {
            let mut request = request_json;
            remove_conditions(&mut request);
            let request = request.to_string();
            forward(&with_length(&head, request.len()), request.as_bytes(), database).await?
        }
        other => panic!("only a client with `Faults` can inject {other:?}"),
    };
    client.write_all(&answer).await
}

/// Reads the head and the body of a request. Returns `None` if the client closes the connection first.
async fn request(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length: usize = header(&head, "content-length").parse().unwrap_or(0);
        if bytes.len() >= end + 4 + length {
            return Ok(Some((head, bytes[end + 4..end + 4 + length].to_vec())));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(of, _)| of.eq_ignore_ascii_case(name));
    values.next().map_or("", |(_, value)| value.trim())
}

/// Replaces the header `content-length`.
fn with_length(head: &str, length: usize) -> String {
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let lines = head.lines().filter(|line| !is_length(line));
    let length = format!("content-length: {length}");
    lines.chain([length.as_str()]).collect::<Vec<_>>().join("\r\n")
}

/// Forwards a request to the database and returns the response with the header `connection: close`.
async fn forward(head: &str, body: &[u8], database: &str) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(database).await?;
    server.write_all(head.as_bytes()).await?;
    server.write_all(b"\r\nconnection: close\r\n\r\n").await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    let line = answer.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
    answer.splice(line..line, b"\r\nconnection: close".iter().copied());
    Ok(answer)
}

fn canned(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
