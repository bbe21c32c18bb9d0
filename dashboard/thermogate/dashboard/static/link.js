// The connection: answers by fetch, and the stream, which comes back by itself.

const API = "/api/v1/";
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 15000;
const MISSED_BEATS = 3;
const KINDS = ["hello", "fleet", "changes", "event", "decision", "missed", "problem", "beat"];

/** The JSON answer of the API. Throws an Error with the server's own sentence. */
export async function ask(path, parameters = {}) {
  const response = await fetch(`${API}${path}?${new URLSearchParams(parameters)}`);
  if (response.ok) return response.json();
  if (response.status === 401) location.replace(`/login${location.hash}`); // the session is over
  const said = await response.json().catch(() => ({}));
  throw new Error(said.error ?? `HTTP ${response.status}`);
}

/**
 * Calls `on[kind](data)` for every message of the stream and `on.lost(sinceMs)` once when it breaks or
 * falls silent. A new `hello` says that it is back.
 */
export class Link {
  constructor(on) {
    this.on = on;
    this.heardMs = Date.now();
    this.silenceMs = LAST_RETRY_MS;
    this.retryMs = FIRST_RETRY_MS;
    this.lost = false;
    this.source = null;
    setInterval(() => this.watch(), 1000);
    this.connect();
  }

  connect() {
    this.triedMs = Date.now();
    this.source = new EventSource(`${API}stream`);
    this.source.onerror = () => this.broken();
    for (const kind of KINDS) this.source.addEventListener(kind, (message) => this.heard(kind, message));
  }

  heard(kind, message) {
    const data = JSON.parse(message.data);
    this.heardMs = Date.now();
    if (kind === "hello") {
      this.lost = false;
      this.retryMs = FIRST_RETRY_MS;
      this.silenceMs = MISSED_BEATS * data.heartbeat_s * 1000;
    }
    this.on[kind]?.(data);
  }

  /** EventSource does not see a peer that has gone without a word. */
  watch() {
    const quietMs = Date.now() - Math.max(this.heardMs, this.triedMs);
    if (this.source && quietMs > this.silenceMs) this.broken();
  }

  broken() {
    this.source?.close();
    this.source = null;
    if (!this.lost) this.on.lost(this.heardMs);
    this.lost = true;
    setTimeout(() => this.connect(), this.retryMs);
    this.retryMs = Math.min(LAST_RETRY_MS, this.retryMs * 2);
    ask("info").catch(() => {}); // a stream cannot tell that a session is over
  }

  /** Begin anew: a message was missing. */
  again() {
    this.source?.close();
    this.connect();
  }
}
