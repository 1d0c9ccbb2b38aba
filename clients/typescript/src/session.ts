import { availableLocks, type Locks, type VisibleLocks, visible } from "./locks.js";
import type { components, paths } from "./schema.js";
import { memoryStorage, sameAccount, type TokenStorage, type Tokens, tokensOf } from "./storage.js";

/**
 * Why a session ended: the user logged out here (`logout`), the server refused to refresh the session (`refused`), or
 * another tab removed the tokens or logged in with another account (`elsewhere`).
 */
export type SignedOut = "logout" | "refused" | "elsewhere";

export interface SessionOptions {
  /** The address of the API: the output `ApiUrl` of the stack. */
  baseUrl: string;
  /** Where the tokens are kept; in memory by default. */
  storage?: TokenStorage;
  /**
   * Called once when a session ends. Not called if nobody is signed in. It must not throw. It must not call `forget()`
   * after `elsewhere`: that would remove the tokens of an account that has logged in since.
   */
  onSignedOut?: (reason: SignedOut) => void;
  /** Sends requests; `globalThis.fetch` by default. It must obey the signal of the request. */
  fetch?: (request: Request) => Promise<Response>;
  /** Web Locks by default, or locks of this process where they are missing. */
  locks?: Locks;
  /**
   * How long a refresh may take, in milliseconds, before it is repeated: 4,000 by default. Twice this time must be
   * shorter than the grace period of the server (`REFRESH_GRACE_SECONDS`), because the repetition must reach the server
   * within it.
   */
  refreshTimeout?: number;
  /**
   * How long a request that begins or ends a session may take, in milliseconds: 30,000 by default. If the access token
   * must be refreshed first, the refresh takes up to twice `refreshTimeout` in addition. During this time, no other call
   * or tab can refresh the tokens.
   */
  changeTimeout?: number;
}

/** The paths whose 200 response to a POST contains the tokens of a session. */
type Issuing = {
  [P in keyof paths]: paths[P] extends {
    post: { responses: { 200: { content: { "application/json": components["schemas"]["Tokens"] } } } };
  }
    ? P
    : never;
}[keyof paths];

/** `begins` and `replaces` store tokens. A request that `begins` a session sends no access token. */
type Effect = "begins" | "replaces" | "ends";

/**
 * What a successful POST to a path does to the session. The compiler requires an entry for every path that issues
 * tokens.
 */
const EFFECTS: Record<Issuing, Exclude<Effect, "ends">> & Partial<Record<keyof paths, Effect>> = {
  "/auth/login": "begins",
  "/auth/password": "replaces",
  "/auth/refresh": "begins",
  "/auth/step-up": "replaces",
  "/auth/logout": "ends",
  "/auth/logout-all": "ends",
  "/auth/me/delete": "ends",
};

/** The maximum number of times that a refresh is sent. */
const ATTEMPTS = 2;

/** How long a client waits for changes of other tabs that a storage does not show yet, in milliseconds. */
const LAG = 1000;

/**
 * The result of a refresh: new tokens, or a response that decides nothing, such as 503. `null` means that the session
 * has ended or that another account has logged in.
 */
type Renewal = Tokens | Response | null;

/** Sends requests with the tokens of a session, and refreshes them. Concurrent calls and tabs share one refresh. */
export class Session {
  readonly #base: URL;
  readonly #storage: TokenStorage;
  readonly #onSignedOut: (reason: SignedOut) => void;
  readonly #transport: (request: Request) => Promise<Response>;
  readonly #locks: Locks;
  /** Where tabs show each other the version of the tokens; only for a storage that lags. */
  readonly #markers: VisibleLocks | undefined;
  readonly #refreshTimeout: number;
  readonly #changeTimeout: number;
  readonly #unsubscribe: (() => void) | undefined;
  /** The refresh in progress, and the access token that it replaces. */
  #renewing: { used: string; renewal: Promise<Renewal> } | undefined;
  /** Tokens of the session that this client has seen last, until it reports the end of the session. */
  #seen: Tokens | null = null;
  /** The version of the last change in any tab. Only the holder of the lock uses it. */
  #version = 0;
  /** The marker that this client holds. */
  #marker: { version: number; release: () => void } | undefined;

  constructor(options: SessionOptions) {
    this.#base = new URL(options.baseUrl.replace(/\/*$/, "/"));
    this.#storage = options.storage ?? memoryStorage();
    this.#onSignedOut = options.onSignedOut ?? (() => {});
    this.#transport = options.fetch ?? ((request) => globalThis.fetch(request));
    this.#locks = options.locks ?? availableLocks();
    this.#markers = this.#storage.lags && visible(this.#locks) ? this.#locks : undefined;
    this.#refreshTimeout = options.refreshTimeout ?? 4000;
    this.#changeTimeout = options.changeTimeout ?? 30_000;
    this.#unsubscribe = this.#storage.subscribe?.(() => void this.#changedElsewhere());
    // Another tab may end the session before this one sends a request.
    if (this.#unsubscribe) this.#load().catch(() => {});
  }

  /** Whether there are tokens. Only a request shows whether the server still accepts them. */
  async isSignedIn(): Promise<boolean> {
    return (await this.#load()) !== null;
  }

  /** Removes the tokens without a request. The session continues on the server until it expires. */
  async forget(): Promise<void> {
    await this.#exclusively(async () => {
      if (await this.#load()) await this.#save(null);
      this.#seen = null;
    });
  }

  /** Ends the subscription to changes in other tabs. */
  close(): void {
    this.#unsubscribe?.();
    this.#marker?.release();
  }

  /**
   * Like `fetch`, for the API and your own routes under its address. Sends the access token, unless the request has an
   * `Authorization` header or goes elsewhere. If the server refuses the token as invalid, refreshes it and repeats the
   * request once. If the refresh gets a response that does not end the session, such as 503, returns that response.
   *
   * If another account has logged in elsewhere, and `onSignedOut` has not yet reported that, reports it, and throws
   * instead of sending the request.
   */
  readonly fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const path = this.#pathOf(request);
    if (path === null || request.headers.has("Authorization")) return this.#transport(request);
    const effect = request.method === "POST" ? EFFECTS[path as keyof paths] : undefined;
    // The signal also ends the wait for the lock or for a refresh.
    return untilAborted(request.signal, this.#send(request, effect));
  };

  async #send(request: Request, effect: Effect | undefined): Promise<Response> {
    const begins = effect === "begins";
    const seen = this.#seen;
    const before = await this.#load();
    if (!begins && seen && before && !sameAccount(seen, before)) {
      await this.#changedElsewhere();
      throw new Error("another account has logged in");
    }
    if (!effect) return this.#authorized(request, before, (used) => this.#renewOnce(used));
    // The caller holds the lock: a refresh must not store its tokens between the response and the change.
    const change = async (request: Request): Promise<Response> => {
      request.signal.throwIfAborted();
      const stored = await this.#load();
      // Use the account that was signed in when the call was made, even if another one has logged in since.
      const used = sameAccount(before, stored) ? stored : before;
      const response = begins
        ? await this.#transport(request)
        : await this.#authorized(request, used, (used) => this.#renew(used));
      // The limits of the request also apply to the body.
      await response.clone().arrayBuffer();
      if (!response.ok || !(begins || sameAccount(used, await this.#load()))) return response;
      if (effect === "ends") {
        await this.#save(null);
        this.#ended("logout");
      } else {
        const tokens = await this.#issued(response);
        // The caller has been told that an aborted login failed.
        if (begins) request.signal.throwIfAborted();
        if (tokens) await this.#save(tokens);
      }
      return response;
    };
    return this.#exclusively(() => this.#limited(request, change));
  }

  /** The path below the base address, or null if the request goes elsewhere and must not have the token. */
  #pathOf(request: Request): string | null {
    const url = new URL(request.url);
    const below = url.origin === this.#base.origin && url.pathname.startsWith(this.#base.pathname);
    return below ? url.pathname.slice(this.#base.pathname.length - 1) : null;
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#locks.request(this.#storage.name, async () => {
      if (this.#markers) await this.#catchUp(this.#markers);
      return work();
    });
  }

  get #markerPrefix(): string {
    return `${this.#storage.name}:version:`;
  }

  /**
   * Waits until the storage shows the last change that a marker announces. If it shows no tokens, there is nothing to
   * refresh, and no need to wait. The caller holds the lock.
   */
  async #catchUp(markers: VisibleLocks): Promise<void> {
    const prefix = this.#markerPrefix;
    const { held = [] } = await markers.query();
    const versions = held.map(({ name }) => (name?.startsWith(prefix) ? Number(name.slice(prefix.length)) || 0 : 0));
    const marked = Math.max(0, ...versions);
    let stored = await this.#storage.get();
    const behind = () => stored !== null && (stored.version ?? 0) < marked;
    if (behind()) {
      let unsubscribe: (() => void) | undefined;
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve, reject) => {
        const check = async () => {
          stored = await this.#storage.get();
          if (!behind()) resolve();
        };
        unsubscribe = this.#storage.subscribe?.(() => void check().catch(reject));
        timer = setTimeout(resolve, LAG);
        // The change may have arrived before the subscription.
        check().catch(reject);
      }).finally(() => {
        unsubscribe?.();
        clearTimeout(timer);
      });
    }
    this.#version = Math.max(marked, stored?.version ?? 0);
  }

  /** Shows other tabs the version of the stored change: takes a lock that nobody waits for, until the next change. */
  #mark(markers: VisibleLocks, version: number): Promise<void> {
    this.#version = version;
    this.#marker?.release();
    return new Promise((marked) => {
      const hold = () =>
        new Promise<void>((release) => {
          this.#marker = { version, release };
          marked();
        });
      // The tokens are stored even if the browser refuses the marker.
      markers
        .request(`${this.#markerPrefix}${version}`, { mode: "shared", ifAvailable: true }, hold)
        .then(marked, marked);
    });
  }

  /** Limits the time of requests that change the session, and refuses redirects, which could send secrets elsewhere. */
  async #limited<T>(request: Request, change: (request: Request) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const abort = () => controller.abort(request.signal.reason);
    if (request.signal.aborted) abort();
    request.signal.addEventListener("abort", abort);
    const late = () => controller.abort(new DOMException("the server did not respond in time", "TimeoutError"));
    const timer = setTimeout(late, this.#changeTimeout);
    try {
      const redirect = request.redirect === "follow" ? "error" : request.redirect;
      return await change(new Request(request, { signal: controller.signal, redirect }));
    } finally {
      clearTimeout(timer);
      request.signal.removeEventListener("abort", abort);
    }
  }

  /** The stored tokens, unless another API issued them. */
  async #load(): Promise<Tokens | null> {
    const unseen = !this.#seen;
    const tokens = await this.#storage.get();
    // Another tab holds a marker for a newer version.
    if (this.#marker && (tokens?.version ?? 0) > this.#marker.version) this.#marker.release();
    if (tokens?.base_url !== this.#base.href) return null;
    // If this client had already seen tokens, it may have removed them since.
    if (unseen) this.#seen ??= tokens;
    return tokens;
  }

  /** Stores tokens, or removes them. The caller holds the lock. */
  async #save(tokens: Tokens | null): Promise<void> {
    const version = this.#version + 1;
    await this.#storage.set(tokens && this.#markers ? { ...tokens, version } : tokens);
    if (tokens) this.#seen = tokens;
    if (this.#markers) await this.#mark(this.#markers, version);
  }

  /** The tokens in a response, if it contains any. The response can still be read afterwards. */
  async #issued(response: Response): Promise<Tokens | null> {
    return tokensOf({ ...(await bodyOf(response)), base_url: this.#base.href });
  }

  /** Notifies the app that the session has ended, unless it has already been notified. */
  #ended(reason: SignedOut): void {
    if (!this.#seen) return;
    this.#seen = null;
    this.#onSignedOut(reason);
  }

  async #authorized(
    request: Request,
    tokens: Tokens | null,
    renew: (used: Tokens) => Promise<Renewal>,
  ): Promise<Response> {
    if (!tokens) return this.#transport(request);
    const again = request.clone();
    const response = await this.#transport(withToken(request, tokens));
    if (response.status !== 401 || (await codeOf(response)) !== "invalid_token") return response;
    const renewal = await renew(tokens);
    if (!renewal) return response;
    if (renewal instanceof Response) return renewal.clone();
    return this.#transport(withToken(again, renewal));
  }

  /** Concurrent calls whose token was refused share one refresh. */
  #renewOnce(used: Tokens): Promise<Renewal> {
    if (this.#renewing?.used !== used.access_token) {
      const renewal = this.#exclusively(() => this.#renew(used));
      const renewing = { used: used.access_token, renewal };
      this.#renewing = renewing;
      const finished = () => {
        if (this.#renewing === renewing) this.#renewing = undefined;
      };
      renewal.then(finished, finished);
    }
    return this.#renewing.renewal;
  }

  /** Refreshes, unless another call or tab has done so. The caller holds the lock. */
  async #renew(used: Tokens): Promise<Renewal> {
    const stored = await this.#load();
    if (!sameAccount(used, stored)) return null;
    if (stored.access_token !== used.access_token) return stored;
    const response = await this.#exchange(stored.refresh_token);
    const renewed = response.ok ? await this.#issued(response) : null;
    // The caller must not take this response for the response to its request.
    if (response.ok && !renewed) throw new TypeError("the response to a refresh contains no tokens");
    // A proxy can answer 401 too.
    const refused = response.status === 401 && (await codeOf(response)) === "invalid_token";
    if (!renewed && !refused) return response;
    // Without Web Locks, another tab may have logged in, logged out or refreshed in the meantime.
    const current = await this.#load();
    if (current?.refresh_token !== stored.refresh_token) return sameAccount(used, current) ? current : null;
    if (renewed) {
      await this.#save(renewed);
    } else {
      await this.#save(null);
      this.#ended("refused");
    }
    return renewed;
  }

  /**
   * Sends a refresh token, and sends it again if no response arrives or the response is 5xx. The server may already
   * have replaced the token, and accepts the old one only for a few more seconds.
   */
  async #exchange(refresh_token: string): Promise<Response> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const request = new Request(new URL("auth/refresh", this.#base), {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ refresh_token }),
          // The target of a redirect would get the refresh token.
          redirect: "error",
          signal: AbortSignal.timeout(this.#refreshTimeout),
        });
        const response = await this.#transport(request);
        // The response is complete only with its body.
        const body = await response.arrayBuffer();
        const { status, statusText, headers } = response;
        if (status < 500 || attempt === ATTEMPTS) {
          return new Response(body.byteLength ? body : null, { status, statusText, headers });
        }
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
      }
    }
  }

  async #changedElsewhere(): Promise<void> {
    if (sameAccount(this.#seen, await this.#load())) return;
    // This tab may be making the change: compare again when it has finished.
    await this.#exclusively(async () => {
      const stored = await this.#load();
      if (sameAccount(this.#seen, stored)) return;
      this.#ended("elsewhere");
      this.#seen = stored;
    });
  }
}

function withToken(request: Request, tokens: Tokens): Request {
  request.headers.set("Authorization", `Bearer ${tokens.access_token}`);
  return request;
}

/** The result of `work`, or the reason of the signal if it is aborted first. */
function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    void work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** The stable code of a problem, if the response contains one. The response can still be read afterwards. */
async function codeOf(response: Response): Promise<unknown> {
  return (await bodyOf(response)).code;
}

/** The members of a JSON body: none if the body is not an object. */
async function bodyOf(response: Response): Promise<{ code?: unknown }> {
  try {
    return Object((await response.clone().json()) as unknown);
  } catch {
    return {};
  }
}
