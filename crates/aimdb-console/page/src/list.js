// The records as a list, in groups by the beginning of their keys.
import { el, rateText } from "./dom.js";
import { TROUBLE } from "./model.js";

const RANK = Object.keys(TROUBLE);

/** `sensor` of `sensor.temp.indoor`. */
export function group(key) {
  return key.split(/[./]/, 1)[0];
}

/** Whether a key matches a search: each word occurs, and `*` matches any characters. */
export function matches(key, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => {
    const parts = word.split("*");
    let at = 0;
    for (const part of parts) {
      const found = key.toLowerCase().indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return true;
  });
}

export class ListView {
  constructor(model, host, select, selectGroup) {
    Object.assign(this, { model, host, select, selectGroup });
    this.rows = new Map();
    this.heads = new Map();
  }

  draw(search, open) {
    this.rows.clear();
    this.heads.clear();
    const groups = new Map();
    for (const key of this.model.records.keys()) {
      if (!matches(key, search)) continue;
      const name = group(key);
      groups.set(name, [...(groups.get(name) ?? []), key]);
    }
    const sections = [...groups].map(([name, keys]) => {
      const mark = el("span", { class: "mark", "aria-hidden": "true" });
      const summary = el("summary", {}, mark, el("span", { text: name }), el("span", { class: "count", text: keys.length }));
      const list = el("ul");
      const section = el("details", { open: search !== "" || groups.size === 1 || open === name }, summary, list);
      const fill = () => {
        if (!section.open || list.childElementCount) return;
        list.append(...keys.map((key) => this.row(key)));
        this.refresh();
      };
      // Not the event `toggle`, which also reports what a search opened.
      summary.addEventListener("click", () => {
        if (section.open) return;
        section.open = true;
        fill();
        section.open = false; // the click itself opens it
        this.selectGroup(name);
      });
      fill();
      this.heads.set(name, { mark, keys });
      return section;
    });
    this.host.replaceChildren(...(sections.length ? sections : [el("p", { text: "No record matches." })]));
    this.refresh();
  }

  row(key) {
    const mark = el("span", { class: "mark", "aria-hidden": "true" });
    const rate = el("span", { class: "rate" });
    const button = el("button", { type: "button", onclick: () => this.select(key) }, mark, el("span", { class: "key", text: key }), rate);
    this.rows.set(key, { button, mark, rate });
    return el("li", {}, button);
  }

  refresh(selected) {
    for (const [key, { button, mark, rate }] of this.rows) {
      const record = this.model.records.get(key);
      const trouble = this.model.trouble(key);
      const [sign, meaning] = TROUBLE[trouble];
      mark.textContent = sign;
      rate.textContent = rateText(record.rate);
      button.className = trouble;
      button.title = meaning;
      button.setAttribute("aria-label", `${key}: ${meaning}`);
      if (selected !== undefined) button.setAttribute("aria-pressed", String(key === selected));
    }
    for (const { mark, keys } of this.heads.values()) {
      const worst = Math.min(...keys.map((key) => RANK.indexOf(this.model.trouble(key))));
      const trouble = RANK[worst];
      mark.textContent = TROUBLE[trouble][0];
      mark.className = `mark ${trouble}`;
    }
  }
}
