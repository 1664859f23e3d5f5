// Boxings, registers, actors and devices as tables: sorted by any column, searched and filtered with everything else.

import { KINDS, actorName, actors, data, devices, registerName, registers, rowsOfTemplate, streamName } from "./data.js";
import { measuredAct, measuredStep, plannedStep } from "./compared.js";
import { choice, h } from "./dom.js";
import { deviceShown, focus, named, on, passing, state } from "./state.js";
import { bytesText, countText, secondsText } from "./words.js";

const PAGE = 100;

// A column: title, value of a row (sorts), its text, and whether it is a number.
const text = (title, value) => ({ title, value, text: value });
const bytes = (title, value) => ({ title, value, text: (row) => bytesText(value(row)), number: true });
const seconds = (title, value) => ({ title, value, text: (row) => secondsText(value(row)), number: true });
const count = (title, value) => ({ title, value, text: (row) => value(row).toLocaleString("en"), number: true });

const times = (title, value) => ({ title, value, text: (row) => (value(row) > 0 ? `${Number(value(row).toPrecision(3))} ×` : ""), number: true });
const measured = (...columns) => (measuredAct ? columns : []);

const KIND_NAMES = Object.keys(KINDS);
const rowsOfKind = (kind) => actors.id.filter((row) => passing.actors[row] && actors.kind[row] === KIND_NAMES[kind]);
const bytesWritten = (kind) => registers.id.reduce((sum, row) => sum + (passing.registers[row] && actors.kind[registers.producer[row]] === KIND_NAMES[kind] ? registers.nbytes[row] : 0), 0);
const busy = (device) => actors.id.reduce((sum, row) => sum + (actors.device[row] === device && actors.kind[row] !== "comm" ? actors.seconds[row] * actors.acts[row] : 0), 0);
const boxing = (row) => data.boxings[row];
const TABLES = {
  boxings: {
    rows: () => data.boxings.map((_, i) => i).filter((row) => boxingPasses(boxing(row))), what: "boxing", sort: 4,
    columns: [text("value", (row) => boxing(row).value), text("type", (row) => boxing(row).type), text("route", (row) => boxing(row).route),
      text("why", (row) => boxing(row).why), bytes("bytes", (row) => boxing(row).nbytes), seconds("seconds", (row) => boxing(row).seconds),
      count("times", (row) => boxing(row).times), text("reader", (row) => boxing(row).reader), text("stage", (row) => `${boxing(row).phase}${boxing(row).stage}`),
      text("line", (row) => boxing(row).line)],
  },
  registers: {
    rows: () => registers.id.filter((row) => passing.registers[row]), what: "register", sort: 5,
    columns: [text("register", registerName), text("type", (row) => registers.type[row]), text("SBP", (row) => registers.layout[row]), text("region", (row) => registers.region[row]),
      count("slots", (row) => registers.slots[row]), bytes("bytes", (row) => registers.nbytes[row]), count("offset", (row) => registers.offset[row]),
      text("written by", (row) => (registers.producer[row] >= 0 ? actors.name[registers.producer[row]] : "")), count("readers", (row) => registers.consumers[row].length), text("line", (row) => registers.line[row])],
  },
  actors: {
    rows: () => actors.id.filter((row) => passing.actors[row]), what: "actor", sort: 5,
    columns: [text("actor", actorName), text("stream", (row) => streamName(actors.stream[row])), text("stage", (row) => `${actors.phase[row]}${actors.stage[row]}`),
      count("acts", (row) => actors.acts[row]), seconds("an act", (row) => actors.seconds[row]), seconds("a step", (row) => actors.seconds[row] * actors.acts[row]),
      ...measured(seconds("measured act", (row) => measuredAct[row] || 0), times("of planned", (row) => measuredAct[row] / actors.seconds[row] || 0)), text("calls", (row) => actors.calls[row]), text("line", (row) => actors.line[row])],
  },
  kinds: {
    rows: () => KIND_NAMES.map((_, i) => i).filter((kind) => rowsOfKind(kind).length), what: "kind", sort: 2,
    columns: [text("kind", (row) => KINDS[KIND_NAMES[row]]), count("actors", (row) => rowsOfKind(row).length), seconds("a step, all devices", (row) => plannedStep(rowsOfKind(row))),
      ...measured(seconds("measured", (row) => measuredStep(rowsOfKind(row))), times("of planned", (row) => measuredStep(rowsOfKind(row)) / plannedStep(rowsOfKind(row)) || 0)),
      bytes("bytes of what it writes", bytesWritten)],
  },
  devices: {
    rows: () => devices.map((_, i) => i).filter(deviceShown), what: "device", sort: 1,
    columns: [text("device", (row) => devices[row].name), bytes("arena", (row) => devices[row].arena), bytes("state", (row) => devices[row].state),
      bytes("budget", (row) => devices[row].budget), bytes("peak", (row) => data.memory[row]?.peak ?? 0), seconds("busy a step", busy)],
  },
};

function boxingPasses(one) {
  const { stage, phase, text: words, device } = state.filter;
  const onDevice = device < 0 || one.actors.some((template) => rowsOfTemplate[template].some((row) => actors.device[row] === device));
  return onDevice && (stage === "" || one.stage === Number(stage)) && (phase === "" || one.phase === phase) && named(`${one.value} ${one.reader} ${one.route}`, words);
}

export function tables(section) {
  const names = Object.keys(TABLES).filter((name) => name !== "boxings" || data.boxings.length);
  const shown = Object.fromEntries(names.map((name) => [name, { column: TABLES[name].sort, down: true, most: PAGE }]));
  const holder = h("div", { class: "scroll" });
  let name = names[0];

  function remade() {
    const { columns, rows, what } = TABLES[name], { column, down, most } = shown[name];
    const keyed = rows().map((row) => [columns[column].value(row), row]);
    keyed.sort(([a], [b]) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true })) * (down ? -1 : 1));
    const heads = columns.map((one, i) => h("th", { scope: "col", class: one.number ? "number" : "", "aria-sort": i === column ? (down ? "descending" : "ascending") : "none" },
      h("button", { type: "button", onclick: () => { Object.assign(shown[name], { column: i, down: i === column ? !down : Boolean(one.number) }); remade(); } }, one.title)));
    const lines = keyed.slice(0, most).map(([, row]) => h("tr", { "data-what": `${what}:${row}`, tabindex: 0 },
      columns.map((one) => h("td", { class: one.number ? "number" : ["type", "SBP", "why", "line"].includes(one.title) ? "short" : "" }, one.text(row)))));
    const rest = keyed.length - lines.length;
    holder.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, lines)),
      h("p", { class: "soft small" }, countText(keyed.length, "row"), rest > 0 && [`, ${rest.toLocaleString("en")} not shown `,
        h("button", { type: "button", class: "link", onclick: () => { shown[name].most += 5 * PAGE; remade(); } }, "show more")]));
    lit();
  }

  function lit() {
    const now = focus();
    for (const line of holder.querySelectorAll("tbody tr")) {
      const [kind, number] = line.dataset.what.split(":");
      const hot = now && ({ register: () => now.registers.has(Number(number)), actor: () => Boolean(now.hot[number]) }[kind] ?? (() => now.key === line.dataset.what))();
      line.classList.toggle("hot", Boolean(hot));
    }
  }

  section.append(h("div", { class: "tools" }, choice("table", names, name, (chosen) => { name = chosen; remade(); })), holder);
  on("filter", remade);
  on("focus", lit);
  remade();
}
