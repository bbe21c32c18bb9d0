// The strip of numbers at the top, the state filters, and the list of what needs a person.

import { $, el, icon, setAttr, setText } from "./dom.js";
import { ABSENT, STATES, deviceName, isNumber, keyOf, power } from "./format.js";

const MOST_ATTENTION = 12;

const TILES = [
  ["nodes", "Nodes"],
  ["devices", "Devices"],
  ["power", "Measured power"],
  ["hottest", "Hottest"],
  ["collapsed", "In collapse"],
  ["gates", "Gates held"],
];

/** Make the tiles once; `fillTiles` changes their texts. */
export function buildTiles(root) {
  root.replaceChildren(
    ...TILES.map(([id, label]) =>
      el(
        "div",
        { className: "tile", id: `tile-${id}` },
        el("span", { className: "tile-label" }, label),
        el("span", { className: "tile-line" }, el("span", { className: "tile-value", id: `sum-${id}` }, ABSENT), el("span", { className: "tile-unit", id: `sum-${id}-unit` })),
        el("span", { className: "tile-note", id: `sum-${id}-note` }),
      ),
    ),
  );
}

/** `held` are the valid decisions other than RUN. */
export function fillTiles(rows, held) {
  const live = rows.filter((row) => row.live);
  const nodes = new Set(rows.map((row) => row.node));
  const offline = new Set(rows.filter((row) => row.state === "offline").map((row) => row.node));
  tile("nodes", nodes.size, "", offline.size ? `${offline.size} offline` : nodes.size ? "all online" : "");
  const silent = rows.length - live.length;
  tile("devices", rows.length, "", silent ? `${silent} without values` : rows.length ? "all reporting" : "");
  const measured = live.filter((row) => isNumber(row.power_w));
  const real = measured.filter((row) => !row.origin);
  const counted = real.length ? real : measured; // what is played or simulated is never added to what is measured
  const [watts, unit] = counted.length ? power(counted.reduce((sum, row) => sum + row.power_w, 0)) : [ABSENT, ""];
  tile("power", watts, unit, live.length ? `${counted.length} of ${rows.length} devices${origins(counted)}` : "");
  hottest(live);
  const collapsed = rows.filter((row) => row.state === "collapse").length;
  tile("collapsed", rows.length ? collapsed : ABSENT, "", collapsed ? "thermal collapse now" : rows.length ? "none now" : "");
  setAttr($("tile-collapsed"), "data-alarm", collapsed ? "collapse" : null);
  gates(held);
}

function hottest(live) {
  const warm = live.filter((row) => isNumber(row.temp_c));
  if (!warm.length) return tile("hottest", ABSENT, "", "");
  const top = warm.reduce((a, b) => (b.temp_c > a.temp_c ? b : a));
  return tile("hottest", top.temp_c.toFixed(0), "°C", `${top.origin ? `${top.origin} · ` : ""}${top.node} ${deviceName(top.kind, top.device)}`);
}

/** " · replay" or " · simulated", of devices that are not measured now. */
function origins(rows) {
  return [...new Set(rows.map((row) => row.origin))].filter(Boolean).map((origin) => ` · ${origin}`).join("");
}

function gates(held) {
  const enforced = held.filter((gate) => gate.mode === "enforce").length;
  const states = ["REPAIR", "HOLD", "SYNC"].map((state) => [held.filter((gate) => gate.state === state).length, state]);
  const said = states.filter(([n]) => n).map(([n, state]) => `${n} ${state}`).join(", ");
  const mode = enforced === held.length ? "enforced" : enforced ? `${enforced} enforced` : "shadow only";
  tile("gates", held.length, "", held.length ? `${said} · ${mode}` : "nothing is held");
  setAttr($("tile-gates"), "data-alarm", held.length ? "held" : null);
}

function tile(id, value, unit, note) {
  setText($(`sum-${id}`), String(value));
  setText($(`sum-${id}-unit`), unit);
  setText($(`sum-${id}-note`), note);
  setAttr($(`sum-${id}-note`), "title", note);
}

/** The filters, which are the key to the symbols as well. */
export function buildChips(root, onToggle) {
  root.replaceChildren(
    ...STATES.map((state) =>
      el(
        "button",
        { type: "button", className: "chip", data: { state }, attrs: { "aria-pressed": "false" }, onclick: () => onToggle(state) },
        icon(state),
        el("span", {}, state),
        el("span", { className: "chip-count" }, "0"),
      ),
    ),
  );
}

export function fillChips(root, rows, only) {
  const counts = new Map();
  for (const row of rows) counts.set(row.state, (counts.get(row.state) ?? 0) + 1);
  for (const chip of root.children) {
    const n = counts.get(chip.dataset.state) ?? 0;
    setText(chip.lastChild, String(n));
    setAttr(chip, "aria-pressed", only.has(chip.dataset.state));
    setAttr(chip, "data-none", n === 0 ? "" : null);
  }
}

/** Devices that need a person, the most urgent first, of `total`. */
export function fillAttention(urgent, total, onSelect) {
  const groups = [...Map.groupBy(urgent, (row) => `${row.node} ${row.state} ${row.text}`).values()];
  const shown = groups.slice(0, MOST_ATTENTION);
  setText($("attention-count"), urgent.length ? `${urgent.length} of ${total}` : "");
  const list = $("attention");
  const signature = shown.map(([row, ...more]) => `${keyOf(row)} ${more.length} ${row.state} ${row.text}`).join("\n") + groups.length;
  if (list.dataset.signature === signature) return;
  const focused = document.activeElement?.dataset?.attention;
  list.dataset.signature = signature;
  const items = shown.map((group) => el("li", {}, item(group, onSelect)));
  if (groups.length > shown.length) items.push(el("li", { className: "more" }, `and ${groups.length - shown.length} more`));
  if (!urgent.length) items.push(el("li", { className: "more" }, total ? "Nothing needs a person now." : "No device yet."));
  list.replaceChildren(...items);
  if (focused) list.querySelector(`[data-attention="${CSS.escape(focused)}"]`)?.focus();
}

/** Devices of a node that are in the same state for the same reason are one line. */
function item(group, onSelect) {
  const [row] = group;
  const which = group.length > 1 ? `, ${group.length} devices` : ` ${deviceName(row.kind, row.device)}`;
  return el(
    "button",
    { type: "button", className: "attention-item", data: { state: row.state, attention: keyOf(row) }, onclick: () => onSelect(row) },
    icon(row.state),
    el("span", { className: "attention-name" }, `${row.node}${which}`, row.origin ? el("span", { className: "tag replay" }, row.origin) : null),
    el("span", { className: "attention-state" }, row.state),
    el("span", { className: "attention-text" }, row.text),
  );
}
