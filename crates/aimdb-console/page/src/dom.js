// Elements, numbers and times.

/** Makes an element: attributes, `on…` listeners, `text`, children. Text is never parsed as HTML. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function rateText(rate) {
  if (rate < 0.05) return "0/s";
  if (rate < 10) return `${rate.toFixed(1)}/s`;
  if (rate < 1000) return `${Math.round(rate)}/s`;
  return rate < 1e6 ? `${(rate / 1e3).toFixed(1)}k/s` : `${(rate / 1e6).toFixed(1)}M/s`;
}

export function spanText(nanos) {
  const seconds = nanos / 1e9;
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1e3))} ms`;
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

export const number = new Intl.NumberFormat("en").format;

/** `ring of 32`, from the buffer as the console sends it. */
export function bufferText(buffer) {
  const names = { SpmcRing: "ring", SpmcQueue: "queue", SingleLatest: "latest", Mailbox: "mailbox" };
  if (typeof buffer === "string") return names[buffer] ?? buffer;
  const [kind, { capacity }] = Object.entries(buffer)[0];
  return `${names[kind] ?? kind} of ${capacity}`;
}
