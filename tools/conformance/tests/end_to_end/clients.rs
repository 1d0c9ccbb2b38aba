//! The packages of both clients use a dev server: they register, log in, refresh once for many calls, and log out.

use std::path::{Path, PathBuf};
use std::process::Command;

use develop::clients;
use develop::tools::{ToolSet, Tools};
use template::project::Project;
use tokio::sync::Mutex;

use super::server::shared;

const TYPESCRIPT: &str = r#"
import { strict as assert } from "node:assert";
import { createLatchkey, memoryStorage } from "./package/dist/index.js";
const [baseUrl, username] = process.argv.slice(2);
const password = "a long walk by the river";
const storage = memoryStorage();
const ended = [];
const { api, session } = createLatchkey({ baseUrl, storage, onSignedOut: (reason) => ended.push(reason) });
const registered = await api.POST("/auth/register", { body: { username, password } });
assert.equal(registered.data?.user.username, username);
assert.equal((await api.POST("/auth/login", { body: { username, password: "wrong" } })).error.code, "invalid_credentials");
assert.ok((await api.POST("/auth/login", { body: { username, password } })).data);
const greeting = { message: `Hello, ${username}!` };
assert.deepEqual((await api.GET("/auth/protected")).data, greeting);
assert.equal((await api.GET("/auth/admin")).error.code, "insufficient_role");
const before = storage.get();
storage.set({ ...before, access_token: "invalid" });
const calls = await Promise.all(Array.from({ length: 20 }, () => api.GET("/auth/protected")));
for (const { data } of calls) assert.deepEqual(data, greeting);
const after = storage.get();
assert.notEqual(after.refresh_token, before.refresh_token);
assert.equal((await session.fetch(`${baseUrl}/api/protected_route`)).status, 200);
assert.equal((await api.POST("/auth/logout")).response.status, 204);
storage.set(after);
assert.equal((await api.GET("/auth/protected")).error.code, "invalid_token");
assert.deepEqual(ended, ["logout", "refused"]);
console.log(await session.isSignedIn());
"#;

const PYTHON: &str = r#"
import sys
from concurrent.futures import ThreadPoolExecutor
from latchkey_client import MemoryStorage, Session, StoredTokens
from latchkey_client.generated.api.accounts import login, register
from latchkey_client.generated.api.checked import admin, protected
from latchkey_client.generated.api.sessions import logout
from latchkey_client.generated.models import CredentialsByUsername, Registration
base_url, username = sys.argv[1:]
password = "a long walk by the river"
storage, ended = MemoryStorage(), []
with Session(base_url, storage=storage, on_signed_out=ended.append) as session:
    client = session.client
    registered = register.sync(client=client, body=Registration(username=username, password=password))
    assert registered.user.username == username
    assert login.sync(client=client, body=CredentialsByUsername(username, "wrong")).code == "invalid_credentials"
    assert login.sync(client=client, body=CredentialsByUsername(username, password)).expires_in > 0
    greeting = f"Hello, {username}!"
    assert protected.sync(client=client).message == greeting
    assert admin.sync(client=client).code == "insufficient_role"
    before = storage.load()
    storage.save(StoredTokens("invalid", before.refresh_token))
    with ThreadPoolExecutor(20) as pool:
        for answer in pool.map(lambda _: protected.sync(client=client), range(20)):
            assert answer.message == greeting
    after = storage.load()
    assert after.refresh_token != before.refresh_token
    assert session.http.get("/api/protected_route").status_code == 200
    assert logout.sync_detailed(client=client).status_code == 204
    storage.save(after)
    assert protected.sync(client=client).code == "invalid_token"
    assert ended == ["logout", "refused"]
    print(str(session.is_signed_in).lower())
"#;

/// Builds the packages into `folder`, and unpacks the npm package next to its libraries.
pub(super) async fn unpack(folder: &Path) -> (Tools, PathBuf) {
    // Building a package writes into the folder of the client.
    static PACKING: Mutex<()> = Mutex::const_new(());
    let project = Project::here();
    let tools = Tools::install(&project, ToolSet::Clients).await.unwrap();
    let _packing = PACKING.lock().await;
    let packages = clients::pack(&project, &tools, &folder.join("packages")).await.unwrap();
    printed(Command::new("tar").arg("-xzf").arg(packages.typescript).arg("-C").arg(folder));
    std::os::unix::fs::symlink(tools.node_modules(), folder.join("node_modules")).unwrap();
    (tools, packages.python)
}

/// The output of a successful command.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_register_log_in_refresh_and_log_out() {
    let folder = tempfile::tempdir().unwrap();
    let (tools, wheel) = unpack(folder.path()).await;
    let server = shared();
    let script = folder.path().join("client.mjs");
    std::fs::write(&script, TYPESCRIPT).unwrap();
    let mut typescript = Command::new(tools.node());
    typescript.arg(script).args([server.url(), "typescript"]);
    assert_eq!(printed(&mut typescript), "false\n");
    let mut python = Command::new(tools.program("python"));
    python.args(["-c", PYTHON, server.url(), "pythonista"]).env("PYTHONPATH", wheel);
    assert_eq!(printed(&mut python), "false\n");
}
