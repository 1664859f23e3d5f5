// What a key stands for: the actors, registers and micro-batch that every picture highlights.
//
//     actor:ROW  act:ROW:ACT  register:ROW  micro:NUMBER  group:NUMBER  device:NUMBER  stream:NUMBER  kind:NUMBER (in KINDS)
//     node:NUMBER  value:NUMBER (an edge of the graph)  carried:NUMBER (an edge of the plan)  boxing:NUMBER  wait:NUMBER (of the cycle)

import { KINDS, actorCount, actors, data, members, meta, read, registers, rowsOfTemplate, written } from "./data.js";

const nodeRows = (number) => data.graph.nodes[number].actors.flatMap((template) => rowsOfTemplate[template]);
const where = (test) => actors.id.filter(test);

const MEANINGS = {
  actor: (row) => ({ actors: [row], registers: [...written[row], ...read[row]] }),
  act: (row, act) => ({ actors: [row], registers: [...written[row], ...read[row]], act }),
  register: (row) => ({ actors: [registers.producer[row], ...registers.consumers[row]].filter((actor) => actor >= 0), registers: [row] }),
  micro: (number) => ({ actors: where((row) => actors.acts[row] === meta.micro_batches), registers: [], micro: number }),
  group: (number) => ({ actors: members[number], registers: members[number].flatMap((row) => written[row]) }),
  device: (number) => ({ actors: where((row) => actors.device[row] === number), registers: registers.id.filter((row) => registers.device[row] === number) }),
  stream: (number) => ({ actors: where((row) => actors.stream[row] === number), registers: [] }),
  kind: (number) => {
    const rows = where((row) => actors.kind[row] === Object.keys(KINDS)[number]);
    return { actors: rows, registers: rows.flatMap((row) => written[row]) };
  },
  node: (number) => ({ actors: nodeRows(number), registers: nodeRows(number).flatMap((row) => written[row]), node: number }),
  value: (number) => {
    const edge = data.graph.edges[number];
    const readers = new Set(nodeRows(edge.target));
    const carried = nodeRows(edge.source).flatMap((row) => written[row]).filter((row) => registers.consumers[row].some((actor) => readers.has(actor)));
    return { actors: [...nodeRows(edge.source), ...readers], registers: carried, value: number };
  },
  carried: (number) => {
    const edge = data.plan.edges[number];
    const ends = [edge.source, edge.target];
    const found = edge.registers.flatMap((row) => [registers.producer[row], ...registers.consumers[row]]);
    return { actors: found.filter((actor) => ends.includes(actors.group[actor])), registers: edge.registers, carried: number };
  },
  boxing: (number) => {
    const rows = data.boxings[number].actors.flatMap((template) => rowsOfTemplate[template]);
    return { actors: rows, registers: rows.flatMap((row) => written[row]) };
  },
  wait: (number) => {
    const entry = data.proof.cycle[number];
    const [source, , target] = entry.actors;
    return { actors: [source, target], registers: entry.register >= 0 ? [entry.register] : [], wait: number };
  },
};

const known = new Map();

export function meaning(key) {
  if (!key) return null;
  if (!known.has(key)) {
    const [kind, ...numbers] = key.split(":");
    const found = MEANINGS[kind](...numbers.map(Number));
    const hot = new Uint8Array(actorCount);
    for (const row of found.actors) hot[row] = 1;
    if (known.size > 400) known.clear();
    known.set(key, {
      micro: -1, act: -1, node: -1, value: -1, carried: -1, wait: -1, ...found, key, kind, number: Number(numbers[0]), hot,
      registers: new Set(found.registers), groups: new Set(found.actors.map((row) => actors.group[row])),
      templates: new Set(found.actors.map((row) => actors.template[row])),
    });
  }
  return known.get(key);
}
