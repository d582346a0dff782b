// Figures as people read them. Durations come as nanoseconds, often as strings, as 64-bit integers do in JSON.

const UNITS = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];

/** Three digits: 84.2 ms. */
export function duration(nanoseconds) {
  const size = Math.abs(Number(nanoseconds));
  if (size === 0) return "0 ms";
  const [scale, unit] = UNITS.find(([least]) => size >= least * 0.9995) ?? UNITS[3];
  const value = size / scale;
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${Number(nanoseconds) < 0 ? "−" : ""}${count(value, unit === "ns" ? 0 : digits)} ${unit}`;
}

export function signed(nanoseconds) {
  return Number(nanoseconds) > 0 ? `+${duration(nanoseconds)}` : duration(nanoseconds);
}

export function range(low, high) {
  return `${duration(low)} to ${duration(high)}`;
}

export function count(number, digits = 0) {
  return Number(number).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function percent(fraction) {
  if (fraction > 0 && fraction < 0.001) return "< 0.1 %";
  return `${count(fraction * 100, fraction < 0.0995 && fraction > 0 ? 1 : 0)} %`;
}

/** The time of day of seconds since 1970, here. */
export function clock(seconds, withSeconds = true) {
  const options = { hour: "2-digit", minute: "2-digit", second: withSeconds ? "2-digit" : undefined, hour12: false };
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", options);
}

export function day(seconds) {
  const date = { day: "numeric", month: "short", year: "numeric" };
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" };
  return new Date(seconds * 1000).toLocaleString("en-GB", { ...date, ...time });
}

export function seconds(timestamp) {
  return Date.parse(timestamp) / 1000;
}

export function length(secondsLong) {
  if (secondsLong >= 3600) return `${count(secondsLong / 3600, secondsLong % 3600 ? 1 : 0)} h`;
  return secondsLong >= 60 ? `${count(secondsLong / 60, secondsLong % 60 ? 1 : 0)} min` : `${count(secondsLong)} s`;
}

/** `query DemoPage 3f9a61c2` -> its kind, its name, and the hash of its document. */
export function named(operation) {
  const [, kind, name, hash] = /^(?:(query|mutation|subscription) )?(.*?)(?: ([0-9a-f]{8}))?$/s.exec(operation);
  return { kind: kind ?? "", name: name || operation || "All operations", hash: hash ?? "" };
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${Number(number) === 1 ? one : many}`;
}

/** A round figure at or above the value, for the top of an axis. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.9999);
}
