// The heat map: a button a device, grouped by node, at the density that fits the number of devices.

import { el, icon, setAttr, setText } from "./dom.js";
import { ABSENT, deviceName, isNumber, keyOf, percent } from "./format.js";
import { METRICS, colours } from "./scale.js";

/** Most devices that are shown at each density. */
const DENSITIES = [["one", 2], ["roomy", 8], ["normal", 40], ["dense", 150], ["compact", Infinity]];
const WORDS = { repair: "repair", collapse: "collapse", throttled: "throttled", hot: "hot", stale: "stale", offline: "offline", ok: "" };
/** Where a cell has no room for the word. */
const SHORT = { offline: "off", stale: "stale" };

export class FleetMap {
  /** `onSelect(row)` is called with the row of the cell that was opened. */
  constructor(root, onSelect) {
    this.root = root;
    this.cells = new Map();
    this.nodes = new Map();
    this.shape = "";
    this.view = null;
    this.watching = new IntersectionObserver((entries) => this.watch(entries), { rootMargin: "200px" });
    root.addEventListener("keydown", (event) => this.move(event));
    root.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (cell) onSelect(this.cells.get(cell.dataset.key).row);
    });
  }

  /**
   * Draw `rows`, which are in the order of their places; `view` has metric, selected (key), only (Set of
   * states) and find (text). With `changed`, a Set of rows, no others are painted again.
   */
  render(rows, view, changed = null) {
    this.view = view;
    if (!changed) {
      const shape = rows.map(keyOf).join(" ");
      if (shape !== this.shape) this.build(rows, shape);
      for (const node of this.nodes.values()) Object.assign(node, { rows: [], changed: [], stale: true });
      for (const row of rows) this.nodes.get(row.node).rows.push(row);
    } else for (const row of changed) this.nodes.get(row.node).changed.push(row);
    for (const [name, node] of this.nodes) {
      if (node.stale || node.changed.length) this.paintNode(node, name);
      node.group.hidden = !name.toLowerCase().includes(view.find.toLowerCase());
    }
  }

  /** A node out of sight is painted when it comes into view: 8,000 devices are too many each second. */
  paintNode(node, name) {
    if (node.unseen && node.painted) {
      node.stale = true;
      node.changed = [];
      return;
    }
    for (const row of node.stale ? node.rows : node.changed) this.paint(row, this.view);
    paintHead(node, node.rows);
    node.painted = true;
    node.stale = false;
    node.changed = [];
  }

  watch(entries) {
    for (const { target, isIntersecting } of entries) {
      const node = this.nodes.get(target.dataset.node);
      if (node?.group !== target) continue; // of a map before this one
      node.unseen = !isIntersecting;
      if (isIntersecting && node.stale) this.paintNode(node, target.dataset.node);
    }
  }

  build(rows, shape) {
    const focused = document.activeElement?.dataset?.key;
    this.shape = shape;
    this.cells.clear();
    this.nodes.clear();
    this.density = DENSITIES.find(([, most]) => rows.length <= most)[0];
    setAttr(this.root, "data-density", this.density);
    const columns = Math.max(...[...Map.groupBy(rows, (row) => row.node).values()].map((own) => own.length));
    this.root.style.setProperty("--columns", columns);
    for (const row of rows) {
      if (!this.nodes.has(row.node)) this.nodes.set(row.node, newNode(row.node));
      const cell = newCell(row, this.density === "compact");
      this.cells.set(keyOf(row), cell);
      this.nodes.get(row.node).cells.append(cell.button);
    }
    this.root.replaceChildren(...[...this.nodes.values()].map((node) => node.group));
    this.watching.disconnect();
    for (const node of this.nodes.values()) this.watching.observe(node.group);
    this.cells.get(focused)?.button.focus();
    this.keepFocusable();
  }

  paint(row, view) {
    const cell = this.cells.get(keyOf(row));
    const metric = METRICS[view.metric];
    const paint = row.live ? colours(metric.at(row)) : null;
    const { button } = cell;
    cell.row = row;
    setAttr(button, "data-state", row.state);
    setAttr(button, "data-live", row.live);
    setAttr(button, "aria-pressed", view.selected === keyOf(row));
    const said = describe(row, metric);
    setAttr(button, "aria-label", said);
    setAttr(button, "title", said);
    button.classList.toggle("dim", view.only.size > 0 && !view.only.has(row.state));
    button.style.setProperty("--fill", paint?.fill ?? "var(--blank)");
    button.style.setProperty("--ink", paint?.ink ?? "var(--muted)");
    const text = row.live ? metric.text(row) : this.density === "compact" ? SHORT[silence(row)] : silence(row);
    setText(cell.value, text);
    if (cell.shown !== row.state) cell.mark.replaceChildren(...(row.state === "ok" ? [] : [icon(row.state)]));
    cell.shown = row.state;
    if (!cell.more) return;
    setText(cell.unit, !row.live ? "" : text === ABSENT ? "not measured" : metric.unit);
    setText(cell.word, WORDS[row.state]);
    setText(cell.more, row.live ? summary(row, view.metric) : row.text);
    setText(cell.origin, row.origin ?? "");
  }

  /** One cell takes part in the order of Tab; the arrow keys go on from there. */
  keepFocusable() {
    const buttons = [...this.cells.values()].map((cell) => cell.button);
    const current = buttons.find((button) => button.tabIndex === 0) ?? buttons[0];
    for (const button of buttons) button.tabIndex = button === current ? 0 : -1;
  }

  move(event) {
    const from = event.target.closest?.(".cell");
    const buttons = [...this.cells.values()].map((cell) => cell.button).filter((b) => b.offsetParent);
    const at = buttons.indexOf(from);
    if (at < 0) return;
    const to = {
      ArrowRight: () => buttons[at + 1],
      ArrowLeft: () => buttons[at - 1],
      ArrowDown: () => nearest(from, buttons, 1),
      ArrowUp: () => nearest(from, buttons, -1),
      Home: () => buttons[0],
      End: () => buttons.at(-1),
    }[event.key]?.();
    if (!to) return;
    event.preventDefault();
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  }
}

/** A device in repair may be silent as well; its cell then says which. */
const silence = (row) => (row.state === "repair" ? (row.text.includes("offline") ? "offline" : "stale") : row.state);

function newNode(name) {
  const head = { name: el("span", { className: "node-name" }, name), origin: el("span", { className: "tag replay" }), gate: el("span", { className: "node-gate" }), mode: el("span", { className: "node-mode" }) };
  const cells = el("div", { className: "cells" });
  const title = el("div", { className: "node-head" }, head.name, head.origin, head.gate, head.mode);
  return { group: el("div", { className: "node", data: { node: name }, attrs: { role: "group", "aria-label": `node ${name}` } }, title, cells), cells, head, rows: [], changed: [], stale: true, painted: false, unseen: false };
}

/** A compact one has only what there is room for: of 8,000 every part counts. */
function newCell(row, compact) {
  const mark = el("span", { className: "cell-mark" });
  const value = el("span", { className: "cell-value" });
  const props = { type: "button", className: "cell", tabIndex: -1, data: { key: keyOf(row), node: row.node, device: `${row.kind}${row.device}`, kind: row.kind } };
  if (compact) {
    const flag = el("span", { className: "cell-head" }, el("span", { className: "cell-flag" }, mark));
    return { button: el("button", props, flag, el("span", { className: "cell-number" }, value)), mark, value, row, shown: null };
  }
  const parts = {
    mark,
    value,
    word: el("span", { className: "cell-word" }),
    unit: el("small", { className: "cell-unit" }),
    more: el("span", { className: "cell-more" }),
    origin: el("span", { className: "cell-origin" }),
  };
  const button = el(
    "button",
    props,
    el("span", { className: "cell-head" }, el("span", { className: "cell-name" }, deviceName(row.kind, row.device)), el("span", { className: "cell-flag" }, parts.mark, parts.word)),
    el("span", { className: "cell-number" }, parts.value, parts.unit, parts.origin),
    parts.more,
  );
  return { button, ...parts, row, shown: null };
}

function paintHead(node, own) {
  const gate = own.find((row) => row.gate)?.gate;
  const origin = own.find((row) => row.origin)?.origin ?? "";
  const held = gate && gate.state !== "RUN";
  setText(node.head.origin, origin);
  node.head.origin.hidden = !origin;
  setText(node.head.gate, held ? gate.state : "");
  setText(node.head.mode, held ? (gate.mode === "shadow" ? "shadow" : "enforced") : "");
  setAttr(node.group, "data-gate", gate?.state ?? "");
  setAttr(node.group, "data-offline", own.every((row) => row.state === "offline"));
}

/** The other values in one line, as many as there is room for. */
function summary(row, metric) {
  const parts = {
    temp: isNumber(row.temp_c) && `${row.temp_c.toFixed(0)} °C`,
    power: isNumber(row.power_w) && `${row.power_w.toFixed(0)} W`,
    util: isNumber(row.util_ratio) && `${percent(row.util_ratio)} %`,
    rle: isNumber(row.rle) && `RLE ${row.rle.toFixed(2)}`,
  };
  const others = Object.entries(parts).filter(([name, text]) => text && name !== metric);
  return others.slice(0, 3).map(([, text]) => text).join(" · ");
}

function describe(row, metric) {
  const what = `${row.node} ${deviceName(row.kind, row.device)}${row.origin ? `, ${row.origin}` : ""}`;
  const text = metric.text(row);
  const value = row.live ? `, ${metric.label.toLowerCase()} ${text === ABSENT ? "not measured" : `${text} ${metric.unit}`}` : "";
  return `${what}${value}${row.state === "ok" ? "" : `. ${row.state}: ${row.text}`}`;
}

/** The button in the next row above (-1) or below (1) whose middle is nearest. */
function nearest(from, buttons, direction) {
  const here = from.getBoundingClientRect();
  let best = null;
  let bestCost = Infinity;
  for (const button of buttons) {
    const there = button.getBoundingClientRect();
    const down = (there.top - here.top) * direction;
    const cost = down * 4 + Math.abs(there.left + there.width / 2 - here.left - here.width / 2);
    if (down > 4 && cost < bestCost) [best, bestCost] = [button, cost];
  }
  return best;
}
