/** The tokens of a session, which are secrets, and the API that issued them. */
export interface Tokens {
  access_token: string;
  refresh_token: string;
  /** The address of the API. A client ignores the tokens of another API. */
  base_url: string;
  /** Increases with each change, in a storage that `lags`. */
  version?: number;
}

/** Where a client keeps its tokens. */
export interface TokenStorage {
  /** Identifies the stored tokens, and names their lock. Everything that shares them must use the same name. */
  readonly name: string;
  get(): Tokens | null | Promise<Tokens | null>;
  /** Replaces the tokens; `null` removes them. */
  set(tokens: Tokens | null): void | Promise<void>;
  /** Calls `changed` when another tab has changed the tokens. Returns a function that ends the subscription. */
  subscribe?(changed: () => void): () => void;
  /** Whether `get` may return older tokens for a moment after another tab has changed them, until `changed` is called. */
  readonly lags?: boolean;
}

/** Keeps the tokens in this page or process only: they are gone after a reload, and no other tab has them. */
export function memoryStorage(): TokenStorage {
  let kept: Tokens | null = null;
  return {
    // Unique even across tabs, so that no other client waits for the lock.
    name: `latchkey-memory-${Math.random()}`,
    get: () => kept,
    set: (tokens) => {
      kept = tokens;
    },
  };
}

/**
 * Keeps the tokens in `localStorage`, which all tabs of the origin share, or in `sessionStorage`, which belongs to one
 * tab. Every script on the page can read them. Clients of different APIs on one origin need different names.
 */
export function webStorage(area: Storage, name = "latchkey"): TokenStorage {
  return {
    name,
    // Browsers copy `localStorage` into each process, and update the copies asynchronously.
    lags: area !== globalThis.sessionStorage,
    get: () => parse(area.getItem(name)),
    set: (tokens) => {
      if (tokens) area.setItem(name, JSON.stringify(tokens));
      else area.removeItem(name);
    },
    subscribe: (changed) => {
      const listener = (event: StorageEvent) => {
        // The key is null when everything has been removed.
        if (event.storageArea === area && (event.key === name || event.key === null)) changed();
      };
      globalThis.addEventListener?.("storage", listener);
      return () => globalThis.removeEventListener?.("storage", listener);
    },
  };
}

/** The stored tokens, or null if another version or another program has written something else. */
function parse(text: string | null): Tokens | null {
  try {
    return tokensOf(JSON.parse(text ?? "null"));
  } catch {
    return null;
  }
}

/** The tokens in a value of unknown shape, if it contains them. */
export function tokensOf(value: unknown): Tokens | null {
  const { access_token, refresh_token, base_url, version } = (value ?? {}) as Partial<Tokens>;
  return typeof access_token === "string" && typeof refresh_token === "string" && typeof base_url === "string"
    ? { access_token, refresh_token, base_url, ...(Number.isSafeInteger(version) && { version }) }
    : null;
}

/** Whether both exist and belong to the same account, which the third part of a refresh token names. */
export function sameAccount(one: Tokens | null, other: Tokens | null): other is Tokens {
  if (!one || !other) return false;
  const account = one.refresh_token.split(".")[2];
  const same = account !== undefined && account === other.refresh_token.split(".")[2];
  return same || one.refresh_token === other.refresh_token;
}
