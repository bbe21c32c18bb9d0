// The fleet as the stream tells it: all of it once, and then what has changed.

import { STATES, keyOf, natural } from "./format.js";

const RANK = new Map(STATES.map((state, n) => [state, n]));

/** By node, then GPUs before CPUs, then by number. */
const byPlace = (a, b) => natural(a.node, b.node) || (a.kind === b.kind ? natural(a.device, b.device) : a.kind === "gpu" ? -1 : 1);

/** `rows` are in the order of their places; a row stays the same object for as long as its device is there. */
export class Rows {
  constructor() {
    this.rows = [];
    this.byId = new Map();
    this.byKey = new Map();
    this.seq = null;
  }

  /** Take the whole fleet. */
  replace(data) {
    this.seq = data.seq;
    this.byId = new Map(data.ids.map((id, n) => [id, data.rows[n]]));
    this.index();
  }

  /** The rows that have changed, as { changed, moved }; null when a message is missing before this one. */
  apply(data) {
    if (this.seq === null || data.seq !== this.seq + 1) return null;
    this.seq = data.seq;
    const changed = new Set();
    for (const [field, [ids, values]] of Object.entries(data.set ?? {})) {
      ids.forEach((id, n) => {
        const row = this.byId.get(id);
        row[field] = values[n];
        changed.add(row);
      });
    }
    for (const id of data.gone ?? []) this.byId.delete(id);
    (data.added_ids ?? []).forEach((id, n) => this.byId.set(id, data.added[n]));
    const moved = Boolean(data.gone?.length || data.added?.length);
    if (moved) this.index();
    return { changed, moved };
  }

  index() {
    this.rows = [...this.byId.values()].sort(byPlace);
    this.byKey = new Map(this.rows.map((row) => [keyOf(row), row]));
    this.place = new Map(this.rows.map((row, n) => [row, n]));
  }

  /** What needs a person, the most urgent first. */
  urgent() {
    return this.rows.filter((row) => row.state !== "ok").sort((a, b) => RANK.get(a.state) - RANK.get(b.state) || this.place.get(a) - this.place.get(b));
  }
}
