// The logical graph: operators, and values with type and SBP.

import { data, rowsOfTemplate } from "./data.js";
import { box, drawing, edge, lighting } from "./drawing.js";
import { h, svg } from "./dom.js";
import { filtering, focus, named, on, passing, state } from "./state.js";

export function graph(section) {
  const drawn = data.graph;
  section.classList.toggle("none", !drawn);
  if (!drawn) return section.append(h("p", { class: "soft" }, "The report was made of a plan alone, without its graph."));
  const { picture, root, tools, start, center } = drawing("graph", drawn.width, drawn.height);
  const nodes = drawn.nodes.map((node, i) => box(node, `node:${i}`, node.kind, node.op === "input" || node.op === "parameter" || node.op === "output" || node.op === "new value" ? node.name : node.op, below(node)));
  const edges = drawn.edges.map((one, i) => {
    const made = edge("graph", one.path, `value:${i}`, "");
    if (one.sbp) made.append(svg("text", { x: one.lx, y: one.ly + 3, class: "sbp" }, one.sbp));
    return made;
  });
  root.append(...edges, ...nodes);
  section.append(tools, picture);
  lighting(picture, nodes, (now, i) => now.node === i || (now.value >= 0 && [drawn.edges[now.value].source, drawn.edges[now.value].target].includes(i))
    || (now.node < 0 && drawn.nodes[i].actors.some((template) => now.templates.has(template))), nodeOut);
  const hot = (now, i) => now.node === i || drawn.nodes[i].actors.some((template) => now.templates.has(template));
  lighting(picture, edges, (now, i) => edgeLit(now, i, hot), (i) => nodeOut(drawn.edges[i].source) && nodeOut(drawn.edges[i].target));
  on("pin", () => {
    const now = focus();
    if (!now || now.kind === "device" || now.kind === "micro" || state.pinned === null) return;
    const at = now.node >= 0 ? now.node : now.value >= 0 ? drawn.edges[now.value].target : drawn.nodes.findIndex((node) => node.actors.some((template) => now.templates.has(template)));
    if (at >= 0 && now.kind !== "node") center(drawn.nodes[at]);
  });
  on("filter", () => {
    const first = drawn.nodes.findIndex((_, i) => !nodeOut(i));
    if (first > 0 && filtering()) center(drawn.nodes[first]);
  });
  start();
}

function below(node) {
  const many = node.count > 1 ? `${node.count} × ` : "";
  return many + [`${node.phase}${node.stage ?? ""}`, node.line].filter(Boolean).join(" · ");
}

function edgeLit(now, i, hot) {
  const { source, target } = data.graph.edges[i];
  if (now.value >= 0) return now.value === i;
  if (now.kind === "register" || now.kind === "wait" || now.kind === "carried") return hot(now, source) && hot(now, target);
  return now.kind !== "device" && now.kind !== "micro" && (hot(now, source) || hot(now, target));
}

function nodeOut(i) {
  if (!filtering()) return false;
  const node = data.graph.nodes[i], { stage, phase, text, device } = state.filter;
  if (stage !== "" && node.stage !== Number(stage)) return true;
  if (phase !== "" && node.phase !== phase) return true;
  if (device >= 0 && node.actors.length && !node.actors.some((template) => rowsOfTemplate[template].some((row) => passing.actors[row]))) return true;
  return !named(`${node.op} ${node.name}`, text) && !node.actors.some((template) => rowsOfTemplate[template].some((row) => passing.actors[row]));
}
