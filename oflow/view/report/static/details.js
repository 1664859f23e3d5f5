// What is selected, in words.

import {
  KINDS, actorName, actors, data, deviceOrder, devices, groups, members, meta, read, registerName, registers, streamName, streams, streamsOf, traces, written,
} from "./data.js";
import { measuredAct, measuredStep, plannedStep } from "./compared.js";
import { h, link } from "./dom.js";
import { meaning } from "./focus.js";
import { on, pin, state } from "./state.js";
import { gapWords } from "./timeline.js";
import { bytesText, countText, secondsText, shareText } from "./words.js";

const LISTED = 40, ALONE = 12; // devices that are listed each for itself
const some = (rows, of) => [rows.slice(0, LISTED).map((row) => h("li", {}, of(row))), rows.length > LISTED && h("li", { class: "soft" }, `and ${countText(rows.length - LISTED, "more", "more")}`)];
const toActor = (row) => link(`actor:${row}`, actorName(row));
const toRegister = (row) => [link(`register:${row}`, registerName(row)), h("span", { class: "soft" }, ` ${registers.type[row]} ${registers.layout[row]}`)];
const list = (title, rows, of) => rows.length > 0 && [h("h3", {}, `${title} (${rows.length})`), h("ul", {}, some(rows, of))];
const facts = (...pairs) => h("dl", {}, pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
const standing = (row) => `stage ${actors.stage[row]}, phase ${actors.phase[row]} (${KINDS[actors.kind[row]]})`;

const TEXTS = {
  actor: (now) => actorText(now.number, -1),
  act: (now) => actorText(now.number, now.act),
  register: ({ number: row }) => [
    h("h2", {}, registers.name[row]),
    h("p", {}, `Register on `, link(`device:${registers.device[row]}`, devices[registers.device[row]].name),
      `: ${countText(registers.slots[row], "slot")} of ${registers.type[row]}, ${bytesText(registers.nbytes[row])} together.`),
    facts(["SBP", registers.layout[row]], ["region", `${registers.region[row]}, offset ${registers.offset[row].toLocaleString("en")}`],
      ["first tokens", registers.initial[row] ? `${registers.initial[row]} from the start` : ""], ["line", registers.line[row]]),
    list("Written by", registers.producer[row] >= 0 ? [registers.producer[row]] : [], toActor), list("Read by", registers.consumers[row], toActor)],
  micro: ({ number }) => [h("h2", {}, `Micro-batch ${number}`), h("p", {}, `One of ${meta.micro_batches} a step: the act ${number} of each actor that acts once a micro-batch.`), microLinks(number)],
  group: ({ number }) => {
    const group = groups[number], rows = members[number];
    return [h("h2", {}, group.name), h("p", {}, `${countText(rows.length, "actor")} on ${group.device}, stream ${group.stream}: stage ${group.stage}, phase ${group.phase} (${KINDS[group.kind]}).`),
      facts(["a step", secondsText(Math.max(...rows.map((row) => actors.seconds[row] * actors.acts[row]))) + (rows.length > 1 ? " at most, each" : "")], ["line", actors.line[rows[0]]]),
      list("Actors", rows, toActor)];
  },
  device: ({ number }) => {
    const one = devices[number], memory = data.memory[number];
    const mine = registers.id.filter((row) => registers.device[row] === number && registers.nbytes[row] > 0).sort((a, b) => registers.nbytes[b] - registers.nbytes[a]);
    return [h("h2", {}, one.name), facts(["arena", bytesText(one.arena)], ["state", bytesText(one.state)], ["budget", one.budget ? `${bytesText(one.budget)}, ${shareText((one.arena + one.state) / one.budget)} taken` : ""],
      ["peak", memory ? bytesText(memory.peak) : ""]), list("Streams", streamsOf[number], (row) => link(`stream:${row}`, streams[row].name)), list("Registers, largest first", mine, (row) => [toRegister(row), ` ${bytesText(registers.nbytes[row])}`])];
  },
  stream: ({ number, actors: rows }) => [h("h2", {}, streamName(number)), h("p", {}, `A ${streams[number].kind} stream with ${countText(rows.length, "actor")}.`), list("Actors", rows, toActor)],
  kind: ({ number, actors: rows }) => [h("h2", {}, Object.values(KINDS)[number]), h("p", {}, `${countText(rows.length, "actor")} of this kind, ${secondsText(plannedStep(rows))} a step over all devices`,
    measuredAct && `; measured ${secondsText(measuredStep(rows))}`, "."), list("Actors", rows, toActor)],
  node: ({ number, actors: rows }) => {
    const node = data.graph.nodes[number];
    const at = (side) => data.graph.edges.map((_, i) => i).filter((i) => data.graph.edges[i][side] === number);
    return [h("h2", {}, node.op), node.name !== node.op && h("p", {}, node.name), facts(["stage", node.stage], ["phase", node.phase], ["line", node.line], ["nodes", node.count > 1 ? node.count : ""]),
      list("Takes", at("target"), toValue), list("Gives", at("source"), toValue), list("Actors", rows, toActor)];
  },
  value: ({ number, registers: rows }) => {
    const edge = data.graph.edges[number], ends = [edge.source, edge.target].map((i) => link(`node:${i}`, data.graph.nodes[i].op));
    return [h("h2", {}, edge.name || `value ${edge.value}`), facts(["type", edge.type], ["SBP", edge.sbp], ["placement", edge.placement], ["time", edge.time], ["from", ends[0]], ["to", ends[1]]), list("Registers", [...rows], toRegister)];
  },
  carried: ({ number }) => {
    const edge = data.plan.edges[number], ends = [edge.source, edge.target].map((i) => link(`group:${i}`, groups[i].name));
    return [h("h2", {}, edge.label), facts(["from", ends[0]], ["to", ends[1]], ["first tokens", edge.back ? "filled from the start" : ""]), list("Registers", edge.registers, toRegister)];
  },
  boxing: ({ number, actors: rows }) => {
    const one = data.boxings[number];
    return [h("h2", {}, `Boxing of ${one.value}`), h("p", {}, `From ${one.from} to ${one.to}: ${bytesText(one.nbytes)} and ${secondsText(one.seconds)} a step.`),
      facts(["route", one.route], ["type", one.type], ["why", one.why], ["reader", one.reader], ["times", one.times], ["line", one.line], ["stage", `${one.stage}, phase ${one.phase}`]),
      list("Moved by", rows, toActor)];
  },
  wait: ({ number, actors: rows, registers: carried }) => {
    const entry = data.proof.cycle[number], [, sourceAct, , targetAct] = entry.actors;
    return [h("h2", {}, `Wait ${number + 1} of the critical cycle`), h("p", {}, entry.text), facts(["kind", entry.kind], ["acts", `${sourceAct} then ${targetAct}${entry.wraps ? " of the next step" : ""}`]),
      list("Actors", rows, toActor), list("Register", [...carried], toRegister)];
  },
};

const toValue = (i) => {
  const { name, sbp, type, value } = data.graph.edges[i];
  return [link(`value:${i}`, name || `value ${value}`), h("span", { class: "soft" }, ` ${type} ${sbp}`)];
};

function actorText(row, act) {
  const total = actors.seconds[row] * actors.acts[row], period = data.proof?.period;
  const batch = act >= 0 && meta.micro_batches > 1 && actors.acts[row] === meta.micro_batches ? act % meta.micro_batches : -1;
  return [
    h("h2", {}, actors.name[row]),
    h("p", {}, "Actor on ", link(`device:${actors.device[row]}`, devices[actors.device[row]].name), ", stream ", link(`stream:${actors.stream[row]}`, streams[actors.stream[row]].name), `: ${standing(row)}.`),
    h("p", {}, `${countText(actors.acts[row], "act")} a step of ${secondsText(actors.seconds[row])}: ${secondsText(total)}${period ? `, ${shareText(total / period)} of the period` : ""}.`),
    measuredAct?.[row] > 0 && h("p", {}, `Measured: ${secondsText(measuredAct[row])} an act${actors.seconds[row] > 0 ? `, ${Number((measuredAct[row] / actors.seconds[row]).toPrecision(3))} times the plan's` : ""}.`),
    act >= 0 && h("p", {}, `Act ${act}, step ${Math.floor(act / actors.acts[row])}`, batch >= 0 && [", ", link(`micro:${batch}`, `micro-batch ${batch}`)], "."),
    facts(["calls", actors.calls[row]], ["line", actors.line[row]], ["group", actors.group[row] >= 0 && link(`group:${actors.group[row]}`, groups[actors.group[row]].name)]),
    waits(row), list("Reads", read[row], toRegister), list("Writes", written[row], toRegister)];
}

// For how long its stream stands still before acts of this actor, and why.
function waits(row) {
  const sums = new Map();
  for (const trace of traces.slice(0, 1)) {
    trace.gaps?.actor.forEach((next, gap) => {
      if (next !== row) return;
      const words = gapWords(trace, gap);
      sums.set(words, (sums.get(words) ?? 0) + trace.gaps.stop[gap] - trace.gaps.start[gap]);
    });
  }
  const found = [...sums].sort((a, b) => b[1] - a[1]).slice(0, 6);
  return found.length > 0 && [h("h3", {}, "Its stream stands still before it"), h("ul", {}, found.map(([words, seconds]) => h("li", {}, `${secondsText(seconds)}: ${words}`)))];
}

const microLinks = (chosen) => h("p", { class: "micro" }, Array.from({ length: meta.micro_batches }, (_, i) => h("button", { type: "button", "data-what": `micro:${i}`, "aria-pressed": String(i === chosen) }, i)));

export function details(panel) {
  const update = () => {
    const now = meaning(state.pinned);
    panel.classList.toggle("empty", !now);
    panel.replaceChildren(...(now ? [h("button", { type: "button", class: "close", title: "Select nothing (Esc)", onclick: () => pin(null) }, "×"), ...TEXTS[now.kind](now)] : overview())
      .flat(Infinity).filter(Boolean));
  };
  on("pin", update);
  update();
}

function overview() {
  return [h("h2", {}, "Nothing selected"), h("p", { class: "soft" }, "Hover to light a thing up in every picture; click to keep it and read about it here."),
    meta.micro_batches > 1 && [h("h3", {}, "Micro-batches"), microLinks(-1)],
    h("h3", {}, "Devices"), h("ul", {}, some(holdingAlike(), ([i, ...more]) => [link(`device:${i}`, devices[i].name), more.length > 0 && ` and ${countText(more.length, "alike", "alike")}`,
      h("span", { class: "soft" }, ` ${bytesText(devices[i].arena + devices[i].state)}${more.length ? " each" : ""}`)]))];
}

// Of many devices those that stand side by side and hold the same bytes, together.
function holdingAlike() {
  const found = [];
  for (const i of deviceOrder) {
    const [last] = found.at(-1) ?? [], same = last !== undefined && ["kind", "arena", "state"].every((fact) => devices[last][fact] === devices[i][fact]);
    if (same && devices.length > ALONE) found.at(-1).push(i);
    else found.push([i]);
  }
  return found;
}
