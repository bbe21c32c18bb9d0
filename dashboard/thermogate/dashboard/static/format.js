// Numbers, times and names as people read them.

export const ABSENT = "–";

const NS_PER_MS = 1e6;
const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const ms = (ns) => ns / NS_PER_MS;

/** A number with fixed digits, or a dash. */
export const number = (value, digits = 0) => (isNumber(value) ? value.toFixed(digits) : ABSENT);

/** 0.98 as "98". */
export const percent = (ratio) => (isNumber(ratio) ? Math.round(ratio * 100).toString() : ABSENT);

/** Watts in the unit that keeps three or four figures: [text, unit]. */
export function power(watts) {
  if (!isNumber(watts)) return [ABSENT, "W"];
  if (watts >= 1e6) return [(watts / 1e6).toFixed(2), "MW"];
  if (watts >= 1e3) return [(watts / 1e3).toFixed(watts < 1e4 ? 2 : 1), "kW"];
  return [watts.toFixed(watts < 100 ? 1 : 0), "W"];
}

/** Local time of day of UTC nanoseconds, with the day in front when it is not today. */
export function clock(ns) {
  const date = new Date(ms(ns));
  const day = date.toDateString() === new Date().toDateString() ? "" : `${dayFormat.format(date)}, `;
  return day + clockFormat.format(date);
}

/** The same for a tooltip, exact and without a zone to guess. */
export const utc = (ns) => `${new Date(ms(ns)).toISOString().slice(0, 19)}Z`;

/** A span of seconds in one or two units: "42 s", "3 min", "2 h 5 min". */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.round(s / 86400)} days`;
}

export const deviceName = (kind, device) => `${kind.toUpperCase()} ${device}`;

/** "n17/gpu0": identifies a device on the page and in its address. */
export const keyOf = (row) => `${row.node}/${row.kind}${row.device}`;

/** Numbers in names count as numbers: gpu2 before gpu10. */
const collator = new Intl.Collator("en", { numeric: true });
export const natural = (a, b) => collator.compare(a, b);

export const STATES = ["repair", "collapse", "throttled", "hot", "stale", "offline", "ok"];
