// Four small charts over one time axis. Plotly comes from this machine, the first time it is needed.

import { isNumber, ms } from "./format.js";

export const FIELDS = ["power_w", "temp_c", "util_ratio", "rle", "temp_limit_c", "collapse"];

const PANELS = [
  { field: "power_w", title: "Power", unit: "W", format: ".1f", zero: true },
  { field: "temp_c", title: "Temperature", unit: "°C", format: ".1f" },
  { field: "util_ratio", title: "Utilization", unit: "", format: ".0%", range: [0, 1.04] },
  { field: "rle", title: "RLE", unit: "", format: ".3f", zero: true },
];
const GAP = 0.055;
const HEIGHT = (1 - GAP * (PANELS.length - 1)) / PANELS.length;
/** Samples come a little over a second apart, so one empty step of a second is no gap yet. */
const GAP_STEPS = 2.5;

let loading = null;
const watched = new WeakSet();

/** Loads the library once; rejects when it cannot be had, and tries again at the next call. */
export function loadPlotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/plotly.min.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      reject(new Error("the chart library could not be loaded"));
    };
    document.head.append(script);
  });
  return loading;
}

/** The steps of each field of one device, extended at the end as they come. */
export class Steps {
  constructor() {
    this.fields = new Map(FIELDS.map((field) => [field, []]));
  }

  /** Take series that begin at `fromNs`: they replace what is there from then on. */
  merge(series, fromNs) {
    const found = new Map(series.map((one) => [one.field, one.points]));
    for (const [field, points] of this.fields) {
      while (points.length && points.at(-1).time_ns >= fromNs) points.pop();
      points.push(...(found.get(field) ?? []));
    }
  }

  /** Forget what is older than the chart. */
  trim(beforeNs) {
    for (const points of this.fields.values()) {
      const keep = points.findIndex((point) => point.time_ns >= beforeNs);
      points.splice(0, keep < 0 ? points.length : keep);
    }
  }

  of(field) {
    return this.fields.get(field);
  }

  /** The newest step of all, 0 without any. */
  get lastNs() {
    return Math.max(0, ...[...this.fields.values()].map((points) => points.at(-1)?.time_ns ?? 0));
  }
}

/** Draws `steps` over [fromNs, toNs]; `limitC` stands in where samples do not carry the limit. */
export async function draw(root, steps, { fromNs, toNs, stepNs, limitC, events, note }) {
  const plotly = await loadPlotly();
  const look = lookOf(root);
  const traces = PANELS.flatMap((panel, n) => panelTraces(panel, n, steps.of(panel.field), stepNs, look));
  traces.push(limitTrace(steps, { fromNs, toNs, stepNs, limitC }, look));
  const spans = collapseSpans(steps.of("collapse"), stepNs);
  await plotly.react(root, traces, layout(steps, { fromNs, toNs, limitC, spans, events, note }, look), {
    displayModeBar: false,
    responsive: true,
    staticPlot: false,
  });
  if (!watched.has(root)) {
    watched.add(root);
    new ResizeObserver(() => root.data && plotly.Plots.resize(root)).observe(root);
  }
  root.dataset.lastNs = steps.lastNs;
  root.dataset.spans = spans.length;
}

export function clear(root) {
  window.Plotly?.purge(root);
  root.replaceChildren();
}

/** Runs of steps without a gap between them. */
export function runs(points, stepNs) {
  const found = [];
  let last = null;
  for (const point of points) {
    if (last === null || point.time_ns - last > GAP_STEPS * stepNs) found.push([]);
    found.at(-1).push(point);
    last = point.time_ns;
  }
  return found;
}

function panelTraces(panel, n, points, stepNs, look) {
  const parts = runs(points, stepNs);
  const axis = `y${n + 1}`;
  const line = { type: "scatter", mode: "lines", yaxis: axis, name: panel.title, line: { color: look.lines[n], width: 1.6 }, connectgaps: false };
  const joined = parts.flatMap((run) => [...run, null]);
  const traces = [
    {
      ...line,
      x: joined.map((point) => point && local(point.time_ns)),
      y: joined.map((point) => point && point.mean),
      hovertemplate: `${panel.title} %{y:${panel.format}} ${panel.unit}<extra></extra>`,
    },
  ];
  if (points.some((point) => point.count > 1)) traces.unshift(band(parts, axis, look.lines[n]));
  // A run of one sample has no line to be seen by.
  const alone = parts.filter((run) => run.length === 1).flat();
  traces.push({ ...line, mode: "markers", marker: { size: 4, color: look.lines[n] }, x: alone.map((p) => local(p.time_ns)), y: alone.map((p) => p.mean), hoverinfo: "skip" });
  return traces;
}

/** A polygon a run, from the lowest to the highest of each step. */
function band(parts, axis, colour) {
  const outline = parts.flatMap((run) => [...run.map((p) => [p.time_ns, p.max]), ...run.toReversed().map((p) => [p.time_ns, p.min]), null]);
  return {
    type: "scatter",
    mode: "none",
    yaxis: axis,
    fill: "toself",
    fillcolor: `${colour}2b`,
    hoverinfo: "skip",
    x: outline.map((corner) => corner && local(corner[0])),
    y: outline.map((corner) => corner && corner[1]),
  };
}

function limitTrace(steps, { fromNs, toNs, stepNs, limitC }, look) {
  const recorded = runs(steps.of("temp_limit_c"), stepNs).flatMap((run) => [...run.map((p) => [p.time_ns, p.mean]), null]);
  const assumed = isNumber(limitC) ? [[fromNs, limitC], [toNs, limitC]] : [];
  const points = recorded.length ? recorded : assumed;
  return {
    type: "scatter",
    mode: "lines",
    yaxis: "y2",
    name: "limit",
    line: { color: look.limit, width: 1.4, dash: "dash" },
    x: points.map((point) => point && local(point[0])),
    y: points.map((point) => point && point[1]),
    hovertemplate: "limit %{y:.0f} °C<extra></extra>",
  };
}

/** [begin, end] of each collapse, from the field of the samples. */
export function collapseSpans(points, stepNs) {
  const marked = points.filter((point) => point.max > 0);
  return runs(marked, stepNs).map((run) => [run[0].time_ns, run.at(-1).time_ns + stepNs]);
}

function layout(steps, { fromNs, toNs, limitC, spans, events, note }, look) {
  const axes = Object.fromEntries(PANELS.map((panel, n) => [`yaxis${n + 1}`, yAxis(panel, n, steps, limitC, look)]));
  const began = events.filter((event) => event.event === "collapse_began" && event.time_ns >= fromNs);
  return {
    ...axes,
    xaxis: { type: "date", range: [local(fromNs), local(toNs)], anchor: `y${PANELS.length}`, fixedrange: true, showgrid: true, gridcolor: look.grid, linecolor: look.grid, tickcolor: look.grid, ticks: "outside", tickfont: { color: look.muted, size: 11 }, nticks: 7, showspikes: true, spikemode: "across", spikethickness: 1, spikecolor: look.muted, spikedash: "solid", hoverformat: "%H:%M:%S" },
    shapes: [
      ...spans.map(([begin, end]) => ({ type: "rect", xref: "x", yref: "paper", x0: local(begin), x1: local(end), y0: 0, y1: 1, fillcolor: look.collapse, opacity: 0.2, line: { width: 0 }, layer: "below" })),
      ...began.map((event) => ({ type: "line", xref: "x", yref: "paper", x0: local(event.time_ns), x1: local(event.time_ns), y0: 0, y1: 1, line: { color: look.collapse, width: 1, dash: "dot" } })),
    ],
    annotations: [...PANELS.map((panel, n) => panelTitle(panel, n, look)), ...(note ? [noteOver(note, look)] : [])],
    hovermode: "x unified",
    hoversubplots: "axis",
    hoverlabel: { bgcolor: look.card, bordercolor: look.grid, font: { color: look.text, size: 12, family: look.family } },
    showlegend: false,
    dragmode: false,
    margin: { l: 46, r: 10, t: 20, b: 26 },
    paper_bgcolor: look.card,
    plot_bgcolor: look.card,
    font: { family: look.family, color: look.text },
    uirevision: "same",
  };
}

function yAxis(panel, n, steps, limitC, look) {
  const top = 1 - n * (HEIGHT + GAP);
  const axis = { domain: [top - HEIGHT, top], fixedrange: true, nticks: 4, gridcolor: look.grid, zeroline: false, tickfont: { color: look.muted, size: 11 }, tickformat: panel.field === "util_ratio" ? ".0%" : "" };
  if (panel.range) return { ...axis, range: panel.range };
  if (panel.zero) return { ...axis, rangemode: "tozero" };
  return { ...axis, range: temperatureRange(steps, limitC) };
}

/** Wide enough for the limit to be seen, so that the distance to it can be. */
function temperatureRange(steps, limitC) {
  const points = [...steps.of("temp_c"), ...steps.of("temp_limit_c")];
  const low = Math.min(...points.map((point) => point.min), isNumber(limitC) ? limitC : Infinity);
  const high = Math.max(...points.map((point) => point.max), isNumber(limitC) ? limitC : -Infinity);
  return Number.isFinite(low) ? [low - 5, high + 5] : [0, 100];
}

function panelTitle(panel, n, look) {
  const text = panel.unit ? `${panel.title}, ${panel.unit}` : panel.title;
  return { text, xref: "paper", yref: "paper", x: 0, y: 1 - n * (HEIGHT + GAP), xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 12, color: look.muted } };
}

const noteOver = (text, look) => ({ text, xref: "paper", yref: "paper", x: 1, y: 1, xanchor: "right", yanchor: "bottom", showarrow: false, font: { size: 11, color: look.replay } });

/** Plotly shows dates as they are written, so they are written in local time. */
function local(ns) {
  const date = new Date(ms(ns));
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 23);
}

/** The colours of the page, for what CSS does not reach. */
function lookOf(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return { text: read("text"), muted: read("muted"), grid: read("line"), card: read("card"), collapse: read("collapse"), limit: read("limit"), replay: read("replay"), family: style.fontFamily, lines: [1, 2, 3, 4].map((n) => read(`line-${n}`)) };
}
