import createClient, { type Client } from "openapi-fetch";
import type { paths } from "./schema.js";
import { Session, type SessionOptions } from "./session.js";

export type { Locks } from "./locks.js";
export type { components, paths } from "./schema.js";
export { Session, type SessionOptions, type SignedOut } from "./session.js";
export { memoryStorage, type TokenStorage, type Tokens, webStorage } from "./storage.js";

/** A client of the API. */
export interface Latchkey {
  /** Calls routes with checked types. Stores the tokens of a login, and removes them at a logout. */
  readonly api: Client<paths>;
  /** The tokens. `session.fetch` calls your own routes. */
  readonly session: Session;
}

/** Creates a client. Create one per page or process, because all calls of one client share a refresh. */
export function createLatchkey(options: SessionOptions): Latchkey {
  const session = new Session(options);
  const baseUrl = options.baseUrl.replace(/\/*$/, "");
  return { api: createClient<paths>({ baseUrl, fetch: session.fetch }), session };
}
