//! An embedded DynamoDB with the tables of the template.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dynoxide::Database;
use dynoxide::errors::DynoxideError;
use process::{ConfigErrors, Env};
use serde_json::{Value, json};
use template::{Table, ui};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::loopback;

/// The name of the database file in the folder of local state.
pub const FILE: &str = "latchkey.db";

/// The first bytes of every `SQLite` database.
const HEADER: &[u8] = b"SQLite format 3\0";

/// Where the database stores its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In a file, so that the items outlive the process.
    File(PathBuf),
    /// In memory.
    Memory,
}

impl FromStr for Storage {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "memory" { Self::Memory } else { Self::File(text.into()) })
    }
}

/// A running database, which stops when it is dropped.
pub struct LocalDatabase {
    address: SocketAddr,
    database: Database,
    servers: [JoinHandle<()>; 2],
    lock: Option<File>,
}

/// Why the database cannot be used. The message is one line.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process has the database open. The message names the file and the process.
    #[error("the database {0}")]
    InUse(String),
    /// The file cannot be opened.
    #[error("cannot open the database {path}: {problem}")]
    Open {
        /// The path of the file.
        path: String,
        /// The reason.
        problem: String,
    },
    /// The emulator refuses the template's definition of a table.
    #[error("cannot create the table {table}: {problem}")]
    Table {
        /// The logical id of the table.
        table: String,
        /// The reason.
        problem: String,
    },
    /// The file is not a database, or a part of it is unreadable.
    #[error(
        "the database {0} is damaged, or the file is not a database: replace it with a backup, delete it to start \
         with an empty one, or choose another with --db"
    )]
    Damaged(String),
    /// The key of a table in the file differs from that in the template.
    #[error(
        "the key of the table {0} in the database differs from the one in template.yaml: delete the database file, \
         or choose another with --db"
    )]
    DifferentKey(String),
    /// No port is free.
    #[error("cannot listen for the database: {0}")]
    Listen(std::io::Error),
}

impl LocalDatabase {
    /// Opens or creates the database, creates missing tables, and serves it on a free port of the loopback
    /// interface.
    ///
    /// # Errors
    /// When the file cannot be opened, a table cannot be created or has a different key, or no port is free.
    pub async fn start(storage: &Storage, tables: &[Table]) -> Result<Self, DatabaseError> {
        let (database, lock) = match storage {
            Storage::Memory => {
                (Database::memory().map_err(|error| open(Path::new("memory"), &error))?, None)
            }
            Storage::File(path) => {
                check_header(path)?;
                let lock = lock(path)?;
                create_private(path)?;
                let name = path.display().to_string();
                let database = Database::new(&name).map_err(|error| open(path, &error))?;
                index_streams(path).map_err(|error| open(path, &error))?;
                (database, Some(lock))
            }
        };
        for table in tables {
            create_table(&database, table).map_err(|error| match (storage, error) {
                (Storage::File(path), DatabaseError::Table { problem, .. })
                    if is_damage(&problem) =>
                {
                    DatabaseError::Damaged(path.display().to_string())
                }
                (_, error) => error,
            })?;
        }
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DatabaseError::Listen)?;
        let address = listener.local_addr().map_err(DatabaseError::Listen)?;
        // The emulator would accept requests from web pages of any origin, so a guard in front of it refuses such
        // requests.
        let hidden = loopback::hidden().await.map_err(DatabaseError::Listen)?;
        let emulator = hidden.local_addr().map_err(DatabaseError::Listen)?;
        let servers = [
            tokio::spawn(dynoxide::server::serve_on(hidden, database.clone())),
            tokio::spawn(loopback::guard(listener, address.port(), emulator)),
        ];
        Ok(Self { address, database, servers, lock })
    }

    /// Records which process has the database open, for the error messages of other processes.
    ///
    /// # Errors
    /// When the lock file next to the database cannot be written.
    pub fn held_by(&self, holder: &str) -> std::io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| write_holder(lock, holder))
    }

    /// The URL of the database.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The database itself, for its streams.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

impl std::fmt::Debug for LocalDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalDatabase").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for LocalDatabase {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

/// The variables with which a client finds the database at `endpoint`. The database accepts any credentials.
pub(crate) fn environment(endpoint: &str) -> BTreeMap<String, String> {
    [
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Creates a client for the database at `endpoint`.
///
/// # Errors
/// When the configuration of the client is invalid.
pub fn connect(endpoint: &str) -> Result<dynamo::Client, ConfigErrors> {
    let config = Env::from_iter(environment(endpoint)).settings::<dynamo::Config>()?;
    Ok(dynamo::connect(&config))
}

/// Adds an index to the emulator's table of stream records. Without the index, every write would read all earlier
/// records, which are never deleted, and importing ten thousand accounts would take an hour.
fn index_streams(path: &Path) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    connection.execute_batch(
        "CREATE INDEX IF NOT EXISTS stream_positions \
         ON _stream_records (table_name, CAST(sequence_number AS INTEGER))",
    )
}

fn open(path: &Path, problem: &dyn Display) -> DatabaseError {
    let path_text = path.display().to_string();
    let problem = problem.to_string().replace('\n', " ");
    if is_damage(&problem) {
        return DatabaseError::Damaged(path_text);
    }
    let problem = if path.is_dir() {
        "it is a folder"
    } else {
        problem.strip_prefix("Internal error: ").unwrap_or(&problem)
    };
    DatabaseError::Open { path: path_text, problem: problem.to_owned() }
}

/// Whether the emulator or `SQLite` reports a damaged file. Only the text distinguishes such an error from others.
fn is_damage(problem: &str) -> bool {
    ["not a valid SQLite database", "not a valid database", "is not a database", "is malformed"]
        .iter()
        .any(|damage| problem.contains(damage))
}

/// Refuses another program's file before anything is written next to it.
fn check_header(path: &Path) -> Result<(), DatabaseError> {
    let mut header = Vec::new();
    // A file that cannot be read is reported later, when the emulator opens it.
    let read =
        File::open(path).and_then(|file| file.take(HEADER.len() as u64).read_to_end(&mut header));
    if read.is_ok() && !header.is_empty() && header != HEADER {
        return Err(DatabaseError::Damaged(path.display().to_string()));
    }
    Ok(())
}

/// Creates the file if it is missing. Only its owner can read it, because it will contain password hashes. `SQLite`
/// gives its other files the same mode.
fn create_private(path: &Path) -> Result<(), DatabaseError> {
    let created = File::options().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(DatabaseError::Open {
                path: path.display().to_string(),
                problem: ui::reason(&error),
            })
        }
        _ => Ok(()),
    }
}

/// Locks the database for this process alone: the emulator keeps part of its state in memory, where another process
/// would not see it.
fn lock(path: &Path) -> Result<File, DatabaseError> {
    let name = path.display().to_string();
    let mut lock_file = path.as_os_str().to_owned();
    lock_file.push(".lock");
    let unusable = |error| DatabaseError::Open { path: name.clone(), problem: ui::reason(&error) };
    // Do not truncate the file, because it names the process that holds the lock.
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(lock_file).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {
            let holder = format!("process {}", std::process::id());
            write_holder(&file, &holder).map_err(unusable)?;
            Ok(file)
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // A process that has just acquired the lock may not have written its name yet.
            let read = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if read { holder.trim() } else { "another process" };
            Err(DatabaseError::InUse(format!("{name} is in use by {holder}")))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn write_holder(mut lock: &File, holder: &str) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(holder.as_bytes())
}

fn create_table(database: &Database, table: &Table) -> Result<(), DatabaseError> {
    let fault = |problem: String| DatabaseError::Table {
        table: table.name.clone(),
        problem: problem.replace('\n', " "),
    };
    let mut request = table.definition.clone();
    request["TableName"] = json!(table.name);
    let request = serde_json::from_value(request).map_err(|error| fault(error.to_string()))?;
    match database.create_table(request) {
        Ok(_) => {}
        Err(DynoxideError::ResourceInUseException(_)) => return check_table(database, table),
        Err(error) => return Err(fault(error.to_string())),
    }
    if let Some(attribute) = &table.ttl {
        let request = json!({
            "TableName": table.name,
            "TimeToLiveSpecification": {"AttributeName": attribute, "Enabled": true},
        });
        let request = serde_json::from_value(request).map_err(|error| fault(error.to_string()))?;
        database.update_time_to_live(request).map_err(|error| fault(error.to_string()))?;
    }
    Ok(())
}

/// Checks that an existing table has the same key as in the template, and adds its stream if that is missing.
fn check_table(database: &Database, table: &Table) -> Result<(), DatabaseError> {
    let fault = |problem: String| DatabaseError::Table { table: table.name.clone(), problem };
    let request = serde_json::from_value(json!({"TableName": table.name}))
        .map_err(|error| fault(error.to_string()))?;
    let described = database.describe_table(request).map_err(|error| fault(error.to_string()))?;
    let described: Value =
        serde_json::to_value(described).map_err(|error| fault(error.to_string()))?;
    if described["Table"]["KeySchema"] != table.definition["KeySchema"] {
        return Err(DatabaseError::DifferentKey(table.name.clone()));
    }
    // If the template has since gained a stream, add it, as a deployment would.
    let stream = &table.definition["StreamSpecification"];
    if !stream.is_null() && described["Table"]["StreamSpecification"].is_null() {
        let request = json!({"TableName": table.name, "StreamSpecification": stream});
        let request = serde_json::from_value(request).map_err(|error| fault(error.to_string()))?;
        database.update_table(request).map_err(|error| fault(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dynoxide::actions::list_streams::ListStreamsRequest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    fn table(key: &str) -> Table {
        Table {
            name: "UsersTable".to_owned(),
            definition: json!({
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            }),
            ttl: Some("expires_at".to_owned()),
        }
    }

    /// The emulator runs this query before every write.
    #[tokio::test]
    async fn the_position_of_a_new_stream_record_is_found_in_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let storage = Storage::File(path.clone());
        let _database = LocalDatabase::start(&storage, &[table("pk")]).await.unwrap();
        let plan: String = rusqlite::Connection::open(path)
            .unwrap()
            .query_row(
                "EXPLAIN QUERY PLAN SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 \
                 FROM _stream_records WHERE table_name = 'UsersTable'",
                [],
                |row| row.get("detail"),
            )
            .unwrap();
        assert!(plan.contains("INDEX stream_positions"), "{plan}");
    }

    #[tokio::test]
    async fn a_database_persists_and_only_one_process_can_open_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::File(folder.path().join("test.db"));
        let first = LocalDatabase::start(&storage, &[table("pk")]).await.unwrap();
        let second = LocalDatabase::start(&storage, &[table("pk")]).await.unwrap_err();
        assert!(matches!(second, DatabaseError::InUse(_)), "{second}");
        assert!(
            second.to_string().ends_with(&format!("process {}", std::process::id())),
            "{second}"
        );
        first.held_by("the dev server at http://127.0.0.1:1").unwrap();
        let third = LocalDatabase::start(&storage, &[table("pk")]).await.unwrap_err();
        assert!(
            third.to_string().ends_with("in use by the dev server at http://127.0.0.1:1"),
            "{third}"
        );
        drop(first);
        LocalDatabase::start(&storage, &[table("pk")]).await.unwrap();
        let other = LocalDatabase::start(&storage, &[table("id")]).await.unwrap_err();
        assert!(matches!(other, DatabaseError::DifferentKey(_)), "{other}");
    }

    #[tokio::test]
    async fn only_the_owner_can_read_the_files_of_a_new_database() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::File(folder.path().join("test.db"));
        let _database = LocalDatabase::start(&storage, &[table("pk")]).await.unwrap();
        let mut files = 0;
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
            files += 1;
        }
        assert!(files >= 2, "the database and its lock: {files}");
    }

    #[tokio::test]
    async fn nothing_is_written_next_to_a_file_of_another_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("README.md");
        std::fs::write(&path, "# Not a database\n").unwrap();
        let error = LocalDatabase::start(&Storage::File(path), &[]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Damaged(_)), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// Without the guard, the emulator would answer every web page and let it read the response.
    #[tokio::test]
    async fn no_web_page_can_query_the_database() {
        let database = LocalDatabase::start(&Storage::Memory, &[table("pk")]).await.unwrap();
        let address = database.address;
        let port = address.port();
        let ask = async |method: &str, headers: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!(
                "{method} / HTTP/1.1\r\n{headers}\r\nX-Amz-Target: DynamoDB_20120810.ListTables\r\n\
                 X-Amz-Date: 20260101T000000Z\r\nContent-Type: application/x-amz-json-1.0\r\n\
                 Authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/\
                 aws4_request, SignedHeaders=host, Signature=0\r\n\
                 Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let own = format!("Host: 127.0.0.1:{port}");
        let answer = ask("POST", &own).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("UsersTable"), "{answer}");
        for headers in [
            format!("{own}\r\nOrigin: http://evil.example"),
            format!("{own}\r\nOrigin: null"),
            format!("{own}\r\nSec-Fetch-Site: cross-site"),
            format!("Host: evil.example:{port}"),
        ] {
            for method in ["POST", "OPTIONS"] {
                let answer = ask(method, &headers).await;
                assert!(answer.starts_with("HTTP/1.1 403"), "{method} {headers}: {answer}");
                assert!(!answer.contains("access-control-"), "{answer}");
            }
        }
    }

    /// A request that announces a length above the limit is refused immediately. A request without a length is refused
    /// once it exceeds the limit.
    #[tokio::test]
    async fn a_request_that_is_too_large_is_refused_before_it_is_read() {
        let database = LocalDatabase::start(&Storage::Memory, &[table("pk")]).await.unwrap();
        let host = format!("Host: {}", database.address);
        let too_large = loopback::MAX_GUARDED_BYTES + 1;
        let chunk = format!("{too_large:x}\r\n{}\r\n", "x".repeat(too_large));
        for (length, body) in [
            (format!("Content-Length: {too_large}"), String::new()),
            ("Transfer-Encoding: chunked".to_owned(), chunk),
        ] {
            let stream = TcpStream::connect(database.address).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let request = format!("POST / HTTP/1.1\r\n{host}\r\n{length}\r\n\r\n{body}");
            // The server may close the connection before it has read everything, so the client keeps its end open.
            let sending = tokio::spawn(async move {
                drop(write.write_all(request.as_bytes()).await);
                std::future::pending::<()>().await;
            });
            let mut start = [0; 12];
            read.read_exact(&mut start).await.unwrap();
            assert_eq!(&start, b"HTTP/1.1 413", "{length}");
            sending.abort();
        }
    }

    #[tokio::test]
    async fn a_stream_is_added_to_a_table_that_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::File(folder.path().join("test.db"));
        drop(LocalDatabase::start(&storage, &[table("pk")]).await.unwrap());
        let mut streaming = table("pk");
        streaming.definition["StreamSpecification"] =
            json!({"StreamEnabled": true, "StreamViewType": "KEYS_ONLY"});
        let streams = |database: &LocalDatabase| {
            let listed = database.database().list_streams(ListStreamsRequest::default()).unwrap();
            listed.streams.into_iter().map(|stream| stream.table_name).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            let database = LocalDatabase::start(&storage, &[streaming.clone()]).await.unwrap();
            assert_eq!(streams(&database), ["UsersTable"]);
        }
    }

    /// Tries another program's file, and Latchkey databases that were truncated or overwritten.
    #[tokio::test]
    async fn a_damaged_database_is_reported_in_one_line_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.db");
        // Create the database without a server, because even a dropped server could keep the file open.
        let database = Database::new(&whole.to_string_lossy()).unwrap();
        create_table(&database, &table("pk")).unwrap();
        drop(database);
        let whole = std::fs::read(&whole).unwrap();
        let mut overwritten = whole.clone();
        overwritten[100..].fill(0xff);
        for (name, content) in [
            ("text", "x".repeat(5_000).into_bytes()),
            ("cut", whole[..whole.len() / 2].to_vec()),
            ("overwritten", overwritten),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let storage = Storage::File(path.clone());
            let Err(error) = LocalDatabase::start(&storage, &[table("pk")]).await else {
                panic!("{name}")
            };
            assert!(matches!(error, DatabaseError::Damaged(_)), "{name}: {error}");
            let error = error.to_string();
            let advises = error.contains("delete it") && error.contains("--db");
            assert!(advises && error.contains(&*path.to_string_lossy()), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_a_database_is_reported_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        for (path, reason) in [
            (folder.path().to_owned(), "it is a folder"),
            (folder.path().join("missing/test.db"), "No such file or directory"),
        ] {
            let error = LocalDatabase::start(&Storage::File(path), &[]).await.unwrap_err();
            let error = error.to_string();
            assert!(error.ends_with(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn a_table_that_dynamodb_would_refuse_is_refused() {
        let mut table = table("pk");
        table.definition["AttributeDefinitions"] = json!([]);
        let error = LocalDatabase::start(&Storage::Memory, &[table]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Table { .. }), "{error}");
    }
}
