// Gate decisions and events: newest first, what is no longer in force greyed.

import { $, el, icon, setText } from "./dom.js";
import { clock, deviceName, ms, number, percent, span, utc } from "./format.js";

const MOST_PAST = 30;
const MOST_EVENTS = 100;
const MOST_APPLIED = 2;
/** Kept by a page that is open for weeks: what is older than the newest so many is forgotten. */
const MOST_KEPT = 2000;
const RANK = { REPAIR: 0, HOLD: 1, SYNC: 2, RUN: 3 };

/** Every decision the page knows, by id, and which of them are in force. */
export class Decisions {
  constructor() {
    this.byId = new Map();
    this.most = 2 * MOST_KEPT;
  }

  /** Forget all and take these. */
  replace(decisions) {
    this.byId = new Map(decisions.map((decision) => [decision.id, decision]));
  }

  add(decision) {
    this.byId.set(decision.id, decision);
    if (this.byId.size > this.most) this.forget();
  }

  /** The newest of each target stays, however old it is. */
  forget() {
    const newest = [...this.byId.values()].sort((a, b) => b.issued_at_ns - a.issued_at_ns).slice(0, MOST_KEPT);
    this.replace([...this.newest().values(), ...newest]);
    this.most = 2 * Math.max(MOST_KEPT, this.byId.size);
  }

  /** The newest of each target, unless it has expired: the most urgent first. */
  inForce(nowNs) {
    return [...this.newest().values()]
      .filter((decision) => nowNs < decision.expires_at_ns)
      .sort((a, b) => RANK[a.state] - RANK[b.state] || b.issued_at_ns - a.issued_at_ns);
  }

  newest() {
    const newest = new Map();
    for (const decision of this.byId.values()) {
      const target = `${decision.kind} ${decision.target}`;
      if (!(newest.get(target)?.issued_at_ns >= decision.issued_at_ns)) newest.set(target, decision);
    }
    return newest;
  }

  /** What was in force once, newest first; a verdict that was only renewed is named once. */
  past(nowNs) {
    const force = new Set(this.inForce(nowNs).map((decision) => decision.id));
    const seen = new Map(this.inForce(nowNs).map((decision) => [`${decision.kind} ${decision.target}`, verdict(decision)]));
    const kept = [];
    for (const decision of [...this.byId.values()].sort((a, b) => b.issued_at_ns - a.issued_at_ns)) {
      const target = `${decision.kind} ${decision.target}`;
      if (force.has(decision.id) || seen.get(target) === verdict(decision)) continue;
      seen.set(target, verdict(decision));
      kept.push(decision);
    }
    return kept.slice(0, MOST_PAST);
  }
}

const verdict = (decision) => `${decision.state} ${decision.mode} ${decision.pace} ${decision.policy}`;

/** Draw the list; the parts that were opened stay open. `events` tell what schedulers did. */
export function drawDecisions(decisions, events, nowNs) {
  const force = decisions.inForce(nowNs);
  const done = events.applied();
  const applied = new Map(force.map((decision) => [decision.id, (done.get(`${decision.kind} ${decision.target}`) ?? []).slice(0, MOST_APPLIED)]));
  const past = decisions.past(nowNs);
  const list = $("decisions");
  setText($("decisions-count"), force.length ? `${force.length} in force` : "");
  const signature = [...force.map((d) => d.id), "", ...past.map((d) => d.id), ...[...applied.values()].flat().map(eventKey)].join(" ");
  if (list.dataset.signature !== signature) {
    const open = new Set([...list.querySelectorAll("details[open]")].map((details) => details.dataset.id));
    list.dataset.signature = signature;
    list.replaceChildren(...force.map((d) => decisionItem(d, true, open, "li", applied.get(d.id))), ...past.map((d) => decisionItem(d, false, open)));
    if (!force.length && !past.length) list.append(el("li", { className: "more" }, "No decision in the last 24 hours: work runs."));
  }
  for (const left of list.querySelectorAll("[data-expires]")) setText(left, expiry(Number(left.dataset.expires), nowNs));
}

const expiry = (expiresNs, nowNs) =>
  nowNs < expiresNs ? `expires ${clock(expiresNs)}, in ${span((expiresNs - nowNs) / 1e9)}` : `expired ${clock(expiresNs)}`;

/** One decision, as it is shown in the list and beside a device, with events of what was done about it. */
export function decisionItem(decision, inForce, open = new Set(), tag = "li", applied = []) {
  const pace = decision.state === "RUN" || decision.pace > 0 ? [el("span", { className: "pace", title: "share of full power, members or batch" }, `pace ${percent(decision.pace)} %`, meter(decision.pace))] : [];
  return el(
    tag,
    { className: "decision", data: { id: decision.id, state: decision.state, mode: decision.mode, target: decision.target, force: String(inForce) } },
    el(
      "div",
      { className: "decision-head" },
      el("span", { className: "verdict", data: { state: decision.state } }, icon(decision.state), decision.state),
      modeTag(decision.mode),
      decision.policy === "operator" ? el("span", { className: "tag", title: "Said by a person" }, "operator") : null,
      ...pace,
    ),
    el("p", { className: "why" }, el("span", { className: "decision-target" }, `${decision.kind} ${decision.target}`), " ", decision.why),
    el(
      "p",
      { className: "decision-meta" },
      el("span", { title: utc(decision.issued_at_ns) }, `issued ${clock(decision.issued_at_ns)}`),
      " · ",
      inForce ? el("span", { title: utc(decision.expires_at_ns), data: { expires: decision.expires_at_ns } }) : el("span", {}, "no longer in force"),
      ` · ${decision.policy}`,
    ),
    inForce && decision.state !== "RUN" && decision.cjp.path ? el("p", { className: "release" }, el("span", { className: "release-name" }, "Release:"), " ", decision.cjp.path) : null,
    applied.length ? el("ul", { className: "applied-list" }, ...applied.map(appliedItem)) : null,
    reasons(decision, open, inForce ? `${decision.kind} ${decision.target}` : decision.id),
  );
}

/** What a scheduler says that it did. */
export function appliedItem(event) {
  const { scheduler, host, outcome, actions } = event.data ?? {};
  return el(
    "li",
    { className: "applied", title: actions ?? "", data: { outcome: outcome ?? "" } },
    el("time", { title: utc(event.time_ns) }, clock(event.time_ns)),
    el("span", { className: "applied-who" }, `${scheduler} on ${host}`),
    el("span", { className: "applied-outcome" }, outcome ?? ""),
    el("span", { className: "applied-text" }, event.text),
  );
}

/** What was in force for a time, of an answer of /api/v1/explain. */
export function spellItem({ decision, began_ns: beganNs, ended_ns: endedNs }) {
  return el(
    "li",
    { className: "spell decision", data: { state: decision.state, force: "false" } },
    el("time", { title: utc(beganNs) }, clock(beganNs)),
    el("span", { className: "spell-state" }, `${decision.state}, pace ${percent(decision.pace)} %`),
    decision.mode === "shadow" ? modeTag("shadow") : null,
    el("span", {}, `for ${span((endedNs - beganNs) / 1e9)}, by ${decision.policy}`),
    el("span", { className: "spell-why" }, decision.why),
  );
}

const modeTag = (mode) =>
  mode === "shadow"
    ? el("span", { className: "tag shadow", title: "Only observed: nothing obeys it" }, "shadow")
    : el("span", { className: "tag enforce", title: "Schedulers obey it" }, "enforced");

function meter(share) {
  const bar = el("span", { className: "meter", attrs: { "aria-hidden": "true" } }, el("span"));
  bar.firstChild.style.width = `${Math.round(share * 100)}%`;
  return bar;
}

/** `key` names them while they are renewed, so that what is open stays so; `open` has keys. */
function reasons(decision, open, key) {
  const { cjp, because = [], others = [] } = decision;
  const rows = because.map((reason) =>
    el(
      "tr",
      {},
      el("td", {}, `${reason.metric}${reason.device ? ` (${reason.device})` : ""}`),
      el("td", {}, `${round(reason.value)} ${unitOf(reason)}`),
      el("td", {}, `${round(reason.threshold)} ${unitOf(reason)}`),
      el("td", {}, reason.window_s ? span(reason.window_s) : ""),
    ),
  );
  const head = el("tr", {}, ...["metric", "value", "threshold", "window"].map((name) => el("th", { scope: "col" }, name)));
  const signed = decision.signature ? `by key ${decision.issuer}` : "no";
  const facts = [["Conflict", cjp.conflict], ["Justify", cjp.justify], ["Path", cjp.path], ["Policy", `${decision.policy} version ${decision.policy_version}`], ["Signed", signed], ["Id", decision.id]];
  return el(
    "details",
    { open: open.has(key), data: { id: key } },
    el("summary", {}, `Conflict, justification and path to release${others.length ? `; ${others.length} other ${others.length === 1 ? "policy" : "policies"}` : ""}`),
    el("dl", { className: "cjp" }, ...facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])),
    rows.length ? el("table", { className: "because" }, el("thead", {}, head), el("tbody", {}, ...rows)) : null,
    others.length ? el("ul", { className: "others" }, ...others.map(otherItem)) : null,
  );
}

const UNITS = { degC: "°C", 1: "", ratio: "" };
const unitOf = (reason) => UNITS[reason.unit] ?? reason.unit ?? "";

/** What a policy that did not decide says of the same target. */
const otherItem = (other) =>
  el("li", { className: "decision", data: { state: other.state } }, el("span", { className: "other-policy" }, other.policy), " ", el("span", { className: "spell-state" }, `${other.state}, pace ${percent(other.pace)} %`), " ", modeTag(other.mode), " ", other.why);

const round = (value) => number(value, Math.abs(value) < 10 ? 2 : 1);

/** Every event the page knows; unique by what makes it so in the store. */
export class Events {
  constructor() {
    this.byKey = new Map();
  }

  replace(events) {
    this.byKey = new Map(events.map((event) => [eventKey(event), event]));
  }

  add(event) {
    this.byKey.set(eventKey(event), event);
    if (this.byKey.size > 2 * MOST_KEPT) this.replace(this.newest().slice(0, MOST_KEPT));
  }

  /** Newest first; of one device only when a row is given. */
  newest(row = null) {
    const mine = (event) => !row || (event.node === row.node && (!event.device_kind || (event.device_kind === row.kind && event.device === row.device)));
    return [...this.byKey.values()].filter(mine).sort((a, b) => b.time_ns - a.time_ns);
  }

  /** What schedulers did, by target, newest first. */
  applied() {
    const done = [...this.byKey.values()].filter((event) => event.event === "gate_applied" && event.data);
    return Map.groupBy(done.sort((a, b) => b.time_ns - a.time_ns), ({ data }) => `${data.kind} ${data.target}`);
  }
}

const eventKey = (event) => [event.node, event.device_kind ?? "", event.device ?? "", event.event, event.time_ns].join(" ");

const GOOD = new Set(["collapse_ended", "gpu_back", "driver_back", "source_back", "gate_applied"]);
const isGood = (event) => GOOD.has(event.event) && event.data?.outcome !== "failed";

export function drawEvents(events, onSelect) {
  const list = $("events");
  const shown = events.newest().slice(0, MOST_EVENTS);
  const signature = shown.map(eventKey).join("\n");
  if (list.dataset.signature === signature && signature) return;
  list.dataset.signature = signature;
  list.replaceChildren(...shown.map((event) => eventItem(event, onSelect)));
  if (!shown.length) list.append(el("li", { className: "more" }, "Nothing has begun or ended."));
}

function eventItem(event, onSelect) {
  const name = event.device_kind ? `${event.node} ${deviceName(event.device_kind, event.device)}` : event.node;
  const open = () => onSelect({ node: event.node, kind: event.device_kind, device: event.device });
  return el(
    "li",
    { className: "event", data: { event: event.event, good: isGood(event) } },
    el("time", { dateTime: new Date(ms(event.time_ns)).toISOString(), title: utc(event.time_ns) }, clock(event.time_ns)),
    el("span", { className: "event-kind" }, event.event.replaceAll("_", " ")),
    event.device_kind ? el("button", { type: "button", className: "event-device", onclick: open }, name) : el("span", { className: "event-device" }, name),
    event.origin ? el("span", { className: "tag replay" }, event.origin) : null,
    el("span", { className: "event-text" }, event.text),
  );
}
