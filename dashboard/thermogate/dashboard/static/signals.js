// The regulator's signals of one device: four small charts with their bounds, drawn as SVG.

import { el } from "./dom.js";
import { ABSENT, clock, isNumber, span } from "./format.js";

const NS = 1e9;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 44;
/** As in the charts: a longer time without a value breaks the line. */
const GAP_STEPS = 2.5;
/** Older than this the newest value is told with its time: signals come every 10 s. */
const OLD_S = 60;

const SIGNALS = [
  ["volatility", "Volatility", "How much RLE varies now, over how much it has varied of late"],
  ["overload", "Overload", "Volatility squared times load over thermal headroom"],
  ["incoherence", "Incoherence", "How far the device is out of step with the others of its job"],
  ["repair_severity", "Repair severity", "Drift from a healthy baseline, less what recovery has been seen"],
];

/** Draw what `answer` (of /api/v1/explain) has of one device; false when it has nothing. */
export function drawSignals(root, answer, kind, device) {
  const mine = answer.series.filter((one) => one.device.kind === kind && one.device.device === device);
  const found = new Map(mine.map((one) => [one.field, one.points]));
  const shown = SIGNALS.filter(([field]) => found.get(field)?.length);
  root.replaceChildren(...shown.map(([field, label, what]) => signal(field, label, what, found.get(field), answer)));
  return shown.length > 0;
}

function signal(field, label, what, points, answer) {
  const bound = answer.bounds[field];
  const bounded = isNumber(bound);
  const last = points.at(-1);
  const overS = bounded ? points.filter((point) => point.mean > bound).length * (answer.step_ns / NS) : 0;
  const told = !bounded ? "no bound" : overS ? `over ${bound} for ${span(overS)}` : `bound ${bound}`;
  const old = (answer.at_ns - last.time_ns) / NS > OLD_S;
  return el(
    "div",
    { className: "signal", title: what, data: { signal: field, over: String(bounded && last.mean > bound) } },
    el("div", { className: "signal-head" }, el("span", { className: "signal-name" }, label), el("span", { className: "signal-value" }, figures(last.mean))),
    picture(points, bound, answer, `${label} ${figures(last.mean)}, ${told}`),
    el("span", { className: "hint" }, told, old ? ` · last at ${clock(last.time_ns)}` : ""),
  );
}

function picture(points, bound, { start_ns: fromNs, at_ns: toNs, step_ns: stepNs }, said) {
  const most = Math.max(...points.map((point) => point.max), isNumber(bound) ? bound : 0, 1e-9) * 1.08;
  const least = Math.min(0, ...points.map((point) => point.min));
  const x = (ns) => (((ns - fromNs) / (toNs - fromNs)) * WIDTH).toFixed(1);
  const y = (value) => (HEIGHT - ((value - least) / (most - least)) * HEIGHT).toFixed(1);
  const svg = made("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said });
  if (isNumber(bound)) svg.append(made("line", { class: "signal-bound", x1: 0, x2: WIDTH, y1: y(bound), y2: y(bound) }));
  let path = "";
  let beforeNs = -Infinity;
  for (const point of points) {
    const joined = point.time_ns - beforeNs <= GAP_STEPS * stepNs;
    path += `${joined ? "L" : "M"}${x(point.time_ns)} ${y(point.mean)}${joined ? "" : "h0.01"}`;
    beforeNs = point.time_ns;
  }
  svg.append(made("path", { class: "signal-line", d: path }));
  return svg;
}

function made(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** Three figures. */
function figures(value) {
  if (!isNumber(value)) return ABSENT;
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
