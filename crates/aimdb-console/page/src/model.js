// What the page knows: the graph once, and figures that the stream keeps up to date.

/** One record with its stages, counters and trouble. */
class RecordView {
  constructor(node) {
    this.node = node;
    this.key = node.key;
    this.metrics = null;
    this.rate = 0;
    this.changedAt = 0;
  }

  lag() {
    return Math.max(0, ...this.metrics.readers.map((reader) => reader.pending));
  }

  lost() {
    const { readers, departed, overwritten } = this.metrics;
    const lagged = readers.reduce((sum, reader) => sum + reader.lagged, 0) + departed.lagged + departed.unread;
    return readers.length === 0 ? lagged + overwritten : lagged;
  }

  /** A latest record and a mailbox leave values out by design. */
  keepsAll() {
    return typeof this.node.buffers[0] === "object";
  }
}

export class Model {
  constructor(graph) {
    this.graph = graph;
    this.records = new Map(graph.records.map((node) => [node.key, new RecordView(node)]));
    this.links = new Map();
    this.stages = new Map();
    this.health = null;
    this.at = 0;
    this.events = [];
  }

  /** Takes in what has changed since the last snapshot. */
  update({ at, records, links, health }) {
    const seconds = this.at ? (at - this.at) / 1e9 : 0;
    const measures = seconds >= 0.3;
    const changed = new Set();
    for (const metrics of records) {
      const record = this.records.get(metrics.key);
      if (!record) continue;
      const before = record.metrics?.produced ?? metrics.produced;
      if (measures) record.rate = Math.max(0, metrics.produced - before) / seconds;
      record.metrics = metrics;
      changed.add(metrics.key);
    }
    if (measures) for (const record of this.records.values()) if (!changed.has(record.key)) record.rate = 0;
    const seen = new Set();
    for (const link of links) {
      const id = `${link.key}/${link.stage}`;
      const messages = link.sent + link.received;
      const before = this.links.get(id);
      const rate = !before ? 0 : measures ? Math.max(0, messages - before.messages) / seconds : before.rate;
      this.links.set(id, { ...link, messages, rate });
      seen.add(id);
    }
    if (measures) for (const [id, link] of this.links) if (!seen.has(id)) link.rate = 0;
    if (health) {
      this.health = health;
      this.stages = new Map(health.stages.map((stage) => [`${Object.values(stage.owner)[0]}/${stage.stage}`, stage]));
    }
    this.at = at;
  }

  stage(key, name) {
    return this.stages.get(`${key}/${name}`);
  }

  link(key, name) {
    return this.links.get(`${key}/${name}`);
  }

  /** What is wrong with a record, worst first: `failed`, `down`, `blocked`, `lossy`, `silent`; empty if nothing is. */
  trouble(key) {
    const record = this.records.get(key);
    if (!record?.metrics) return "";
    const { stages } = record.node;
    if (stages.some((stage) => this.stage(key, stage.name)?.state === "Failed")) return "failed";
    if (stages.some((stage) => this.link(key, stage.name)?.connected === false)) return "down";
    if (stages.some((stage) => this.stage(key, stage.name)?.state === "Restarting")) return "restarting";
    if (record.metrics.blocked) return "blocked";
    if (record.keepsAll() && record.lost() > 0) return "lossy";
    if (record.metrics.produced === 0) return "silent";
    return "";
  }

  /** The records that the stage reads, and those that it writes besides its own. */
  static ports(stage) {
    const inner = typeof stage.kind === "object" ? Object.values(stage.kind)[0] : {};
    const keys = (ports) => (ports ?? []).map((port) => port.key);
    return { inputs: keys(inner.inputs), outputs: keys(inner.outputs), address: inner.address?.text };
  }

  /** The kind of a stage as one word. */
  static kind(stage) {
    return typeof stage.kind === "string" ? stage.kind : Object.keys(stage.kind)[0];
  }

  static writes(stage) {
    return !["Tap", "LinkTo"].includes(Model.kind(stage));
  }
}

export const TROUBLE = {
  failed: ["✗", "a stage has failed"],
  down: ["⊘", "a link is down"],
  restarting: ["↻", "a stage is between two attempts"],
  blocked: ["■", "writers wait for room"],
  lossy: ["▽", "readers have lost values"],
  silent: ["○", "no value yet"],
  "": ["●", "values come"],
};
