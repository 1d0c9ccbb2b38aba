import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request that the server has received. */
interface Received {
  path: string;
  authorization: string | undefined;
  body: string;
}

const GRACE_SECONDS = 10;

export function refreshToken(counter: number, account = "testuser"): string {
  return `v1.1.${account}.sid.${counter}.mac`;
}

/** One session of a server that follows the refresh rules of Latchkey, with a clock that tests set. */
export class FakeServer {
  readonly received: Received[] = [];
  /** The time in seconds. */
  now = 1000;
  /** How the responses to the next refreshes are lost. The server still performs these refreshes. */
  readonly losses: ("reset" | "hang")[] = [];
  /** The status and code of the responses to the next requests that are not refreshes. */
  readonly answers: [number, string][] = [];
  /** If set, the server performs no refresh, and responds to each with this status. */
  refreshStatus: number | undefined;
  /** The target of responses with the status 307. */
  location = "";
  /** Called after each decision; the response waits for the result. */
  observe: (path: string) => void | Promise<void> = () => {};
  url = "";
  #alive = false;
  #account = "";
  #counter = 0;
  #rotations: number[] = [];
  #access = 0;
  #valid = "";

  readonly #server = createServer((request, response) => {
    void this.#receive(request, response);
  });

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Lets the access token expire. */
  expire(): void {
    this.#valid = "";
  }

  count(path: string): number {
    return this.received.filter((request) => request.path === path).length;
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const chunk of request) body += chunk;
    const path = request.url ?? "";
    const { authorization } = request.headers;
    this.received.push({ path, authorization, body });
    const [status, answer] = this.#answer(path, authorization, body);
    await this.observe(path);
    const loss = path === "/auth/refresh" ? this.losses.shift() : undefined;
    if (loss === "reset") response.destroy();
    if (loss) return;
    const redirect = status === 307 ? { Location: this.location } : {};
    response.writeHead(status, { "Content-Type": "application/json", ...redirect });
    response.end(status === 204 ? undefined : JSON.stringify(answer));
  }

  #answer(path: string, authorization: string | undefined, body: string): [number, unknown] {
    if (path === "/auth/refresh") return this.#refresh(JSON.parse(body).refresh_token);
    const answer = this.answers.shift();
    if (answer) return [answer[0], { code: answer[1] }];
    if (path === "/auth/login") {
      this.#alive = true;
      this.#account = JSON.parse(body).username;
      this.#counter = 0;
      this.#rotations = [];
      return [200, this.#tokens()];
    }
    if (!authorization) return [401, { code: "missing_token" }];
    if (!this.#alive || authorization !== `Bearer ${this.#valid}`) return [401, { code: "invalid_token" }];
    if (path === "/auth/step-up") return [200, this.#tokens()];
    if (path === "/auth/logout") {
      this.#alive = false;
      return [204, null];
    }
    return [200, { message: `Hello, ${body || "testuser"}!` }];
  }

  #tokens() {
    this.#access += 1;
    this.#valid = `access-${this.#access}`;
    const refresh_token = refreshToken(this.#counter, this.#account);
    return { access_token: this.#valid, token_type: "Bearer", refresh_token };
  }

  #refresh(token: string): [number, unknown] {
    if (this.refreshStatus) return [this.refreshStatus, { code: "unavailable" }];
    const behind = this.#counter - Number(token.split(".")[4]);
    const recent = (rotation: number | undefined) =>
      rotation !== undefined && this.now - rotation <= GRACE_SECONDS;
    const [last, before] = this.#rotations;
    if (this.#alive && behind === 0 && !recent(last)) {
      this.#counter += 1;
      this.#rotations = [this.now, ...this.#rotations];
      return [200, this.#tokens()];
    }
    const current = behind === 0 || (behind === 1 && recent(last)) || (behind === 2 && recent(before));
    if (this.#alive && current) return [200, this.#tokens()];
    this.#alive = false;
    return [401, { code: "invalid_token" }];
  }
}
