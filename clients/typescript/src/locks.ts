/** The part of Web Locks (`navigator.locks`) that the client uses. */
export interface Locks {
  request<T>(name: string, callback: () => Promise<T>): Promise<T>;
}

/** Locks that other tabs can see: Web Locks, but not the locks of this process. */
export interface VisibleLocks extends Locks {
  request<T>(name: string, callback: () => Promise<T>): Promise<T>;
  request<T>(
    name: string,
    options: { mode: "shared"; ifAvailable: true },
    callback: () => Promise<T>,
  ): Promise<T>;
  query(): Promise<{ held?: { name?: string }[] }>;
}

export function visible(locks: Locks): locks is VisibleLocks {
  return "query" in locks;
}

/** The last holder of each lock of this process. */
const holders = new Map<string, Promise<unknown>>();

/** Locks that the clients of this process share. */
const processLocks: Locks = {
  request(name, callback) {
    const held = (holders.get(name) ?? Promise.resolve()).then(callback);
    const done = held.then(
      () => undefined,
      () => undefined,
    );
    holders.set(name, done);
    void done.then(() => {
      if (holders.get(name) === done) holders.delete(name);
    });
    return held;
  },
};

/** Web Locks, which all tabs of an origin share. Where they are missing, as in Node 20, locks of this process. */
export function availableLocks(): Locks {
  const navigator = globalThis.navigator as { locks?: Locks } | undefined;
  return navigator?.locks ?? processLocks;
}
