// The plan by device and stream: a box is a group of actors and unfolds when it is selected; edges are registers.

import { actorName, actors, data, groups, members } from "./data.js";
import { box, drawing, edge, lighting } from "./drawing.js";
import { h, svg } from "./dom.js";
import { filtering, focus, on, passing, state } from "./state.js";
import { countText } from "./words.js";

const UNFOLDED = 200; // actors of a group that are listed in its box

export function plan(section) {
  const drawn = data.plan;
  const names = drawn.lanes.map((lane) => svg("g", { class: "lane-name" },
    svg("text", { y: lane.y + 16, class: "name" }, lane.device), svg("text", { y: lane.y + 30, class: "below" }, lane.stream)));
  // the names of lanes stay at the left edge
  const moved = ({ x, k }) => names.forEach((name) => name.setAttribute("transform", `translate(${Math.max(14, 8 - x / k)} 0)`));
  const { picture, root, tools, start, center } = drawing("plan", drawn.width, drawn.height, { moved });
  const lanes = drawn.lanes.map((lane) => svg("g", { class: "lane" },
    svg("rect", { x: 4, y: lane.y, width: drawn.width - 8, height: lane.h, rx: 4 })));
  const boxes = drawn.boxes.map((one) => groupBox(one));
  const edges = drawn.edges.map((one, i) => {
    const made = edge("plan", one.path, `carried:${i}`, one.back ? "back" : "");
    made.append(svg("text", { x: one.lx, y: one.ly + 3, class: "sbp" }, one.label + (one.count > 1 ? ` × ${one.count}` : "")));
    return made;
  });
  const unfolded = svg("g");
  root.append(...lanes, ...edges, ...boxes, ...names, unfolded);
  section.append(tools, picture);
  if (data.proof) boxes.forEach((element, i) => element.classList.toggle("critical", critical.has(drawn.boxes[i].group)));
  if (data.proof) edges.forEach((element, i) => element.classList.toggle("critical", drawn.edges[i].registers.some((row) => criticalRegisters.has(row))));
  lighting(picture, boxes, (now, i) => now.groups.has(drawn.boxes[i].group), (i) => filtering() && !members[drawn.boxes[i].group].some((row) => passing.actors[row]));
  lighting(picture, edges, (now, i) => (now.carried >= 0 ? now.carried === i : drawn.edges[i].registers.some((row) => now.registers.has(row))),
    (i) => filtering() && !drawn.edges[i].registers.some((row) => passing.registers[row]));
  on("pin", () => {
    const now = focus();
    unfolded.replaceChildren();
    if (!now || state.pinned === null) return;
    const at = drawn.boxes.findIndex((one) => now.groups.has(one.group));
    if (now.kind === "group") unfolded.append(opened(drawn.boxes[at]));
    if (at >= 0 && ["actor", "act", "register", "node", "wait", "group"].includes(now.kind)) center(drawn.boxes[at]);
  });
  on("filter", () => {
    const passes = drawn.boxes.map((one) => members[one.group].some((row) => passing.actors[row]));
    const first = passes.indexOf(true);
    if (passes.includes(false) && first >= 0) center(drawn.boxes[first]);
  });
  start();
}

const critical = new Set((data.proof?.cycle ?? []).flatMap((entry) => [actors.group[entry.actors[0]], actors.group[entry.actors[2]]]));
const criticalRegisters = new Set((data.proof?.cycle ?? []).map((entry) => entry.register).filter((row) => row >= 0));

function groupBox(one) {
  const group = groups[one.group], many = members[one.group].length;
  const made = box(one, `group:${one.group}`, group.kind, group.name, `${group.phase}${group.stage} · ${many > 1 ? `${many} actors` : group.device}`);
  if (many > 1) made.prepend(svg("rect", { x: 4, y: 4, width: one.w, height: one.h, rx: 4, class: "more" }));
  return made;
}

// The actors of a group as a list at the foot of its box.
function opened(one) {
  const rows = members[one.group].filter((row) => passing.actors[row]), shown = rows.slice(0, UNFOLDED);
  const tall = Math.min(260, 22 * (shown.length + (rows.length > shown.length)) + 12);
  return svg("foreignObject", { x: one.x, y: one.y + one.h + 2, width: Math.max(one.w, 260), height: tall },
    h("div", { class: "unfolded" },
      shown.map((row) => h("button", { type: "button", class: "link", "data-what": `actor:${row}` }, actorName(row))),
      rows.length > shown.length && h("span", { class: "soft" }, `and ${countText(rows.length - shown.length, "more actor")}`)));
}
