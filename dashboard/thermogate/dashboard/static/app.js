// Ties the parts of the page together: what the stream says, what is chosen, what is drawn.

import { $, el, segments, setAttr, setText } from "./dom.js";
import { clock, keyOf } from "./format.js";
import { METRICS, gradient, onScheme } from "./scale.js";
import { FleetMap } from "./fleet.js";
import { buildChips, buildTiles, fillAttention, fillChips, fillTiles } from "./summary.js";
import { Decisions, Events, drawDecisions, drawEvents } from "./lists.js";
import { Detail, RANGES } from "./detail.js";
import { Link, ask } from "./link.js";
import { Rows } from "./rows.js";
import { loadPlotly } from "./charts.js";

const LIST = { from: "24h", to: "now", limit: 500 };

const decisions = new Decisions();
const events = new Events();
const detail = new Detail(events);
const map = new FleetMap($("map"), select);
const view = { metric: stored("metric", METRICS, "temp"), selected: null, only: new Set(), find: "" };
const fleet = new Rows();
let link = null;
let aheadMs = 0; // of the server's clock before this one

const nowNs = () => (Date.now() + aheadMs) * 1e6;

/** A choice kept by the browser, if it still is one. */
function stored(name, known, otherwise) {
  const value = localStorage.getItem(name);
  return value in known ? value : otherwise;
}

function select(row) {
  location.hash = keyOf(row);
}

/** The address says which device is open, so that it can be sent to somebody. */
function followAddress() {
  const key = decodeURIComponent(location.hash.slice(1));
  const row = fleet.byKey.get(key);
  view.selected = row ? key : null;
  document.body.classList.toggle("with-detail", Boolean(row));
  if (!row) detail.close();
  else if (detail.key === key) detail.extend(row, nowNs());
  else detail.open(row, nowNs()).then(() => $("detail").focus({ preventScroll: true }));
}

function deselect() {
  const key = view.selected;
  history.pushState(null, "", location.pathname);
  followAddress();
  drawFleet();
  map.cells.get(key)?.button.focus();
}

/** With `changed`, a Set of rows, only these are painted again. */
function drawFleet(changed = null) {
  const { rows } = fleet;
  map.render(rows, view, changed);
  fillChips($("states"), rows, view.only);
  fillAttention(fleet.urgent(), rows.length, select);
  $("empty").hidden = rows.length > 0;
  $("map").hidden = rows.length === 0;
}

function drawLists() {
  const held = decisions.inForce(nowNs()).filter((decision) => decision.state !== "RUN");
  fillTiles(fleet.rows, held);
  drawDecisions(decisions, events, nowNs());
  drawEvents(events, select);
  const collapsed = fleet.rows.filter((row) => row.state === "collapse").length;
  document.title = collapsed ? `${collapsed} in collapse – thermogate` : "thermogate";
}

async function fetchLists() {
  try {
    const [gates, issued, happened] = await Promise.all([ask("gates"), ask("decisions", LIST), ask("events", LIST)]);
    decisions.replace([...gates, ...issued]);
    events.replace(happened);
    drawLists();
  } catch (error) {
    trouble("trouble", `The lists cannot be read: ${error.message}`);
  }
}

/** `kind` is live, lost or trouble; with a text the banner shows it. */
function trouble(kind, text) {
  if (kind !== "live" && document.body.dataset.link === kind) return; // since when is known already
  setAttr(document.body, "data-link", kind);
  setText($("link-text"), { live: "live", lost: "connection lost", trouble: "store trouble" }[kind]);
  setText($("banner"), text);
  $("banner").hidden = !text;
}

/** The fleet of `heardNs` is there; with `changed`, what of it is new. */
function heard(heardNs, changed = null) {
  aheadMs = heardNs / 1e6 - Date.now();
  setText($("heard"), clock(heardNs));
  trouble("live", "");
  drawFleet(changed);
  drawLists();
  followAddress();
  setAttr(document.body, "data-rows", fleet.rows.length);
}

const on = {
  hello(data) {
    aheadMs = data.now_ns / 1e6 - Date.now();
    setAttr(document.body, "data-link", "connecting");
    fetchLists();
    describeServer().catch(() => setText($("version"), ""));
    if (detail.row) detail.reload(nowNs());
  },
  fleet(data) {
    fleet.replace(data);
    heard(data.now_ns);
  },
  changes(data) {
    const found = fleet.apply(data);
    if (!found) return link.again();
    heard(data.now_ns, found.moved ? null : found.changed);
  },
  event(event) {
    events.add(event);
    drawEvents(events, select);
  },
  decision(decision) {
    decisions.add(decision);
    drawLists();
  },
  missed: fetchLists,
  problem: (data) => trouble("trouble", `The store cannot answer since ${clock(data.now_ns)}, showing nothing newer: ${data.error}`),
  lost: (sinceMs) => trouble("lost", `Connection lost since ${clock(sinceMs * 1e6)}, showing nothing newer. Trying again…`),
};

function drawLegend() {
  const ramp = el("span", { className: "ramp" });
  ramp.style.background = gradient();
  $("legend").replaceChildren(ramp, el("span", { className: "ticks" }, ...METRICS[view.metric].ticks.map((tick) => el("span", {}, tick))));
}

function chooseMetric(metric) {
  view.metric = metric;
  localStorage.setItem("metric", metric);
  drawLegend();
  drawFleet();
}

function toggleState(state) {
  if (!view.only.delete(state)) view.only.add(state);
  drawFleet();
}

async function describeServer() {
  const info = await ask("info");
  setText($("version"), `thermogate ${info.version}`);
  $("logout").hidden = !info.session;
  setAttr($("version"), "title", [info.store && `store ${info.store}`, info.broker_url && `broker ${info.broker_url}`].filter(Boolean).join(", "));
  $("empty").replaceChildren(
    el("h3", {}, "No device has reported yet"),
    el("p", {}, "This page fills by itself when the first sample arrives."),
    el(
      "dl",
      {},
      el("dt", {}, "Agents send to"),
      el("dd", {}, info.broker_url ? el("code", {}, info.broker_url) : "the broker in their configuration"),
      el("dt", {}, "This machine's own sensors"),
      el("dd", {}, el("code", {}, "thermogate up")),
      el("dt", {}, "No sensors here? Play a recording"),
      el("dd", {}, el("code", {}, "thermogate up --replay FILE")),
    ),
  );
}

async function leave() {
  await fetch("/logout", { method: "POST" });
  location.assign("/login");
}

function start() {
  buildTiles($("summary"));
  buildChips($("states"), toggleState);
  segments($("metrics"), "metric", Object.entries(METRICS).map(([value, m]) => [value, m.label, m.title]), view.metric, chooseMetric);
  segments($("ranges"), "range", RANGES.map(([s, label]) => [String(s), label]), String(RANGES[0][0]), (s) => detail.row && detail.choose(s, nowNs()));
  drawLegend();
  onScheme(() => {
    drawLegend();
    drawFleet();
  });
  $("find").addEventListener("input", (event) => {
    view.find = event.target.value.trim();
    drawFleet();
  });
  $("detail-close").addEventListener("click", deselect);
  document.addEventListener("keydown", (event) => event.key === "Escape" && view.selected && deselect());
  window.addEventListener("hashchange", () => {
    followAddress();
    drawFleet();
  });
  setInterval(() => drawDecisions(decisions, events, nowNs()), 1000);
  link = new Link(on);
  $("logout").addEventListener("click", leave);
  window.requestIdleCallback?.(() => loadPlotly().catch(() => {}));
}

start();
