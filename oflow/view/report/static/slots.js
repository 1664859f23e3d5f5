// Slot occupancy: when each slot of a register is written, full and free again.

import { actorName, actors, devices, microBatch, registerName, registers, traces } from "./data.js";
import { choice, h } from "./dom.js";
import { laneChart } from "./lanes.js";
import { actLight, focus, lengthOf, on, passing, state } from "./state.js";
import { bytesText, countText, secondsText } from "./words.js";

const WRITE = 0, FULL = 1, FREE = 2;

// Of each register its uses in order of time: {slot, write, full, free, act (of its writer; -1 of a first token)}.
function usesOf(trace) {
  const { register, slot, time, event } = trace.slots, found = new Map(), open = new Map(), counts = new Map();
  const begun = (row, place, at) => {
    const tokens = registers.initial[row], count = counts.get(row) ?? 0;
    const one = { slot: place, write: at, full: trace.seconds, free: trace.seconds, act: count - tokens };
    counts.set(row, count + 1);
    if (!found.has(row)) found.set(row, []);
    found.get(row).push(one);
    open.set(`${row}:${place}`, one);
    return one;
  };
  for (let i = 0; i < register.length; i++) {
    const key = `${register[i]}:${slot[i]}`, one = open.get(key);
    if (event[i] === WRITE) begun(register[i], slot[i], time[i]);
    else if (event[i] === FULL) (one ?? begun(register[i], slot[i], time[i])).full = time[i];
    else if (event[i] === FREE && one) {
      one.free = time[i];
      open.delete(key);
    }
  }
  return found;
}

const traced = traces.find((trace) => trace.slots.register.length);
const uses = traced ? usesOf(traced) : new Map();
const bySize = [...uses.keys()].sort((a, b) => registers.nbytes[b] - registers.nbytes[a] || a - b);
let only = "all";

function slotRows() {
  const chosen = focus()?.registers ?? new Set();
  const first = (row) => state.filter.device >= 0 || devices[registers.device[row]].ran_as === registers.device[row] || chosen.has(row);
  const shown = bySize.filter((row) => first(row) && passing.registers[row] && (only === "all" || registers.region[row] === only));
  const ordered = [...shown.filter((row) => chosen.has(row)), ...shown.filter((row) => !chosen.has(row))];
  return ordered.map((row) => {
    const part = Math.max(3, Math.min(9, 40 / registers.slots[row]));
    return { label: registers.name[row], tail: `@${devices[registers.device[row]].name}`, register: row, part, h: Math.max(16, Math.ceil(part * registers.slots[row]) + 6), what: `register:${row}`, lit: chosen.has(row) };
  });
}

function drawSlots(ctx, row, top, x, [low, high], colours) {
  const now = focus(), writer = registers.producer[row.register];
  const faded = now && now.micro < 0 && !now.registers.has(row.register);
  const fill = colours[`kind-${writer >= 0 ? actors.kind[writer] : "data"}`];
  for (const one of uses.get(row.register)) {
    if (one.free < low || one.write > high) continue;
    const left = x(one.write), full = x(Math.min(one.full, one.free)), right = Math.max(left + 0.8, x(one.free)), y = top + 3 + one.slot * row.part;
    const dim = faded || (now?.micro >= 0 && (writer < 0 || one.act < 0 || actLight(writer, one.act, now) < 0));
    ctx.fillStyle = fill;
    ctx.globalAlpha = dim ? 0.12 : 0.4;
    ctx.fillRect(left, y, full - left, row.part - 1);
    ctx.globalAlpha = dim ? 0.2 : 1;
    ctx.fillRect(full, y, Math.max(0.6, right - full - 0.5), row.part - 1);
  }
  ctx.globalAlpha = 1;
}

function hitSlots(row, y, seconds) {
  const slot = Math.floor((y - 3) / row.part), writer = registers.producer[row.register];
  const one = uses.get(row.register).find((use) => use.slot === slot && use.write <= seconds && seconds <= use.free);
  const lines = [registerName(row.register), `${countText(registers.slots[row.register], "slot")}, ${bytesText(registers.nbytes[row.register])} together`];
  if (one) {
    const batch = writer >= 0 && one.act >= 0 ? microBatch(writer, one.act) : -1;
    lines.push(`slot ${slot}: ${seconds < one.full ? "being written" : "full"}${batch >= 0 ? `, micro-batch ${batch}` : ""}`,
      `in use from ${secondsText(one.write)} to ${secondsText(one.free)}`, writer >= 0 ? `by ${actorName(writer)}` : "from outside");
  } else if (slot >= 0 && slot < registers.slots[row.register]) lines.push(`slot ${slot}: free`);
  return { what: `register:${row.register}`, tip: lines };
}

export function slots(section) {
  if (!traced) return section.append(h("p", { class: "soft" }, "The trace has no hand-overs of slots."));
  const chart = laneChart("slots", { draw: drawSlots, hit: hitSlots, length: () => lengthOf(traced), tallest: 380 });
  const remade = () => chart.setRows(slotRows());
  const regions = ["all", ...new Set(bySize.map((row) => registers.region[row]))];
  section.append(
    h("div", { class: "tools" }, regions.length > 2 && choice("regions", regions, only, (chosen) => { only = chosen; remade(); }),
      h("span", { class: "soft hint" }, `${countText(bySize.length, "register")}, largest first; selected ones come first. Pale: being written. `
        + (devices.some(({ ran_as: as }, i) => as !== i) ? "Of devices that ran alike those of one, until another is chosen. " : "")
        + (traced.left_out ? `${countText(traced.left_out, "small register")} left out.` : ""))),
    chart.host);
  on("filter", remade);
  on("pin", () => { remade(); chart.host.scrollTop = 0; });
  remade();
}
