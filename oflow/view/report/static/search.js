// Search by name, and filters by device, stage and phase.

import { actorCount, actorName, actors, data, deviceOrder, devices, registerCount, registerName } from "./data.js";
import { h, place } from "./dom.js";
import { filterBy, named, pin } from "./state.js";

const MOST = 14;

// The first matches of each kind: [what, name, kind].
function matches(text) {
  const found = [];
  const add = (count, kind, of) => {
    let left = MOST / 2;
    for (let i = 0; i < count && left > 0 && found.length < MOST; i++) {
      if (!named(of(i), text)) continue;
      found.push([`${kind}:${i}`, of(i), { node: "operator", value: "value" }[kind] ?? kind]);
      left--;
    }
  };
  add(devices.length, "device", (i) => devices[i].name);
  add(actorCount, "actor", actorName);
  add(registerCount, "register", registerName);
  add(data.graph?.edges.length ?? 0, "value", (i) => data.graph.edges[i].name);
  add(data.graph?.nodes.length ?? 0, "node", (i) => data.graph.nodes[i].op);
  return found;
}

export function search() {
  const input = place("search"), found = place("found");
  let chosen = 0;
  const close = () => { found.hidden = true; };
  const options = () => [...found.children].filter((option) => option.dataset.what);
  const choose = (option) => {
    if (!option) return;
    pin(option.dataset.what);
    close();
  };
  const mark = () => options().forEach((option, i) => option.setAttribute("aria-selected", String(i === chosen)));

  input.addEventListener("input", () => {
    const text = input.value.trim(), rows = text ? matches(text) : [];
    chosen = 0;
    found.hidden = !text;
    found.replaceChildren(...(rows.length ? rows.map(([what, name, kind]) => h("div", { role: "option", "data-what": what }, name, h("span", { class: "soft" }, ` ${kind}`)))
      : [h("div", { class: "soft" }, "nothing of that name")]));
    mark();
    filterBy({ text });
  });
  input.addEventListener("keydown", (event) => {
    const count = options().length;
    if (event.key === "ArrowDown") chosen = Math.min(count - 1, chosen + 1);
    else if (event.key === "ArrowUp") chosen = Math.max(0, chosen - 1);
    else if (event.key === "Enter") return choose(options()[chosen]);
    else if (event.key === "Escape") return close();
    else return;
    event.preventDefault();
    mark();
  });
  input.addEventListener("blur", () => setTimeout(close, 150));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== input) {
      event.preventDefault();
      input.focus();
    }
  });
}

export function filters(host) {
  const unique = (values) => [...new Set(values)].sort((a, b) => (typeof a === "number" ? a - b : a.localeCompare(b)));
  const select = (name, options, changed) => options.length > 1 && h("label", {}, `${name} `,
    h("select", { id: `filter-${name}`, onchange: (event) => changed(event.currentTarget.value) }, h("option", { value: "" }, "all"), options.map(([value, words]) => h("option", { value }, words))));
  host.append(...[
    select("device", deviceOrder.map((i) => [i, devices[i].name]), (value) => filterBy({ device: value === "" ? -1 : Number(value) })),
    select("stage", unique(actors.stage).map((stage) => [stage, stage]), (stage) => filterBy({ stage })),
    select("phase", unique(actors.phase).map((phase) => [phase, phase]), (phase) => filterBy({ phase })),
  ].filter(Boolean));
}
