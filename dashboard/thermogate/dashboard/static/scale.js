// What a cell's colour and number mean.
//
// The ramps change in lightness only one way, so that they read the same without colour vision:
// on a dark page heat is light, on a light page it is dark.

import { ABSENT, isNumber, number, percent } from "./format.js";

const DARK = ["#1d3557", "#3f4788", "#7d4a95", "#bd4f86", "#ec6b66", "#f99b5b", "#ffd46b"];
const LIGHT = ["#e4edf6", "#fae6c3", "#f9c58d", "#f0956f", "#d95f6a", "#a93574", "#66205f"];
const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** Call when the ramps change with the scheme of the system. */
export const onScheme = (changed) => dark.addEventListener("change", changed);

const difference = (a, b) => (isNumber(a) && isNumber(b) ? a - b : null);
const share = (a, b) => (isNumber(a) && isNumber(b) && b > 0 ? a / b : null);

/**
 * `value` is what the cell shows as `text`; `at` is where it stands on the ramp, 0 to 1, null for no
 * colour. `ticks` are the numbers under the ramp, left to right.
 */
export const METRICS = {
  temp: {
    label: "Temperature",
    title: "Core temperature",
    unit: "°C",
    text: (row) => number(row.temp_c),
    at: (row) => (isNumber(row.temp_c) ? (row.temp_c - 30) / 60 : null),
    ticks: ["30 °C", "60", "90+"],
  },
  margin: {
    label: "Margin",
    title: "Degrees left to the temperature limit",
    unit: "°C left",
    text: (row) => number(difference(row.temp_limit_c, row.temp_c)),
    at: (row) => {
      const left = difference(row.temp_limit_c, row.temp_c);
      return left === null ? null : 1 - left / 40;
    },
    ticks: ["40+ °C left", "20", "0"],
  },
  power: {
    label: "Power",
    title: "Electrical power; the colour is its share of the power limit",
    unit: "W",
    text: (row) => number(row.power_w),
    at: (row) => share(row.power_w, row.power_limit_w),
    ticks: ["0 % of limit", "50", "100"],
  },
  util: {
    label: "Utilization",
    title: "Share of time in which the device was busy",
    unit: "%",
    text: (row) => percent(row.util_ratio),
    at: (row) => (isNumber(row.util_ratio) ? row.util_ratio : null),
    ticks: ["0 %", "50", "100"],
  },
  rle: {
    label: "RLE",
    title: "Load efficiency; higher is better",
    unit: "",
    text: (row) => (isNumber(row.rle) ? row.rle.toFixed(2) : ABSENT),
    at: (row) => (isNumber(row.rle) ? row.rle : null),
    ticks: ["0", "0.5", "1+"],
  },
};

/** The colours of a cell: `fill` and an `ink` that can be read on it; null when there is no value. */
export function colours(at) {
  if (at === null) return null;
  const fill = mix(dark.matches ? DARK : LIGHT, Math.min(1, Math.max(0, at)));
  const ink = luminance(fill) > 0.179 ? "#000000" : "#ffffff";
  return { fill: `rgb(${fill.join(" ")})`, ink };
}

/** The ramp as a CSS gradient, for the legend. */
export const gradient = () => `linear-gradient(to right, ${(dark.matches ? DARK : LIGHT).join(", ")})`;

function mix(ramp, at) {
  const place = at * (ramp.length - 1);
  const low = Math.min(Math.floor(place), ramp.length - 2);
  const [a, b] = [channels(ramp[low]), channels(ramp[low + 1])];
  return a.map((channel, n) => Math.round(channel + (b[n] - channel) * (place - low)));
}

const channels = (hex) => [1, 3, 5].map((n) => parseInt(hex.slice(n, n + 2), 16));

/** Relative luminance as WCAG 2 defines it; 0.179 is where black and white contrast alike. */
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
