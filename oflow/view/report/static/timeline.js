// Who runs when: simulated and measured acts by device and stream, what idle time waits for, and the critical cycle.

import { KINDS, actorName, actors, data, deviceOrder, devices, microBatch, registerName, streamName, streams, streamsOf, traces } from "./data.js";
import { choice, h } from "./dom.js";
import { meaning } from "./focus.js";
import { laneChart, cut, zoomButtons } from "./lanes.js";
import { actLight, deviceShown, focus, lengthOf, on, state, tell } from "./state.js";
import { countText, secondsText } from "./words.js";

const COMPACT = 24; // devices above which rows are low
const MOST_CHOSEN = 4; // devices of what is selected that are drawn beside those that stand for them
const WAITS = { input: "wait-input", "free slot": "wait-slot", stream: "wait-stream", partner: "wait-partner", core: "wait-core", caller: "wait-caller" };

// Of each stream its acts and gaps in order of time, as typed arrays.
function byStream(trace) {
  const lanes = streams.map(() => ({ spans: [], gaps: [] }));
  const { actor, start } = trace.spans;
  for (let i = 0; i < actor.length; i++) lanes[actors.stream[actor[i]]].spans.push(i);
  for (const lane of lanes) lane.spans.sort((a, b) => start[a] - start[b]);
  trace.gaps?.stream.forEach((stream, i) => lanes[stream].gaps.push(i));
  return lanes;
}

// The first place in `list`, sorted by what `of` says, at which that is more than `value`.
export function after(list, value, of) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (of(list[middle]) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

const shownTraces = traces.map((trace) => ({ ...trace, lanes: byStream(trace) }));
const modes = shownTraces.length > 1 ? ["overlaid", "stacked", ...shownTraces.map((trace) => trace.name)] : [];
let mode = modes[0] ?? shownTraces[0]?.name;

// What the modes of two traces show.
const MODE_WORDS = { overlaid: "outlined: simulated, filled: measured", stacked: "above: simulated, below: measured" };

// The traces that a row shows, each with its share of a lane's height.
function layers() {
  if (mode === "stacked") return shownTraces.map((trace, i) => ({ trace, top: i / shownTraces.length, part: 1 / shownTraces.length }));
  if (mode === "overlaid") return [...shownTraces].reverse().map((trace, i) => ({ trace, top: 0, part: 1, outline: i > 0 }));
  return shownTraces.filter((trace) => trace.name === mode).map((trace) => ({ trace, top: 0, part: 1 }));
}

// The axis is that of the run that is filled; another one is stretched to its length where each has its own scale.
const axisSeconds = () => lengthOf(layers()[0]?.trace && (mode === "stacked" ? shownTraces.at(-1) : layers()[0].trace));
const stretch = (trace) => axisSeconds() / lengthOf(trace);

// Devices that ran alike are drawn as one, and beside it what is selected.
const standsFor = devices.map((_, i) => devices.filter(({ ran_as: as }) => as === i).length);
const foldable = standsFor.some((count) => count > 1);
let together = foldable;

function devicesDrawn() {
  const shown = deviceOrder.filter(deviceShown);
  if (!together || state.filter.device >= 0) return shown;
  const chosen = new Set((state.pinned === null ? [] : meaning(state.pinned).actors).map((row) => actors.device[row]));
  return shown.filter((number) => devices[number].ran_as === number || (chosen.size <= MOST_CHOSEN && chosen.has(number)));
}

// The stream that shows what another one ran.
const shownAs = streams.map((stream) => streamsOf[devices[stream.device].ran_as].find((row) => streams[row].name === stream.name));

function timelineRows() {
  const drawn = devicesDrawn(), low = drawn.length > COMPACT, double = mode === "stacked" ? 1.7 : 1;
  const busy = streams.map((_, i) => shownTraces.some((trace) => trace.lanes[i].spans.some((span) => trace.spans.stop[span] > trace.spans.start[span])));
  return drawn.flatMap((number) => {
    const lanes = [];
    let y = 3;
    for (const stream of streamsOf[number].filter((row) => busy[row]).sort((a, b) => (streams[b].kind === "compute") - (streams[a].kind === "compute"))) {
      const height = Math.round((streams[stream].kind === "compute" ? (low ? 10 : 22) : low ? 5 : 12) * double);
      lanes.push({ stream, y, h: height });
      y += height + 1;
    }
    const sub = low ? [] : lanes.map((lane) => ({ text: streams[lane.stream].name, y: lane.y + Math.min(lane.h, 14) - 2 }));
    return lanes.length ? [{ label: devices[number].name, below: together && standsFor[number] > 1 ? `and ${standsFor[number] - 1} alike` : devices[number].alike === devices[number].name ? "" : devices[number].alike, sub, h: y + 3, lanes, what: `device:${number}`, device: number }] : [];
  });
}

let lit = 0;

function drawRow(ctx, row, top, x, seen, colours) {
  const now = focus();
  for (const lane of row.lanes) {
    for (const layer of layers()) {
      const factor = stretch(layer.trace), at = (time) => x(time * factor), shown = seen.map((time) => time / factor);
      const y = top + lane.y + layer.top * lane.h, height = layer.part * lane.h;
      if (!layer.outline) drawGaps(ctx, layer.trace, lane.stream, y, height, at, shown, colours);
      drawSpans(ctx, layer, lane.stream, y, height, at, shown, now, colours);
    }
  }
}

function drawGaps(ctx, trace, stream, y, height, x, [low, high], colours) {
  const { start, stop, why } = trace.gaps ?? {};
  if (!start) return;
  const list = trace.lanes[stream].gaps;
  ctx.globalAlpha = 0.75;
  for (let i = Math.max(0, after(list, low, (gap) => start[gap]) - 1); i < list.length && start[list[i]] < high; i++) {
    const left = x(start[list[i]]), right = x(stop[list[i]]), wait = WAITS[data.reasons[why[list[i]]]];
    if (right - left < 1.5 || !wait) continue;
    ctx.fillStyle = colours[wait];
    ctx.fillRect(left + 0.5, y + height / 2 - 0.75, right - left - 1, 1.5);
  }
  ctx.globalAlpha = 1;
}

function drawSpans(ctx, { trace, outline }, stream, y, height, x, [low, high], now, colours) {
  const { actor, act, start, stop } = trace.spans, list = trace.lanes[stream].spans;
  let last = -1, lastKind = "", lastLight = 0;
  for (let i = Math.max(0, after(list, low, (span) => start[span]) - 1); i < list.length && start[list[i]] < high; i++) {
    const span = list[i], row = actor[span], light = actLight(row, act[span], now), kind = actors.kind[row];
    const left = x(start[span]), right = Math.max(left + 0.6, x(stop[span]));
    if (light > 0) lit++;
    if (right < last + 0.5 && kind === lastKind && light <= lastLight) continue;
    [last, lastKind, lastLight] = [right, kind, light];
    ctx.globalAlpha = light < 0 ? 0.16 : 1;
    if (outline) {
      ctx.globalAlpha = light < 0 ? 0.16 : light > 0 ? 1 : 0.55;
      ctx.strokeStyle = colours.ink;
      ctx.lineWidth = 0.8;
      ctx.strokeRect(left + 0.5, y + 0.5, Math.max(0.5, right - left - 1), height - 1);
      continue;
    }
    ctx.fillStyle = colours[`kind-${kind}`];
    ctx.fillRect(left, y, right - left > 3 ? right - left - 0.7 : right - left, height);
    if (height >= 10 && right - left > 9) drawName(ctx, row, act[span], left, right, y, height);
  }
  ctx.globalAlpha = 1;
}

function drawName(ctx, row, act, left, right, y, height) {
  const from = Math.max(left, 132), batch = microBatch(row, act), room = right - from - 6;
  ctx.font = `${height >= 16 ? 11 : 9}px ui-sans-serif, system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.fillStyle = "#fff";
  const text = room > 46 ? cut(ctx, (batch >= 0 ? `${batch} · ` : "") + actors.name[row], room) : batch >= 0 && room > 5 ? String(batch) : "";
  if (text) ctx.fillText(text, from + 3, y + height / 2 + (height >= 16 ? 4 : 3));
}

// ------------------------------------------------------------ critical cycle

const cycle = data.proof?.cycle ?? [];
const LONG = 100; // waits of a cycle that is drawn paler, so that what it runs over is seen

function cycleSpans(trace) {
  const wanted = new Set(cycle.flatMap((entry) => [entry.actors[0], entry.actors[2]]));
  const found = new Map();
  trace.spans.actor.forEach((row, i) => wanted.has(row) && found.set(`${row}:${trace.spans.act[i]}`, i));
  return found;
}

const cycleAt = cycle.length && shownTraces.length ? cycleSpans(shownTraces[0]) : new Map();

function drawCycle(ctx, position, topOf, colours) {
  timelineChart.canvas.dataset.lit = lit;
  lit = 0;
  const trace = shownTraces[0];
  const layer = layers().find((one) => one.trace === trace);
  if (!state.cycle || !cycle.length || !layer) return;
  const middle = new Map();
  timelineChart.rows.forEach((row, i) => row.lanes.forEach((lane) => middle.set(lane.stream, [topOf(i) + lane.y + layer.top * lane.h, layer.part * lane.h])));
  const factor = stretch(trace), x = (time) => position(time * factor);
  const { start, stop } = trace.spans, chosen = focus()?.wait ?? -1;
  const plain = cycle.length > LONG ? 0.55 : 1;
  ctx.strokeStyle = colours.accent;
  for (let step = 0; step < trace.steps; step++) {
    cycle.forEach(({ actors: [source, sourceAct, target, targetAct], wraps }, i) => {
      const from = cycleAt.get(`${source}:${sourceAct + step * actors.acts[source]}`);
      const to = cycleAt.get(`${target}:${targetAct + (step + (wraps ? 1 : 0)) * actors.acts[target]}`);
      const [a, b] = [source, target].map((row) => middle.get(actors.stream[row]) ?? middle.get(shownAs[actors.stream[row]]));
      if (from === undefined || !a) return;
      ctx.lineWidth = chosen === i ? 3 : 1;
      ctx.globalAlpha = chosen === i ? 1 : chosen < 0 ? plain : 0.4;
      const left = x(start[from]), right = Math.max(left + 0.5, x(stop[from]));
      ctx.strokeRect(left, a[0] - 0.5, right - left, a[1] + 1);
      if (to === undefined || !b) return;
      ctx.beginPath();
      ctx.moveTo(right, a[0] + a[1] / 2);
      ctx.lineTo(x(start[to]), b[0] + b[1] / 2);
      ctx.stroke();
    });
  }
  ctx.globalAlpha = 1;
}

// ------------------------------------------------------------ what is under the pointer

function hitRow(row, y, seconds, tolerance) {
  const lane = row.lanes.find((one) => y >= one.y - 1 && y <= one.y + one.h);
  if (!lane) return null;
  const found = layers().filter((layer) => y - lane.y >= layer.top * lane.h && y - lane.y <= (layer.top + layer.part) * lane.h + 1);
  for (const { trace } of found) {
    const factor = stretch(trace), span = spanAt(trace, lane.stream, seconds / factor, tolerance / factor);
    if (span >= 0) return { what: `act:${trace.spans.actor[span]}:${trace.spans.act[span]}`, tip: spanTip(trace, span) };
  }
  return found.length ? gapTip(found[0].trace, lane.stream, seconds / stretch(found[0].trace)) : null;
}

function spanAt(trace, stream, seconds, tolerance) {
  const { start, stop } = trace.spans, list = trace.lanes[stream].spans;
  const place = after(list, seconds + tolerance, (span) => start[span]) - 1;
  let best = -1, distance = tolerance;
  for (let i = place; i >= Math.max(0, place - 4); i--) {
    const off = Math.max(0, start[list[i]] - seconds, seconds - stop[list[i]]);
    if (off < distance || (off === 0 && best < 0)) [best, distance] = [list[i], off];
  }
  return best;
}

function spanTip(trace, span) {
  const { actor, act, start, stop } = trace.spans, row = actor[span], batch = microBatch(row, act[span]);
  const step = Math.floor(act[span] / actors.acts[row]);
  return [actorName(row), `${KINDS[actors.kind[row]]}, stage ${actors.stage[row]}, ${streamName(actors.stream[row])}`,
    `step ${step}${batch >= 0 ? `, micro-batch ${batch}` : ""}, act ${act[span]}`,
    `${trace.name}: ${secondsText(start[span])} to ${secondsText(stop[span])}, ${secondsText(stop[span] - start[span])}`];
}

function gapTip(trace, stream, seconds) {
  const { start, stop } = trace.gaps ?? {};
  if (!start) return null;
  const list = trace.lanes[stream].gaps, gap = list[after(list, seconds, (one) => start[one]) - 1];
  if (gap === undefined || seconds > stop[gap]) return null;
  const { register, actor, other } = trace.gaps;
  return {
    what: register[gap] >= 0 ? `register:${register[gap]}` : actor[gap] >= 0 ? `actor:${actor[gap]}` : null,
    tip: [`idle ${secondsText(stop[gap] - start[gap])}`, gapWords(trace, gap), ...(actor[gap] >= 0 ? [`next: ${actorName(actor[gap])}`] : []),
      `${streamName(stream)}, ${trace.name}`, ...(other[gap] >= 0 && register[gap] < 0 ? [`came last: ${actorName(other[gap])}`] : [])],
  };
}

// What a gap waits for, in words.
export function gapWords(trace, gap) {
  const { why, register, other } = trace.gaps, reason = data.reasons[why[gap]];
  const what = register[gap] >= 0 ? registerName(register[gap]) : "", who = other[gap] >= 0 ? actorName(other[gap]) : "another";
  return {
    input: `waits for input ${what} from ${who}`, "free slot": `waits for a free slot of ${what}, held by ${who}`,
    stream: `waits for its turn after ${who}`, partner: `waits for its partner ${who}`, core: "all was there: waits for a core",
    caller: "all was there: waits for the caller", "end of step": "nothing follows until the end",
  }[reason] ?? `waits: ${reason}`;
}

// Both runs in figures.
function runsText() {
  const [planned, measured] = shownTraces, ratio = measured.seconds / measured.steps / (planned.seconds / planned.steps);
  return [h("strong", {}, `measured ${secondsText(measured.seconds / measured.steps)} a step, planned ${secondsText(planned.seconds / planned.steps)}: ${Number(ratio.toPrecision(3))} times as long`),
    h("span", { class: "soft" }, ` (${countText(measured.steps, "step")} and ${countText(planned.steps, "step")}, warm-up included; by actor and by kind in the tables)`)];
}

// ------------------------------------------------------------ the section

const timelineChart = laneChart("timeline", { draw: drawRow, hit: hitRow, over: drawCycle, length: axisSeconds, tallest: 520 });

export function timeline(section) {
  if (!shownTraces.length) return section.append(h("p", { class: "soft" },
    data.proof ? "There is no timeline: a step has too many acts to be drawn."
      : "There is no timeline: the plan cannot run, or a step has too many acts to be drawn."));
  const remade = () => timelineChart.setRows(timelineRows());
  const marked = h("input", { type: "checkbox", checked: true, onchange: (event) => {
    state.cycle = event.currentTarget.checked;
    document.body.classList.toggle("no-cycle", !state.cycle);
    timelineChart.render();
  } });
  const words = h("span", { class: "soft" }, MODE_WORDS[mode] ?? "");
  const scaled = h("input", { type: "checkbox", checked: state.own, onchange: (event) => {
    state.own = event.currentTarget.checked;
    tell("zoom");
  } });
  section.append(
    h("div", { class: "tools" }, zoomButtons(),
      modes.length > 0 && choice("traces", modes, mode, (chosen) => { mode = chosen; words.textContent = MODE_WORDS[mode] ?? ""; remade(); }), words,
      modes.length > 0 && h("label", { title: "Each run fills the width; the axis is the measured one's" }, scaled, " each to its own length"),
      cycle.length > 0 && h("label", {}, marked, " critical cycle"),
      foldable && h("label", { title: "Devices that ran the same acts at the same times, to a thousandth of the run, as one" },
        h("input", { type: "checkbox", checked: true, onchange: (event) => { together = event.currentTarget.checked; remade(); } }), " alike devices as one"),
      h("span", { class: "soft hint", title: "With the keyboard: arrows pan, + and - zoom, 0 shows all" }, "drag pans · ctrl + wheel zooms")),
    modes.length > 0 ? h("p", { class: "runs" }, runsText()) : "", timelineChart.host,
    h("p", { class: "legend soft" }, "Idle streams wait for: ",
      Object.entries(WAITS).filter(([reason]) => data.reasons.includes(reason)).map(([reason, wait]) => h("span", {}, h("i", { class: "dash", style: `--kind:var(--${wait})` }), reason))));
  on("filter", remade);
  on("pin", () => {
    if (foldable) remade();
    const now = focus();
    if (now?.actors.length) timelineChart.reveal(timelineChart.rows.findIndex((row) => row.device === actors.device[now.actors[0]]));
  });
  remade();
}
