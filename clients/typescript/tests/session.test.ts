import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import {
  createLatchkey,
  type Latchkey,
  type Locks,
  memoryStorage,
  type SessionOptions,
  type SignedOut,
  type Tokens,
  type TokenStorage,
  webStorage,
} from "../src/index.js";
import { FakeServer, refreshToken } from "./server.js";

let server: FakeServer;
let storage: TokenStorage;
let ended: SignedOut[];

beforeEach(async () => {
  server = await new FakeServer().start();
  storage = memoryStorage();
  ended = [];
});

afterEach(() => server.stop());

function client(options: Partial<SessionOptions> = {}): Latchkey {
  const onSignedOut = (reason: SignedOut) => ended.push(reason);
  return createLatchkey({ baseUrl: server.url, storage, onSignedOut, ...options });
}

async function signedIn(options: Partial<SessionOptions> = {}): Promise<Latchkey> {
  const latchkey = client(options);
  const { response } = await login(latchkey);
  assert.equal(response.status, 200);
  return latchkey;
}

function login({ api }: Latchkey, username = "testuser", options: { signal?: AbortSignal } = {}) {
  return api.POST("/auth/login", { body: { username, password: "a long walk by the river" }, ...options });
}

async function status({ api }: Latchkey): Promise<number> {
  const { response } = await api.GET("/auth/protected");
  return response.status;
}

function callTwentyTimes(...clients: Latchkey[]): Promise<number[]> {
  return Promise.all(clients.flatMap((latchkey) => Array.from({ length: 20 }, () => status(latchkey))));
}

/** Sends a request, and ignores its signal. */
async function ignoringSignals({ url, method, headers, body }: Request): Promise<Response> {
  return fetch(url, { method, headers, body: body && (await new Response(body).text()) });
}

/** Begins a login as Bob, whose response the server sends when the returned function is called. */
async function beginLogin(latchkey: Latchkey): Promise<() => ReturnType<typeof login>> {
  let send = () => {};
  const sent = new Promise<void>((resolve) => {
    send = resolve;
  });
  let response: ReturnType<typeof login> | undefined;
  await new Promise<void>((begun) => {
    server.observe = (path) => {
      if (path !== "/auth/login") return;
      begun();
      return sent;
    };
    response = login(latchkey, "bob");
  });
  return () => {
    send();
    return response as ReturnType<typeof login>;
  };
}

/** Events of a browser about changes in another tab. */
function storageEvents(...areas: Storage[]): () => Promise<unknown> {
  const window = new EventTarget();
  Object.assign(globalThis, {
    addEventListener: window.addEventListener.bind(window),
    removeEventListener: window.removeEventListener.bind(window),
  });
  return () => {
    for (const storageArea of areas) {
      window.dispatchEvent(Object.assign(new Event("storage"), { storageArea, key: "latchkey" }));
    }
    return new Promise(setImmediate);
  };
}

/** Web Locks of a browser with several tabs. */
function sharedLocks(): Locks {
  let last: Promise<unknown> = Promise.resolve();
  return {
    request(_name, callback) {
      const held = last.then(callback);
      last = held.catch(() => undefined);
      return held;
    },
  };
}

/** The `localStorage` of a browser, without events. Calls `changed` after each change. */
function area(changed: (value: string | null) => void = () => {}): Storage {
  const items = new Map<string, string>();
  return {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => {
      items.set(key, value);
      changed(value);
    },
    removeItem: (key: string) => {
      items.delete(key);
      changed(null);
    },
  } as Storage;
}

/**
 * Two tabs with Web Locks, and the names of the markers that they hold. A tab sees a change of the other one only after
 * `deliver`. After a tab has looked for markers, the next function of `queried` is called.
 */
function laggingTabs() {
  const queried: (() => unknown)[] = [];
  let latest: string | null = null;
  const wrote = (value: string | null) => {
    latest = value;
  };
  const areas = [area(wrote), area(wrote)] as const;
  const changed = storageEvents(...areas);
  const deliver = async () => {
    await new Promise(setImmediate);
    for (const copy of areas) {
      if (latest === null) copy.removeItem("latchkey");
      else copy.setItem("latchkey", latest);
    }
    return changed();
  };
  const markers: string[] = [];
  const exclusive = sharedLocks();
  const locks = {
    async request(name: string, ...rest: unknown[]): Promise<never> {
      const callback = rest.pop() as () => Promise<never>;
      if (rest.length === 0) return exclusive.request(name, callback);
      markers.push(name);
      return callback().finally(() => markers.splice(markers.indexOf(name), 1));
    },
    async query() {
      const next = queried.shift();
      if (next) setImmediate(next);
      return { held: ["latchkey", ...markers].map((name) => ({ name })) };
    },
  };
  const told: [SignedOut[], SignedOut[]] = [[], []];
  const tab = (index: 0 | 1) =>
    client({ storage: webStorage(areas[index]), locks, onSignedOut: (reason) => told[index].push(reason) });
  return { tabs: [tab(0), tab(1)] as const, told, deliver, queried, markers, locks };
}

test("twenty concurrent calls with an expired token cause one refresh", async () => {
  const latchkey = await signedIn();
  server.expire();
  assert.deepEqual(await callTwentyTimes(latchkey), Array(20).fill(200));
  assert.equal(server.count("/auth/refresh"), 1);
  assert.deepEqual(ended, []);
});

test("concurrent calls in two tabs cause one refresh", async () => {
  const local = area();
  const locks = sharedLocks();
  const tab = () => client({ storage: webStorage(local), locks });
  const tabs = [tab(), tab()] as const;
  await login(tabs[0]);
  server.expire();
  assert.deepEqual(await callTwentyTimes(...tabs), Array(40).fill(200));
  assert.equal(server.count("/auth/refresh"), 1);
});

test("a tab that does not see the refresh of another tab yet sends no second one", async () => {
  const { tabs, told, deliver, queried, markers } = laggingTabs();
  await login(tabs[0]);
  await deliver();
  server.expire();
  assert.deepEqual(await callTwentyTimes(tabs[0]), Array(20).fill(200));
  queried.push(deliver);
  assert.deepEqual(await callTwentyTimes(tabs[1]), Array(20).fill(200));
  assert.equal(server.count("/auth/refresh"), 1);
  assert.deepEqual(markers, ["latchkey:version:2"]);
  assert.deepEqual(told, [[], []]);
});

test("a tab that does not see the logout of another tab yet sends no refresh", async () => {
  const { tabs, told, deliver, queried, markers } = laggingTabs();
  await login(tabs[0]);
  await deliver();
  await tabs[0].api.POST("/auth/logout");
  queried.push(deliver);
  assert.equal(await status(tabs[1]), 401);
  assert.equal(server.count("/auth/refresh"), 0);
  await new Promise(setImmediate);
  assert.deepEqual(told, [["logout"], ["elsewhere"]]);
  // The count continues after the tokens have been removed.
  await login(tabs[1]);
  assert.deepEqual(markers, ["latchkey:version:2", "latchkey:version:3"]);
});

test("a tab that never sees the refresh of another tab goes on", { timeout: 10_000 }, async () => {
  const { tabs, deliver, queried } = laggingTabs();
  await login(tabs[0]);
  await deliver();
  server.expire();
  assert.equal(await status(tabs[0]), 200);
  server.expire();
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    queried.push(() => mock.timers.tick(1000));
    assert.equal(await status(tabs[1]), 200);
  } finally {
    mock.timers.reset();
  }
  assert.equal(server.count("/auth/refresh"), 2);
});

test("a client holds one marker, until it sees a newer version or is closed", async () => {
  const { tabs, deliver, markers } = laggingTabs();
  await login(tabs[0]);
  await tabs[0].api.POST("/auth/step-up", { body: { password: "…" } });
  assert.deepEqual(markers, ["latchkey:version:2"]);
  await deliver();
  await tabs[1].api.POST("/auth/step-up", { body: { password: "…" } });
  await deliver();
  assert.deepEqual(markers, ["latchkey:version:3"]);
  tabs[1].session.close();
  await new Promise(setImmediate);
  assert.deepEqual(markers, []);
});

test("tabs do not compare the versions of their own sessionStorage", async () => {
  const { locks, markers } = laggingTabs();
  const sessionStorage = area();
  Object.assign(globalThis, { sessionStorage });
  try {
    await login(client({ storage: webStorage(sessionStorage), locks }));
    assert.deepEqual(markers, []);
  } finally {
    Reflect.deleteProperty(globalThis, "sessionStorage");
  }
});

test("two clients of a process that share tokens refresh once without Web Locks", async () => {
  const clients = [await signedIn(), client()] as const;
  server.expire();
  assert.deepEqual(await callTwentyTimes(...clients), Array(40).fill(200));
  assert.equal(server.count("/auth/refresh"), 1);
});

test("every refresh sends the latest refresh token", async () => {
  const latchkey = await signedIn();
  for (let round = 0; round < 3; round += 1) {
    server.now += 60;
    server.expire();
    assert.equal(await status(latchkey), 200);
  }
  const sent = server.received.filter(({ path }) => path === "/auth/refresh").map(({ body }) => JSON.parse(body));
  assert.deepEqual(sent, [0, 1, 2].map((counter) => ({ refresh_token: refreshToken(counter) })));
});

for (const loss of ["reset", "hang"] as const) {
  test(`a refresh whose response is lost is repeated: ${loss}`, async () => {
    const latchkey = await signedIn({ refreshTimeout: loss === "hang" ? 50 : 4000 });
    server.expire();
    server.losses.push(loss);
    assert.equal(await status(latchkey), 200);
    assert.equal(server.count("/auth/refresh"), 2);
    assert.equal((await storage.get())?.refresh_token, refreshToken(1));
    assert.deepEqual(ended, []);
  });
}

test("the next tab repeats the refresh of a tab that was closed", async () => {
  const local = area();
  const open = client({ storage: webStorage(local) });
  await login(open);
  const kept = local.getItem("latchkey");
  server.expire();
  assert.equal(await status(open), 200);
  // The closed tab did not store the response.
  local.setItem("latchkey", kept ?? "");
  server.expire();
  assert.equal(await status(client({ storage: webStorage(local) })), 200);
  assert.equal(JSON.parse(local.getItem("latchkey") ?? "").refresh_token, refreshToken(1));
});

test("the reuse of a refresh token signs the user out, and notifies the app once", async () => {
  const latchkey = await signedIn();
  const stolen = (await storage.get())?.refresh_token;
  server.expire();
  assert.equal(await status(latchkey), 200);
  server.now += 60;
  const body = JSON.stringify({ refresh_token: stolen });
  assert.equal((await fetch(`${server.url}/auth/refresh`, { method: "POST", body })).status, 401);
  assert.deepEqual(await callTwentyTimes(latchkey), Array(20).fill(401));
  assert.deepEqual(ended, ["refused"]);
  assert.equal(await latchkey.session.isSignedIn(), false);
  const refreshes = server.count("/auth/refresh");
  assert.equal(await status(latchkey), 401);
  assert.equal(server.count("/auth/refresh"), refreshes);
});

for (const [code, answer] of [
  ["insufficient_role", 403],
  ["wrong_password", 403],
  ["missing_token", 401],
  ["invalid_credentials", 401],
  ["insufficient_user_authentication", 401],
] as const) {
  test(`${answer} ${code} causes no refresh and no repetition`, async () => {
    const latchkey = await signedIn();
    server.answers.push([answer, code]);
    const { error, response } = await latchkey.api.GET("/auth/protected");
    assert.equal(response.status, answer);
    assert.equal(error?.code, code);
    assert.equal(server.count("/auth/refresh"), 0);
    assert.equal(server.count("/auth/protected"), 1);
  });
}

test("a request is repeated only once", async () => {
  const latchkey = await signedIn();
  server.answers.push([401, "invalid_token"], [401, "invalid_token"]);
  assert.equal(await status(latchkey), 401);
  assert.equal(server.count("/auth/protected"), 2);
  assert.equal(server.count("/auth/refresh"), 1);
  assert.deepEqual(ended, []);
});

test("a repeated request has its body", async () => {
  const { session } = await signedIn();
  server.expire();
  const response = await session.fetch(`${server.url}/api/notes`, { method: "POST", body: "note" });
  assert.deepEqual(await response.json(), { message: "Hello, note!" });
});

test("a refused refresh ends the session and notifies the app, even before a step-up", async () => {
  const latchkey = await signedIn({
    fetch: async (request) =>
      request.url.endsWith("/auth/refresh")
        ? Response.json({ code: "invalid_token" }, { status: 401 })
        : fetch(request),
  });
  server.expire();
  const { response } = await latchkey.api.POST("/auth/step-up", { body: { password: "…" } });
  assert.equal(response.status, 401);
  assert.deepEqual(ended, ["refused"]);
  assert.equal(await latchkey.session.isSignedIn(), false);
});

test("an outage during a refresh does not end the session", async () => {
  const latchkey = await signedIn();
  server.expire();
  server.refreshStatus = 503;
  assert.equal(await status(latchkey), 503);
  assert.equal(server.count("/auth/refresh"), 2);
  server.refreshStatus = undefined;
  server.losses.push("reset", "reset");
  await assert.rejects(status(latchkey), TypeError);
  assert.equal(await status(latchkey), 200);
  assert.deepEqual(ended, []);
});

test("twenty concurrent calls share a refresh that fails", async () => {
  const latchkey = await signedIn({
    fetch: async (request) =>
      request.url.endsWith("/auth/protected")
        ? Response.json({ code: "invalid_token" }, { status: 401 })
        : fetch(request),
  });
  server.refreshStatus = 503;
  assert.deepEqual(await callTwentyTimes(latchkey), Array(20).fill(503));
  assert.equal(server.count("/auth/refresh"), 2);
});

for (const [code, answer] of [
  ["invalid_token", 400],
  ["invalid_request", 400],
  [undefined, 401],
  ["missing_token", 401],
  ["bad_origin", 403],
] as const) {
  test(`${answer} ${code} to a refresh does not end the session`, async () => {
    const body = code ? JSON.stringify({ code }) : "<h1>Log in to the proxy</h1>";
    const latchkey = await signedIn({
      fetch: async (request) =>
        request.url.endsWith("/auth/refresh") ? new Response(body, { status: answer }) : fetch(request),
    });
    server.expire();
    const response = await latchkey.session.fetch(`${server.url}/auth/protected`);
    assert.equal(response.status, answer);
    assert.equal(await response.text(), body);
    assert.equal(await latchkey.session.isSignedIn(), true);
    assert.deepEqual(ended, []);
  });
}

for (const [name, body] of [
  ["no tokens", "{}"],
  ["only an access token", '{"access_token":"access"}'],
  ["HTML", "<h1>Maintenance</h1>"],
  ["null", "null"],
  ["no body", null],
] as const) {
  test(`a successful refresh without tokens is not the response to the request: ${name}`, async () => {
    const latchkey = await signedIn({
      fetch: async (request) => (request.url.endsWith("/auth/refresh") ? new Response(body) : fetch(request)),
    });
    server.expire();
    await assert.rejects(status(latchkey), { name: "TypeError", message: /contains no tokens/ });
    assert.equal(await latchkey.session.isSignedIn(), true);
    assert.deepEqual(ended, []);
  });
}

test("no other server gets the token", async () => {
  const { session } = await signedIn();
  const other = await new FakeServer().start();
  try {
    assert.equal((await session.fetch(`${other.url}/auth/protected`)).status, 401);
    assert.equal(other.received[0]?.authorization, undefined);
  } finally {
    other.stop();
  }
});

test("tokens of another API are neither sent nor removed", async () => {
  const local = area();
  await login(client({ storage: webStorage(local) }));
  const kept = local.getItem("latchkey");
  const other = await new FakeServer().start();
  try {
    const latchkey = client({ baseUrl: other.url, storage: webStorage(local) });
    assert.equal(await latchkey.session.isSignedIn(), false);
    assert.equal(await status(latchkey), 401);
    assert.equal((await latchkey.api.POST("/auth/logout")).response.status, 401);
    await latchkey.session.forget();
    assert.deepEqual(other.received.map(({ path, authorization }) => [path, authorization]), [
      ["/auth/protected", undefined],
      ["/auth/logout", undefined],
    ]);
    assert.equal(local.getItem("latchkey"), kept);
    assert.deepEqual(ended, []);
  } finally {
    other.stop();
  }
});

for (const path of ["/auth/refresh", "/auth/login"]) {
  test(`a redirect of ${path} is refused`, async () => {
    const latchkey = await signedIn();
    const before = await storage.get();
    const other = await new FakeServer().start();
    server.location = `${other.url}${path}`;
    try {
      if (path === "/auth/login") {
        server.answers.push([307, ""]);
        await assert.rejects(login(latchkey), TypeError);
      } else {
        server.expire();
        server.refreshStatus = 307;
        await assert.rejects(status(latchkey), TypeError);
      }
      assert.deepEqual(other.received, []);
      assert.deepEqual(await storage.get(), before);
      assert.deepEqual(ended, []);
    } finally {
      other.stop();
    }
  });
}

test("the caller's own Authorization header is sent unchanged", async () => {
  const { session } = await signedIn();
  const headers = { Authorization: "Bearer other" };
  assert.equal((await session.fetch(`${server.url}/auth/protected`, { headers })).status, 401);
  assert.equal(server.received.at(-1)?.authorization, "Bearer other");
  assert.equal(server.count("/auth/refresh"), 0);
});

test("a login sends no token, and a step-up replaces the token, after a refresh if necessary", async () => {
  const latchkey = await signedIn();
  const before = await storage.get();
  server.expire();
  const { response } = await latchkey.api.POST("/auth/step-up", { body: { password: "…" } });
  assert.equal(response.status, 200);
  assert.notEqual((await storage.get())?.access_token, before?.access_token);
  const requests = server.received.length;
  assert.equal(await status(latchkey), 200);
  assert.equal(server.received.length, requests + 1);
  await login(latchkey);
  assert.equal(server.received.at(-1)?.authorization, undefined);
});

test("a login during a refresh keeps its tokens", async () => {
  const latchkey = await signedIn();
  server.expire();
  server.losses.push("reset");
  const [before] = await Promise.all([status(latchkey), login(latchkey)]);
  assert.equal(before, 200);
  assert.equal(await status(latchkey), 200);
  assert.equal((await storage.get())?.refresh_token, refreshToken(0));
});

test("a refused request is not repeated for another account", async () => {
  const latchkey = await signedIn();
  server.expire();
  const finishLogin = await beginLogin(latchkey);
  const note = latchkey.session.fetch(`${server.url}/api/notes`, { method: "POST", body: "private" });
  while (server.count("/api/notes") === 0) await new Promise(setImmediate);
  await finishLogin();
  assert.equal((await note).status, 401);
  assert.equal(server.count("/api/notes"), 1);
  assert.equal((await storage.get())?.refresh_token, refreshToken(0, "bob"));
  assert.deepEqual(ended, []);
});

for (const answer of [204, 401]) {
  test(`a logout that waits for the login of another account ends only its own session: ${answer}`, async () => {
    const latchkey = await signedIn();
    const before = await storage.get();
    const finishLogin = await beginLogin(latchkey);
    const logout = latchkey.api.POST("/auth/logout-all");
    server.answers.push([answer, "invalid_token"]);
    await finishLogin();
    assert.equal((await logout).response.status, answer);
    assert.equal(server.received.at(-1)?.path, "/auth/logout-all");
    assert.equal(server.received.at(-1)?.authorization, `Bearer ${before?.access_token}`);
    assert.equal((await storage.get())?.refresh_token, refreshToken(0, "bob"));
    assert.deepEqual(ended, []);
  });
}

test("a logout of nobody that waits for a login does not end the new session", async () => {
  const latchkey = client();
  const finishLogin = await beginLogin(latchkey);
  const logout = latchkey.api.POST("/auth/logout-all");
  // The call has begun, and waits for the lock.
  await new Promise(setImmediate);
  await finishLogin();
  assert.equal((await logout).response.status, 401);
  assert.equal(server.received.at(-1)?.path, "/auth/logout-all");
  assert.equal(server.received.at(-1)?.authorization, undefined);
  assert.equal((await storage.get())?.refresh_token, refreshToken(0, "bob"));
});

test("a failed logout keeps the tokens", async () => {
  const latchkey = await signedIn();
  server.answers.push([503, "unavailable"]);
  assert.equal((await latchkey.api.POST("/auth/logout")).response.status, 503);
  assert.equal(await latchkey.session.isSignedIn(), true);
  assert.deepEqual(ended, []);
});

for (const reason of ["changeTimeout", "signal"] as const) {
  test(`a login without a response does not block refreshes forever: ${reason}`, { timeout: 10_000 }, async () => {
    const tabs = [await signedIn(reason === "changeTimeout" ? { changeTimeout: 50 } : {}), client()] as const;
    server.observe = (path) => (path === "/auth/login" ? new Promise(() => {}) : undefined);
    const signal = AbortSignal.timeout(reason === "signal" ? 50 : 60_000);
    const hung = assert.rejects(login(tabs[0], "testuser", { signal }), { name: "TimeoutError" });
    while (server.count("/auth/login") < 2) await new Promise(setImmediate);
    server.expire();
    assert.equal(await status(tabs[1]), 200);
    await hung;
  });
}

test("a signal ends the wait for a refresh", { timeout: 10_000 }, async () => {
  const latchkey = await signedIn();
  server.expire();
  const refreshing = new Promise<void>((begun) => {
    server.observe = (path) => (path === "/auth/refresh" ? (begun(), new Promise(() => {})) : undefined);
  });
  const controller = new AbortController();
  const call = latchkey.api.GET("/auth/protected", { signal: controller.signal });
  await refreshing;
  controller.abort(new Error("the page was closed"));
  await assert.rejects(call, /the page was closed/);
});

test("a signal ends the wait for the lock, and the request is not sent later", { timeout: 10_000 }, async () => {
  const latchkey = await signedIn({ fetch: ignoringSignals });
  const finishLogin = await beginLogin(latchkey);
  const controller = new AbortController();
  const logout = latchkey.api.POST("/auth/logout", { signal: controller.signal });
  // The call has begun, and waits for the lock.
  await new Promise(setImmediate);
  controller.abort(new Error("the page was closed"));
  await assert.rejects(logout, /the page was closed/);
  await finishLogin();
  // This waits until the logout has had the lock.
  await latchkey.session.forget();
  assert.equal(server.count("/auth/logout"), 0);
});

test("an aborted login signs nobody in, even if its response arrives", { timeout: 10_000 }, async () => {
  const latchkey = client({ fetch: ignoringSignals });
  const controller = new AbortController();
  server.observe = () => controller.abort(new Error("the page was closed"));
  await assert.rejects(login(latchkey, "bob", { signal: controller.signal }), /the page was closed/);
  // This waits until the login has released the lock.
  await latchkey.api.POST("/auth/logout");
  assert.equal(server.count("/auth/login"), 1);
  assert.equal(await latchkey.session.isSignedIn(), false);
});

for (const reason of ["changeTimeout", "signal"] as const) {
  test(`a refused login without the end of its body is limited too: ${reason}`, { timeout: 10_000 }, async () => {
    const stalled = (request: Request) =>
      new ReadableStream({
        start: (body) => request.signal.addEventListener("abort", () => body.error(request.signal.reason)),
      });
    const latchkey = client({
      changeTimeout: reason === "changeTimeout" ? 50 : 60_000,
      fetch: async (request) => new Response(stalled(request), { status: 400 }),
    });
    const signal = AbortSignal.timeout(reason === "signal" ? 50 : 60_000);
    await assert.rejects(login(latchkey, "testuser", { signal }), { name: "TimeoutError" });
  });
}

test("a logout removes the tokens and notifies the app, in other tabs too", async () => {
  const local = area();
  const changed = storageEvents(local);
  const told: SignedOut[] = [];
  const other = client({ storage: webStorage(local), onSignedOut: (reason) => told.push(reason) });
  const latchkey = await signedIn({ storage: webStorage(local) });
  latchkey.session.close();
  await changed();
  const { response } = await latchkey.api.POST("/auth/logout");
  assert.equal(response.status, 204);
  assert.equal(local.getItem("latchkey"), null);
  assert.deepEqual(ended, ["logout"]);
  await changed();
  assert.equal(await other.session.isSignedIn(), false);
  assert.deepEqual(told, ["elsewhere"]);
  await changed();
  assert.deepEqual(told, ["elsewhere"]);
});

test("a tab that has sent no request is notified of a logout in another tab", async () => {
  const local = area();
  const changed = storageEvents(local);
  const latchkey = await signedIn({ storage: webStorage(local) });
  latchkey.session.close();
  const told: SignedOut[] = [];
  client({ storage: webStorage(local), onSignedOut: (reason) => told.push(reason) });
  await latchkey.api.POST("/auth/logout");
  await changed();
  assert.deepEqual(told, ["elsewhere"]);
});

test("a tab is notified once if another tab logs in with another account", async () => {
  const local = area();
  const changed = storageEvents(local);
  const latchkey = await signedIn({ storage: webStorage(local) });
  const other = client({ storage: webStorage(local), onSignedOut: () => {} });
  other.session.close();
  await login(other);
  await changed();
  assert.deepEqual(ended, []);
  await login(other, "bob");
  await changed();
  await changed();
  assert.deepEqual(ended, ["elsewhere"]);
  assert.equal(await status(latchkey), 200);
  await other.api.POST("/auth/logout");
  await changed();
  await changed();
  assert.deepEqual(ended, ["elsewhere", "elsewhere"]);
});

for (const path of ["/api/notes", "/auth/logout"]) {
  test(`a request is not sent for another account before the app is notified: ${path}`, async () => {
    const latchkey = await signedIn();
    const other = client({ onSignedOut: () => {} });
    await login(other, "bob");
    const call = latchkey.session.fetch(`${server.url}${path}`, { method: "POST", body: "private" });
    await assert.rejects(call, /another account has logged in/);
    assert.equal(server.count(path), 0);
    assert.deepEqual(ended, ["elsewhere"]);
    assert.equal(await status(latchkey), 200);
    assert.equal(server.received.at(-1)?.authorization, `Bearer ${(await storage.get())?.access_token}`);
    assert.deepEqual(ended, ["elsewhere"]);
    await login(other);
    await login(latchkey, "bob");
    assert.deepEqual(ended, ["elsewhere"]);
  });
}

test("a tab is not notified of its own changes, even if the storage is slow", async () => {
  let tokens: Tokens | null = null;
  let changed = () => {};
  let reads: (() => void)[] | undefined;
  storage = {
    name: "slow",
    get: async () => {
      const stored = tokens;
      await new Promise<void>((resolve) => (reads ? reads.push(resolve) : resolve()));
      return stored;
    },
    set: async (replacement) => {
      tokens = replacement;
      changed();
      await new Promise(setImmediate);
    },
    subscribe: (listener) => {
      changed = listener;
      return () => {};
    },
  };
  const latchkey = await signedIn();
  for (const [change, reasons] of [
    [() => login(latchkey, "bob"), []],
    [() => latchkey.api.POST("/auth/logout"), ["logout"]],
    [() => login(latchkey), ["logout"]],
    [() => latchkey.session.forget(), ["logout"]],
  ] as const) {
    // The event reads the tokens before the change, and gets them after it.
    const slow: (() => void)[] = [];
    reads = slow;
    changed();
    reads = undefined;
    await change();
    for (const read of slow) read();
    await new Promise(setImmediate);
    changed();
    await new Promise(setImmediate);
    assert.deepEqual(ended, reasons);
  }
});

test("refresh tokens of an unknown format are replaced too", async () => {
  let refreshes = 0;
  const latchkey = client({
    fetch: async (request) => {
      if (request.url.endsWith("/auth/protected")) {
        const valid = request.headers.get("Authorization") === `Bearer access-${Math.max(refreshes, 1)}`;
        return valid ? Response.json({}) : Response.json({ code: "invalid_token" }, { status: 401 });
      }
      if (request.url.endsWith("/auth/refresh")) refreshes += 1;
      return Response.json({ access_token: `access-${refreshes}`, refresh_token: `refresh-${refreshes}` });
    },
  });
  await login(latchkey);
  assert.equal(await status(latchkey), 200);
  assert.equal(await status(latchkey), 200);
  assert.equal(refreshes, 1);
});

test("a tab that logs in with another account or forgets the tokens is not notified", async () => {
  const local = area();
  const changed = storageEvents(local);
  const latchkey = await signedIn({ storage: webStorage(local) });
  await login(latchkey, "bob");
  await changed();
  await latchkey.session.forget();
  await changed();
  assert.deepEqual(ended, []);
});

test("an app that is not signed in is not notified of a logout", async () => {
  const local = area();
  const changed = storageEvents(local);
  const latchkey = client({ storage: webStorage(local) });
  await changed();
  await changed();
  assert.deepEqual(ended, []);
  await login(latchkey);
  await latchkey.api.POST("/auth/logout");
  await changed();
  assert.deepEqual(ended, ["logout"]);
});

for (const change of ["logout", "login"] as const) {
  test(`the ${change} of a tab without Web Locks prevails over a refresh of another tab`, async () => {
    let tokens: Tokens | null = null;
    const shared = (name: string): TokenStorage => ({
      name,
      get: () => tokens,
      set: (changed) => {
        tokens = changed;
      },
    });
    // Different names: neither tab waits for the lock of the other.
    const other = client({ storage: shared("second") });
    const latchkey = await signedIn({
      storage: shared("first"),
      fetch: async (request) => {
        const response = await fetch(request);
        if (request.url.endsWith("/auth/refresh")) {
          await (change === "login" ? login(other, "bob") : other.session.forget());
        }
        return response;
      },
    });
    server.expire();
    assert.equal(await status(latchkey), 401);
    assert.equal(server.count("/auth/protected"), 1);
    const stored = tokens as Tokens | null;
    assert.equal(stored?.refresh_token, change === "login" ? refreshToken(0, "bob") : undefined);
    assert.deepEqual(ended, []);
  });
}

test("stored text without tokens is not a session", async () => {
  const local = area();
  for (const text of ["", "{", "null", '{"access_token":1}', '{"access_token":"a","refresh_token":"b"}']) {
    local.setItem("latchkey", text);
    assert.equal(await client({ storage: webStorage(local) }).session.isSignedIn(), false);
  }
});
