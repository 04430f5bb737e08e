// The page: one stream, and the views of what it brings.
import { get, remember, remembered, stream } from "./api.js";
import { el, number, rateText } from "./dom.js";
import { DetailView } from "./detail.js";
import { DRAWN, GraphView } from "./graph.js";
import { ListView, group, matches } from "./list.js";
import { Model } from "./model.js";

const byId = (id) => document.getElementById(id);
const EVENTS = 100;

async function begin() {
  const [info, graph] = await Promise.all([get("info"), get("graph")]);
  const model = new Model(graph);
  document.title = `${info.name} · AimDB`;
  byId("name").textContent = info.name;
  let selected = null;
  let shown = [];
  // One stream for the whole page, and one for the values of the selected record.
  let page = new AbortController();
  let values = new AbortController();

  const detail = new DetailView(model, byId("detail"));
  const view = new GraphView(model, byId("graph"), select);
  const list = new ListView(model, byId("records"), select, showGroup);

  function showKeys(keys, note) {
    shown = keys.slice(0, DRAWN);
    const more = keys.length - shown.length;
    const text = more > 0 ? `${note}: the first ${shown.length} of ${keys.length} records` : note;
    byId("graph-note").textContent = text;
    byId("graph-note").hidden = !text;
    view.draw(shown);
    view.refresh(selected);
  }

  /** Draws a group: the part of a large one that has `key`. */
  function showGroup(name, key) {
    if (model.records.size <= DRAWN) return;
    const keys = [...model.records.keys()].filter((other) => group(other) === name);
    const at = Math.max(0, keys.indexOf(key));
    const from = Math.min(Math.max(0, at - DRAWN / 2), Math.max(0, keys.length - DRAWN));
    const part = keys.length > DRAWN ? `${name}, ${from + 1} to ${Math.min(keys.length, from + DRAWN)} of ${keys.length}` : name;
    showKeys(keys.slice(from, from + DRAWN), part);
  }

  function select(key) {
    selected = key;
    remember(key);
    if (!shown.includes(key)) showGroup(group(key), key);
    detail.show(key);
    list.refresh(selected);
    view.refresh(selected);
    listenToValues();
  }

  function listenToValues() {
    values.abort();
    values = new AbortController();
    if (!selected || document.hidden) return;
    // A comma divides keys, unless it is encoded.
    stream(`every=200&key=${encodeURIComponent(selected)}`, values.signal, {
      value: (value, text) => value.record === selected && detail.see(value, text),
    });
  }

  function listen() {
    page.abort();
    page = new AbortController();
    if (document.hidden) return;
    stream("metrics=1000", page.signal, {
      open: async () => {
        // Another process has another graph, and its counters begin anew.
        const { pid } = await get("info");
        if (pid !== info.pid) return location.reload();
        document.body.classList.remove("offline");
        byId("events").replaceChildren();
        (await get("events")).slice(-EVENTS).forEach(addEvent);
      },
      metrics: (snapshot) => {
        model.update(snapshot);
        refresh();
      },
      event: (event) => addEvent(event),
      end: () => offline("the program has ended"),
      broken: (error) => offline(error.message),
    });
  }

  function offline(reason) {
    document.body.classList.add("offline");
    byId("state").textContent = `offline: ${reason}`;
  }

  let accountAt = 0;
  function refresh() {
    const { health } = model;
    const failed = health.stages.filter((stage) => stage.state === "Failed").length;
    const restarting = health.stages.filter((stage) => stage.state === "Restarting").length;
    const down = [...model.links.values()].filter((link) => !link.connected).length;
    const parts = [[failed, "failed"], [restarting, "restarting"], [down, "down"], [health.blocked.length, "blocked"]];
    const bad = parts.filter(([count]) => count).map(([count, what]) => `${count} ${what}`);
    const text = `${health.state.toLowerCase()}, ${bad.length ? bad.join(", ") : "healthy"}`;
    if (byId("state").textContent !== text) byId("state").textContent = text;
    byId("state").className = bad.length ? "bad" : "good";
    const rate = [...model.records.values()].reduce((sum, record) => sum + record.rate, 0);
    byId("totals").textContent = `${number(model.records.size)} records · ${rateText(rate)}`;
    view.refresh(selected);
    list.refresh(selected);
    detail.refresh();
    if (detail.key && Date.now() - accountAt > 3000) {
      accountAt = Date.now();
      detail.account();
    }
  }

  function addEvent({ unix_at: unix, at, text, kind }) {
    const name = typeof kind === "string" ? kind : Object.keys(kind)[0];
    const time = unix ? new Date(unix / 1e6).toLocaleTimeString() : `${(at / 1e9).toFixed(1)} s`;
    const bad = ["stage_failed", "stage_restarts", "link_down", "link_error", "dead_letter", "writer_blocked"].includes(name);
    const newest = byId("events").firstElementChild;
    if (newest?.dataset.text === text) {
      // A link that is refused again and again is one line.
      newest.dataset.times = Number(newest.dataset.times) + 1;
      newest.firstElementChild.textContent = time;
      newest.lastElementChild.textContent = ` ×${newest.dataset.times}`;
      return;
    }
    const item = el("li", { class: bad ? "fault" : "", "data-text": text, "data-times": 1 }, el("time", { text: time }), ` ${text}`, el("b"));
    byId("events").prepend(item);
    while (byId("events").childElementCount > EVENTS) byId("events").lastElementChild.remove();
  }

  const keys = [...model.records.keys()];
  if (keys.length <= DRAWN) showKeys(keys, "");
  else showGroup(group(keys[0]), keys[0]);
  list.draw("", group(keys[0] ?? ""));
  byId("search").addEventListener("input", (event) => {
    const search = event.target.value;
    list.draw(search, group(selected ?? keys[0] ?? ""));
    if (keys.length > DRAWN && search) showKeys(keys.filter((key) => matches(key, search)), `matching “${search}”`);
    list.refresh(selected);
  });
  // A tab that nobody sees holds no connection: browsers have six for a host.
  document.addEventListener("visibilitychange", () => {
    listen();
    listenToValues();
  });
  listen();
  const last = remembered();
  if (last && model.records.has(last)) select(last);
}

/** Begins, again and again until the program is there. */
async function start() {
  for (;;) {
    try {
      await begin();
      return;
    } catch (error) {
      byId("state").textContent = `offline: ${error.message}`;
      document.body.classList.add("offline");
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

start();
