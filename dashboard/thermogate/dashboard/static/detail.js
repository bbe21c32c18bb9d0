// One device: its values now, its charts, and the gate of its node.

import { $, el, icon, setAttr, setText } from "./dom.js";
import { ABSENT, clock, deviceName, isNumber, keyOf, number, percent, power, span } from "./format.js";
import { FIELDS, Steps, clear, draw } from "./charts.js";
import { appliedItem, decisionItem, spellItem } from "./lists.js";
import { ask } from "./link.js";
import { drawSignals } from "./signals.js";

const NS = 1e9;
/** How often it is asked why: signals come every 10 s. */
const EXPLAIN_MS = 10000;
const MOST_PARTS = 5;

/** [seconds, label, step in seconds]: a step gives 300 to 400 points. */
export const RANGES = [[300, "5 min", 1], [900, "15 min", 3], [3600, "1 h", 10], [21600, "6 h", 60]];

export class Detail {
  constructor(events) {
    this.events = events;
    this.row = null;
    this.range = RANGES[0];
    this.steps = new Steps();
    this.asked = 0;
    this.busy = false;
    this.explained = { key: null, id: null, atMs: 0 };
    $("detail-close").append(icon("close"));
  }

  get key() {
    return this.row && keyOf(this.row);
  }

  /** Show `row`, and all of its range. */
  async open(row, nowNs) {
    const other = this.key !== keyOf(row);
    this.row = row;
    $("detail").hidden = false;
    this.describe(nowNs);
    if (other) await this.reload(nowNs);
  }

  close() {
    this.row = null;
    this.explained = { key: null, id: null, atMs: 0 };
    this.asked += 1;
    $("detail").hidden = true;
    clear($("chart"));
  }

  async choose(seconds, nowNs) {
    this.range = RANGES.find(([s]) => s === Number(seconds));
    await this.reload(nowNs);
  }

  /** Ask for the whole range again: another device or range, or a connection that came back. */
  async reload(nowNs) {
    this.steps = new Steps();
    this.asked += 1;
    this.busy = false;
    clear($("chart"));
    note("Loading…");
    await this.fetch(nowNs - this.range[0] * NS, nowNs);
  }

  /** A newer row of the same device: fetch what came after the last step, and no more. */
  async extend(row, nowNs) {
    this.row = row;
    this.describe(nowNs);
    const stepNs = this.range[2] * NS;
    const lastNs = this.steps.lastNs;
    if (this.busy) return;
    if (row.live && nowNs >= lastNs + stepNs) {
      const fromNs = lastNs ? lastNs : nowNs - this.range[0] * NS;
      await this.fetch(fromNs, nowNs);
    } else if (lastNs) await this.draw(nowNs).catch((error) => note(`No chart: ${error.message}`));
  }

  async fetch(fromNs, nowNs) {
    const asked = this.asked;
    const { node, kind, device } = this.row;
    const stepS = this.range[2];
    const beginNs = Math.floor(fromNs / (stepS * NS)) * stepS * NS;
    this.busy = true;
    try {
      const series = await ask("series", { node, device: kind + device, fields: FIELDS.join(), from: seconds(beginNs), to: seconds(nowNs + NS), step: `${stepS}s` });
      if (asked !== this.asked) return;
      this.steps.merge(series, beginNs);
      await this.draw(nowNs);
    } catch (error) {
      if (asked === this.asked) note(`No chart: ${error.message}`);
    } finally {
      if (asked === this.asked) this.busy = false;
    }
  }

  async draw(nowNs) {
    const asked = this.asked;
    const [lengthS, label, stepS] = this.range;
    const fromNs = nowNs - lengthS * NS;
    this.steps.trim(fromNs);
    const { row } = this;
    const origin = row.origin ? ` · ${row.origin.toUpperCase()}` : "";
    setText($("chart-title"), `Last ${label}${origin}`);
    setAttr($("chart"), "aria-label", `Power, temperature, utilization and RLE of ${row.node} ${deviceName(row.kind, row.device)} over the last ${label}${origin}`);
    if (!this.steps.lastNs) {
      note(`Nothing was measured in the last ${label}.`);
      return;
    }
    note("");
    await draw($("chart"), this.steps, { fromNs, toNs: nowNs, stepNs: stepS * NS, limitC: row.temp_limit_c, events: this.events.newest(row), note: row.origin?.toUpperCase() });
    if (asked !== this.asked) clear($("chart"));
  }

  /** Everything but the charts. */
  describe(nowNs) {
    const { row } = this;
    const title = $("detail-title");
    const name = `${row.node} / ${deviceName(row.kind, row.device)}`;
    if (title.dataset.name !== name + row.origin) {
      title.dataset.name = name + row.origin;
      title.replaceChildren(name, ...(row.origin ? [el("span", { className: "tag replay" }, row.origin)] : []));
    }
    setText($("detail-model"), row.model || "model not known");
    setAttr($("detail-export"), "href", `/api/v1/export?${new URLSearchParams({ node: row.node, device: row.kind + row.device })}`);
    setAttr($("detail"), "data-state", row.state);
    setAttr($("detail"), "data-live", row.live);
    $("detail-state").replaceChildren(icon(row.state), el("strong", {}, row.state), row.text ? ` ${row.text}` : "");
    $("detail-now").replaceChildren(...values(row, nowNs, this.steps.lastNs).map(([label, value, unit, hint]) => el("div", {}, el("dt", {}, label), el("dd", {}, el("span", { className: "now-value" }, value), unit ? el("small", {}, unit) : null, hint ? el("span", { className: "hint" }, hint) : null))));
    this.gate(nowNs);
    this.explain();
  }

  /** Why the node is held or is not, and the signals of the device: when the gate changes, and now and then. */
  async explain() {
    const { row, key } = this;
    const id = row.gate?.id ?? "";
    const now = performance.now();
    const other = this.explained.key !== key;
    if (!other && this.explained.id === id && now - this.explained.atMs < EXPLAIN_MS) return;
    this.explained = { key, id, atMs: now };
    if (other) for (const part of PARTS) $(part).hidden = true;
    try {
      const answer = await ask("explain", { target: `node/${row.node}`, device: row.kind + row.device });
      if (this.key === key) show(answer, row);
    } catch {
      // the charts above say that the store does not answer
    }
  }

  gate(nowNs) {
    const { gate } = this.row;
    const root = $("detail-gate");
    const id = gate?.id ?? "";
    if (root.dataset.id !== id) {
      const open = new Set([...root.querySelectorAll("details[open]")].map((details) => details.dataset.id));
      root.dataset.id = id;
      root.replaceChildren(...(gate ? [el("h3", {}, "Gate of this node"), decisionItem(gate, true, open, "div")] : []));
    }
    for (const left of root.querySelectorAll("[data-expires]")) setText(left, `expires ${clock(Number(left.dataset.expires))}, in ${span((Number(left.dataset.expires) - nowNs) / NS)}`);
  }
}

const PARTS = ["detail-signals", "detail-applied", "detail-before"];

function show(answer, row) {
  $("detail-signals").hidden = !drawSignals($("signals"), answer, row.kind, row.device);
  const older = answer.spells.filter((one) => one.decision.id !== answer.decision?.id || !answer.in_force);
  fill("applied", answer.applied.map(appliedItem));
  fill("before", older.map(spellItem));
}

function fill(id, items) {
  $(`detail-${id}`).hidden = !items.length;
  $(id).replaceChildren(...items.slice(0, MOST_PARTS));
}

const seconds = (ns) => (ns / NS).toFixed(3);

function note(text) {
  setText($("chart-note"), text);
  $("chart-note").hidden = !text;
}

function values(row, nowNs, lastNs) {
  const assumed = new Set(row.assumed ?? []);
  const limit = (value, name, unit) => (isNumber(value) ? `of ${value.toFixed(0)} ${unit}${assumed.has(name) ? " (assumed)" : ""}` : "");
  const [watts, unit] = power(row.power_w);
  const shown = [
    ["Temperature", number(row.temp_c), "°C", limit(row.temp_limit_c, "temp_limit_c", "°C")],
    ["Power", watts, unit, limit(row.power_limit_w, "rated_power_w", "W")],
    ["Utilization", percent(row.util_ratio), "%", ""],
    ["RLE", isNumber(row.rle) ? row.rle.toFixed(2) : ABSENT, "", ""],
    ["Time to limit", isNumber(row.t_sustain_s) ? (row.t_sustain_s >= 600 ? "600+" : row.t_sustain_s.toFixed(0)) : ABSENT, "s", ""],
    ["Last sample", row.live ? clock(lastNs || nowNs) : row.time_ns ? clock(row.time_ns) : "none", "", row.time_ns && !row.live ? `${span((nowNs - row.time_ns) / NS)} ago` : ""],
  ];
  if (row.fingerprint) shown.push(["Fingerprint", row.fingerprint, "", ""]);
  return shown;
}
