// Figures as people read them, and elements without markup: text from the network is only ever text.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const SPACE = "\u00a0"; // a figure and its unit stay on one line

export function number(value, digits = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function scaled(count) {
  let unit = 0;
  while (count >= 1024 && unit + 1 < UNITS.length) {
    count /= 1024;
    ++unit;
  }
  return [number(count, count >= 100 || unit === 0 ? 0 : 1), UNITS[unit]];
}

export function bytes(count) {
  return scaled(count).join(SPACE);
}

// "4.1 of 12.1 MiB", or "198 KiB of 1.2 MiB".
export function bytesOf(part, whole) {
  const [count, unit] = scaled(part);
  const [all, allUnit] = scaled(whole);
  return unit === allUnit ? [count, "of", all, unit].join(SPACE) : `${bytes(part)} of ${bytes(whole)}`;
}

export function counted(count, one, many) {
  return `${number(count)}${SPACE}${count === 1 ? one : many}`;
}

export function seconds(value) {
  return value < 1 ? `${number(value * 1000)}${SPACE}ms` : `${number(value, 1)}${SPACE}s`;
}

export function percent(part, whole) {
  return whole > 0 ? `${number((100 * part) / whole)}${SPACE}%` : "–";
}

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function show(id, text) {
  document.getElementById(id).textContent = text;
}
