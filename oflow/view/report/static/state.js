// What is selected, hovered and filtered, and who wants to know.

import { actorCount, actorName, actors, microBatch, registerName, registers, runSeconds, traces } from "./data.js";
import { meaning } from "./focus.js";

const listeners = { focus: [], pin: [], filter: [], zoom: [], theme: [] };

export const state = {
  pinned: null,
  hovered: null,
  filter: { device: -1, stage: "", phase: "", text: "" },
  zoom: { k: 1, x: 0 }, // the timeline's and the slots' window: scale, and shift as a share of the width
  cycle: true,
  own: traces.length > 1 && Math.max(...traces.map(({ seconds }) => seconds)) > 1.5 * Math.min(...traces.map(({ seconds }) => seconds)),
};

// Seconds that the width of a picture of this run stands for, not zoomed: those of the longest run, or where each has its own scale, its own.
export const lengthOf = (trace) => (state.own && trace ? Math.max(1e-12, trace.seconds) : runSeconds);

export const on = (event, listener) => listeners[event].push(listener);
export const tell = (event) => listeners[event].forEach((listener) => listener());
export const focus = () => meaning(state.hovered ?? state.pinned);

export function hover(key) {
  if (state.hovered === key) return;
  state.hovered = key;
  tell("focus");
}

export function pin(key) {
  state.pinned = key;
  state.hovered = null;
  tell("pin");
  tell("focus");
}

export function zoomTo(zoom) {
  state.zoom = zoom;
  tell("zoom");
}

// Which actors and registers pass the filters, as bytes by row.
export const passing = { actors: new Uint8Array(actorCount).fill(1), registers: new Uint8Array(registers.id.length).fill(1) };

export function filterBy(change) {
  Object.assign(state.filter, change);
  const { device, stage, phase, text } = state.filter;
  const place = (row) => (stage === "" || actors.stage[row] === Number(stage)) && (phase === "" || actors.phase[row] === phase);
  for (let row = 0; row < actorCount; row++) {
    passing.actors[row] = (device < 0 || actors.device[row] === device) && place(row) && named(actorName(row), text) ? 1 : 0;
  }
  for (let row = 0; row < registers.id.length; row++) {
    const maker = registers.producer[row];
    const there = maker < 0 ? stage === "" && phase === "" : place(maker);
    passing.registers[row] = (device < 0 || registers.device[row] === device) && there && named(registerName(row), text) ? 1 : 0;
  }
  tell("filter");
}

export const filtering = () => state.filter.device >= 0 || state.filter.stage !== "" || state.filter.phase !== "" || state.filter.text !== "";
export const named = (name, text) => text === "" || name.toLowerCase().includes(text.toLowerCase());
export const deviceShown = (number) => state.filter.device < 0 || state.filter.device === number;

// How strongly an act is drawn: 1 lit, 0 plain, -1 faded.
export function actLight(actor, act, now) {
  if (!passing.actors[actor]) return -1;
  if (!now) return 0;
  if (now.micro >= 0) return microBatch(actor, act) === now.micro ? 1 : -1;
  return now.hot[actor] ? 1 : -1;
}
