// The selected record: value, plot, readers, losses, schema, and why.
import uPlot from "uplot";
import { get, put, text as newest } from "./api.js";
import { bufferText, el, number, rateText, spanText } from "./dom.js";
import { Model, TROUBLE } from "./model.js";

/** The values that a plot keeps. */
const KEPT = 600;
const COLOURS = ["#2a9d6f", "#d1495b", "#3d6fd1", "#c58b12", "#8a4fbf", "#4aa3b5"];

/** The numeric fields of a value, by their paths: as many as have colours. */
export function numbers(value, path = "", found = {}, depth = 0) {
  if (Object.keys(found).length >= COLOURS.length) return found;
  if (typeof value === "number") found[path || "value"] = value;
  else if (typeof value === "boolean") found[path || "value"] = Number(value);
  else if (value && typeof value === "object" && depth < 4) {
    for (const [name, inner] of Object.entries(value).slice(0, 24)) numbers(inner, path ? `${path}.${name}` : name, found, depth + 1);
  }
  return found;
}

/** The text of a value in an event: as it was sent where a number is beyond what JavaScript keeps exactly. */
function valueText(value, event) {
  if (!/\d{16}/.test(event)) return JSON.stringify(value, null, 2);
  return event.slice(event.indexOf('"value":') + 8, -1);
}

export class DetailView {
  constructor(model, host) {
    this.model = model;
    this.host = host;
    this.key = null;
    this.shows = 0;
  }

  async show(key) {
    this.key = key;
    const show = ++this.shows;
    this.seq = 0;
    this.times = [];
    this.series = {};
    this.plot?.destroy();
    this.plot = null;
    const record = this.model.records.get(key);
    this.value = el("pre", { class: "value", "aria-label": "newest value" });
    this.stamp = el("p", { class: "stamp" });
    this.plotHost = el("div", { class: "plot", role: "img", "aria-label": "plot of the numeric fields" });
    this.figures = el("dl");
    this.readers = el("table", { class: "readers" });
    this.losses = el("div");
    this.why = el("div", { class: "why" });
    this.more = el("div");
    const ask = el("button", { type: "button", text: "Why?", onclick: () => this.explain() });
    this.trouble = el("p", { class: "trouble" });
    this.host.replaceChildren(
      el("h2", { text: key }), this.trouble,
      el("p", { class: "type", text: `${record.node.value.name} · ${bufferText(record.node.buffers[0])}` }),
      this.stamp, this.value, this.plotHost, this.figures, ask, this.why,
      el("h3", { text: "Readers" }), this.readers, el("h3", { text: "Losses" }), this.losses, this.more,
    );
    this.refresh();
    this.account();
    let details;
    try {
      details = await get(`records/${encodeURIComponent(key)}`);
    } catch (error) {
      this.stamp.textContent = error.message;
      return;
    }
    if (this.shows !== show) return;
    if (!details.encoding) this.stamp.textContent = "not exposed: the program shows its values with reg.expose(…)";
    else if (!details.readable) this.stamp.textContent = "this caller may not read it";
    else if (details.latest) this.see({ ...details.latest, missed: 0 }, "");
    else if (record.metrics?.produced) this.stamp.textContent = "holds no value: its readers have taken all";
    else this.stamp.textContent = "no value yet";
    const exposure = record.node.exposures[0];
    if (details.settable) this.more.append(await this.form(details));
    else if (exposure?.settable) this.more.append(el("p", { class: "type", text: "Settable, but not by this caller: the program grants it by Console::http_grants or a token." }));
    if (details.schema) {
      this.more.append(el("details", {}, el("summary", { text: "Schema" }), el("pre", { text: JSON.stringify(details.schema, null, 2) })));
    }
  }

  /** A new value of the selected record. */
  see({ seq, at, missed, value, text, hex }, event) {
    // The stream begins with the value that was asked for already.
    if (seq <= this.seq) return;
    this.seq = seq;
    this.value.textContent = value === undefined ? (text ?? hex) : valueText(value, event);
    this.stamp.textContent = `value ${number(seq)}${missed ? `, ${number(missed)} between were not shown` : ""}`;
    if (value === undefined || !at) return;
    this.times.push(at / 1e9);
    const found = numbers(value);
    for (const name of Object.keys(found)) {
      if (Object.keys(this.series).length < COLOURS.length) this.series[name] ??= new Array(this.times.length - 1).fill(null);
    }
    for (const [name, values] of Object.entries(this.series)) values.push(found[name] ?? null);
    if (this.times.length > KEPT) {
      this.times.shift();
      Object.values(this.series).forEach((values) => values.shift());
    }
    this.draw();
  }

  draw() {
    const names = Object.keys(this.series).slice(0, COLOURS.length);
    if (!names.length || this.times.length < 2) return;
    const now = this.times.at(-1);
    const data = [this.times.map((time) => time - now), ...names.map((name) => this.series[name])];
    if (this.plot && this.names === names.join()) {
      this.plot.setData(data);
      return;
    }
    this.plot?.destroy();
    this.names = names.join();
    const ink = getComputedStyle(document.body).color;
    const axis = { stroke: ink, grid: { stroke: "#8884" }, ticks: { stroke: "#8884" }, font: "11px system-ui" };
    this.plot = new uPlot({
      width: Math.max(240, this.plotHost.clientWidth), height: 190, scales: { x: { time: false } },
      legend: { live: false },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => `${tick} s`) }, { ...axis, size: 52 }],
      series: [{ label: "s" }, ...names.map((label, at) => ({ label, stroke: COLOURS[at], width: 1.5, spanGaps: true }))],
    }, data, this.plotHost);
  }

  /** Figures that the stream keeps up to date. */
  refresh() {
    const record = this.model.records.get(this.key);
    if (!record?.metrics) return;
    const { metrics } = record;
    const trouble = this.model.trouble(this.key);
    const [mark, meaning] = TROUBLE[trouble];
    this.trouble.textContent = `${mark} ${meaning}`;
    this.trouble.className = `trouble ${trouble}`;
    const age = metrics.last_update === null ? "never" : `${spanText(this.model.at - metrics.last_update)} ago`;
    const rows = { rate: rateText(record.rate), written: number(metrics.produced), newest: age, "in the buffer": number(metrics.depth) };
    if (metrics.filtered) rows["left out by transforms"] = number(metrics.filtered);
    if (metrics.observers.length) rows.observers = metrics.observers.join(", ");
    if (metrics.blocked) rows["writers wait for"] = `${metrics.blocked.held_back_by}`;
    for (const stage of record.node.stages) {
      const health = this.model.stage(this.key, stage.name);
      const link = this.model.link(this.key, stage.name);
      const { address } = Model.ports(stage);
      if (link) {
        const error = link.last_error && !link.last_error_is_over ? `: ${link.last_error}` : "";
        rows[address] = `${link.connected ? "connected" : "down"}, ${rateText(link.rate)}${error}`;
      } else if (health) {
        rows[stage.name] = `${health.state.toLowerCase()}${health.cause ? `: ${health.cause}` : ""}`;
      }
    }
    this.figures.replaceChildren(...Object.entries(rows).flatMap(([name, text]) => [el("dt", { text: name }), el("dd", { text })]));
    const cells = (tag, texts) => el("tr", {}, ...texts.map((text) => el(tag, { text })));
    this.readers.replaceChildren(cells("th", ["reader", "has", "behind", "lost"]), ...metrics.readers.map((reader) =>
      cells("td", [reader.name, number(reader.delivered), number(reader.pending), number(reader.lagged)])));
  }

  /** The accounts of the record, by cause. */
  async account() {
    const { key } = this;
    try {
      const { accounts } = await get("losses");
      if (this.key !== key) return;
      const lines = accounts.filter((account) => account.record === key && Object.keys(account.lost).length).map((account) => {
        const { kind, name, address } = account.party;
        const lost = Object.entries(account.lost).map(([cause, values]) => `${number(values)} ${cause}`).join(", ");
        return el("li", { text: `${name ?? address ?? kind.replace("_", " ")}: ${lost}, of ${number(account.entered)}` });
      });
      this.losses.replaceChildren(lines.length ? el("ul", {}, ...lines) : el("p", { text: "nothing" }));
    } catch (error) {
      this.losses.replaceChildren(el("p", { text: error.message }));
    }
  }

  async explain() {
    const { key } = this;
    try {
      const { state, steps, at_fault: fault } = await get(`why/${encodeURIComponent(key)}`);
      if (this.key !== key) return;
      const lines = steps.map((step) => el("li", { class: step.is_fault ? "fault" : "", style: `margin-left:${step.depth}em`, text: step.text }));
      const end = fault ? null : el("p", { text: "No fault was found upstream." });
      this.why.replaceChildren(el("p", { text: state }), el("ul", {}, ...lines), end ?? "");
    } catch (error) {
      this.why.replaceChildren(el("p", { text: error.message }));
    }
  }

  async form(details) {
    const { key } = this;
    const isJson = details.encoding.includes("json");
    if (!isJson && !details.encoding.startsWith("text/")) {
      return el("p", { class: "type", text: `Settable with bytes of ${details.encoding}: aimdb set ${key} - < FILE` });
    }
    const input = el("textarea", { id: "set", rows: 4, spellcheck: "false" });
    input.value = details.readable ? await newest(key) : "";
    const result = el("p", { role: "status" });
    const submit = async (event) => {
      event.preventDefault();
      try {
        if (isJson) JSON.parse(input.value);
        await put(`records/${encodeURIComponent(key)}`, input.value);
        result.className = "";
        result.textContent = "set";
      } catch (error) {
        result.className = "fault";
        result.textContent = error.message;
      }
    };
    const label = el("label", { for: "set", text: isJson ? "Set this record (JSON)" : "Set this record (text)" });
    return el("form", { onsubmit: submit }, label, input, el("button", { text: "Set" }), result);
  }
}
