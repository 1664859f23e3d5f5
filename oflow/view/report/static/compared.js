// Seconds of acts as they were measured, beside those that were planned.

import { actorCount, actors, traces } from "./data.js";

const recorded = traces.find((trace) => trace.name === "measured");

// Of each actor the mean seconds of its acts in the recording, NaN of one that it does not have; null without a recording.
export const measuredAct = recorded ? meanActs(recorded.spans) : null;

function meanActs({ actor, start, stop }) {
  const sums = new Float64Array(actorCount), counts = new Float64Array(actorCount);
  actor.forEach((row, i) => {
    sums[row] += stop[i] - start[i];
    counts[row] += 1;
  });
  return sums.map((sum, row) => sum / counts[row]);
}

const total = (rows, seconds) => rows.reduce((sum, row) => sum + (seconds[row] || 0) * actors.acts[row], 0);
export const plannedStep = (rows) => total(rows, actors.seconds);
export const measuredStep = (rows) => total(rows, measuredAct);
