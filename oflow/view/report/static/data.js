// The data of the report, and what follows from it by counting.

export const data = await unpacked(document.getElementById("oflow-data"));
export const { meta, devices, streams, actors, groups, registers } = data;
export const actorCount = actors.id.length;
export const registerCount = registers.id.length;
export const traces = Object.entries(data.traces).filter(([, trace]) => trace).map(([name, trace]) => ({ name, ...trace }));
export const runSeconds = Math.max(1e-12, ...traces.map((trace) => trace.seconds));

// The words for the keys of view.style.KINDS; their colours are in report.css.
export const KINDS = {
  F: "forward", B: "backward", I: "input gradient", W: "weight gradient", comm: "communication", update: "update", host: "host",
  data: "input, parameter, output",
};

// JSON, or the base64 of it compressed where there is much of it.
async function unpacked(element) {
  if (element.type === "application/json") return JSON.parse(element.textContent);
  const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function listed(count, pairs) {
  const lists = Array.from({ length: count }, () => []);
  pairs((at, item) => lists[at].push(item));
  return lists;
}

export const written = listed(actorCount, (add) => registers.producer.forEach((actor, row) => actor >= 0 && add(actor, row)));
export const read = listed(actorCount, (add) => registers.consumers.forEach((readers, row) => readers.forEach((actor) => add(actor, row))));
export const members = listed(groups.length, (add) => actors.group.forEach((group, row) => group >= 0 && add(group, row)));
export const rowsOfTemplate = listed(Math.max(-1, ...actors.template) + 1, (add) => actors.template.forEach((one, row) => add(one, row)));

// Devices by kind and number, the host last.
export const deviceOrder = devices.map((_, i) => i).sort((a, b) => (devices[a].kind === "host") - (devices[b].kind === "host")
  || devices[a].name.localeCompare(devices[b].name, "en", { numeric: true }));

export const streamsOf = listed(devices.length, (add) => streams.forEach((stream, row) => add(stream.device, row)));

// The micro-batch of an act, or -1 of an actor that does not act once a micro-batch.
export function microBatch(actor, act) {
  return meta.micro_batches > 1 && actors.acts[actor] === meta.micro_batches ? act % meta.micro_batches : -1;
}

export const streamName = (row) => `${devices[streams[row].device].name}/${streams[row].name}`;
export const actorName = (row) => `${actors.name[row]}@${devices[actors.device[row]].name}`;
export const registerName = (row) => `${registers.name[row]}@${devices[registers.device[row]].name}`;
