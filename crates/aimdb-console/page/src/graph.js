// The graph as a picture: laid out once, its figures kept up to date in place.
import dagre from "@dagrejs/dagre";
import { bufferText, rateText, svg } from "./dom.js";
import { Model, TROUBLE } from "./model.js";

const RECORD = { width: 190, height: 58 };
const STAGE = { width: 150, height: 30 };

/** The most records that are drawn at a time. */
export const DRAWN = 60;

export class GraphView {
  constructor(model, host, select) {
    this.model = model;
    this.host = host;
    this.select = select;
    this.nodes = new Map();
    this.edges = [];
  }

  /** Draws these records, with their stages. */
  draw(keys) {
    const shown = new Set(keys);
    const layout = new dagre.graphlib.Graph();
    layout.setGraph({ rankdir: "LR", nodesep: 14, ranksep: 46, marginx: 12, marginy: 12 });
    layout.setDefaultEdgeLabel(() => ({}));
    const stages = [];
    for (const key of shown) {
      const { node } = this.model.records.get(key);
      layout.setNode(key, { ...RECORD });
      node.stages.forEach((stage, at) => {
        const id = `${key}\n${at}`;
        stages.push({ id, key, stage });
        layout.setNode(id, { ...STAGE });
        if (Model.writes(stage)) layout.setEdge(id, key);
        else layout.setEdge(key, id);
        const { inputs, outputs } = Model.ports(stage);
        inputs.filter((input) => shown.has(input)).forEach((input) => layout.setEdge(input, id));
        outputs.filter((output) => shown.has(output)).forEach((output) => layout.setEdge(id, output));
      });
    }
    dagre.layout(layout);
    const { width, height } = layout.graph();
    const root = svg("svg", { viewBox: `0 0 ${width || 10} ${height || 10}`, width: width || 10, height: height || 10, role: "group", "aria-label": "The graph of the database" });
    root.append(svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0 0 8 4 0 8z" }))));
    this.edges = layout.edges().map((edge) => {
      const points = layout.edge(edge).points.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`);
      const path = svg("path", { class: "edge", d: `M${points.join("L")}`, "marker-end": "url(#tip)" });
      root.append(path);
      const key = shown.has(edge.v) ? edge.v : shown.has(edge.w) ? edge.w : null;
      return { path, key };
    });
    this.nodes.clear();
    for (const { id, key, stage } of stages) root.append(this.stageNode(id, key, stage, layout.node(id)));
    for (const key of shown) root.append(this.recordNode(key, layout.node(key)));
    this.host.replaceChildren(root);
    // A graph that is a little too wide is made to fit; a wide one scrolls, so that its text can be read.
    if (width > this.host.clientWidth && this.host.clientWidth > 0.6 * width) {
      root.setAttribute("width", this.host.clientWidth);
      root.removeAttribute("height");
    }
    this.refresh();
  }

  recordNode(key, { x, y, width, height }) {
    const title = svg("text", { x: 12, y: 22, class: "key", text: shortened(key, 22) });
    const detail = svg("text", { x: 12, y: 42, class: "figures" });
    const mark = svg("text", { x: width - 20, y: 22, class: "mark", "aria-hidden": "true" });
    const node = svg("g", {
      class: "record", tabindex: "0", role: "button", transform: `translate(${x - width / 2} ${y - height / 2})`,
      onclick: () => this.select(key),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        this.select(key);
      },
    }, svg("title", { text: key }), svg("rect", { width, height, rx: 9 }), title, detail, mark);
    this.nodes.set(key, { node, detail, mark });
    return node;
  }

  stageNode(id, key, stage, { x, y, width, height }) {
    const { address } = Model.ports(stage);
    const kind = Model.kind(stage);
    const icon = { Source: "▶", Tap: "◀", LinkTo: "⇥", LinkFrom: "⇤", Transform: "ƒ", Processor: "⚙" }[kind] ?? "";
    const text = svg("text", { x: 10, y: 20, text: `${icon} ${shortened(address ?? stage.name, 18)}` });
    const node = svg("g", { class: `stage ${kind}`, transform: `translate(${x - width / 2} ${y - height / 2})` },
      svg("title", { text: address ? `${kind}: ${address}` : `${kind} ${stage.name} of ${key}` }),
      svg("rect", { width, height, rx: 15 }), text);
    this.nodes.set(id, { node, stage, key, kind });
    return node;
  }

  /** Brings figures and colours up to date. */
  refresh(selected) {
    for (const [id, entry] of this.nodes) {
      if (entry.stage) {
        const state = this.model.stage(entry.key, entry.stage.name)?.state ?? "";
        const link = this.model.link(entry.key, entry.stage.name);
        const trouble = link && !link.connected ? "down" : { Failed: "failed", Restarting: "restarting" }[state] ?? "";
        entry.node.setAttribute("class", `stage ${entry.kind} ${trouble}`);
        continue;
      }
      const record = this.model.records.get(id);
      if (!record.metrics) continue;
      const trouble = this.model.trouble(id);
      const [mark, meaning] = TROUBLE[trouble];
      const { depth, observers } = record.metrics;
      const eyes = observers.length ? ` · ◉ ${observers.length}` : "";
      entry.detail.textContent = `${rateText(record.rate)} · ${bufferText(record.metrics.buffer)} · ${depth}${eyes}`;
      entry.mark.textContent = mark;
      entry.node.setAttribute("class", `record ${trouble} ${id === selected ? "selected" : ""}`);
      entry.node.setAttribute("aria-label", `${id}: ${meaning}, ${rateText(record.rate)}`);
    }
    for (const { path, key } of this.edges) {
      const rate = this.model.records.get(key)?.rate ?? 0;
      path.style.strokeWidth = (rate > 0 ? 1.4 + Math.min(7, 1.6 * Math.log10(1 + rate)) : 1).toFixed(2);
      path.classList.toggle("flows", rate > 0);
    }
  }
}

function shortened(text, length) {
  return text.length <= length ? text : `…${text.slice(1 - length)}`;
}
