// Bytes of each device over time against its arena and its budget.

import { data, deviceOrder, registerName, registers, traces } from "./data.js";
import { colour, h, link } from "./dom.js";
import { deviceShown, focus, lengthOf, on, state, zoomTo } from "./state.js";
import { bytesText, countText, secondsText, shareText } from "./words.js";
import { bounded } from "./lanes.js";

const MOST_CHARTS = 12;
const TALL = 128;

export function memory(section) {
  if (!data.memory.length) return section.append(h("p", { class: "soft" }, "The trace has no hand-overs of slots, so bytes over time are not known."));
  const grid = h("div", { class: "charts" }), note = h("p", { class: "soft" });
  section.append(h("p", { class: "legend soft" }, h("span", {}, h("i", { class: "dash live" }), "in use: state, scratch and slots that are not free"),
    h("span", {}, h("i", { class: "dash arena" }), "arena and state"), h("span", {}, h("i", { class: "dash budget" }), "budget, where it is near")), grid, note);
  let charts = [];

  function remade() {
    charts.forEach(({ plot }) => plot.destroy());
    const shown = kinds(data.memory.map((one, i) => ({ ...one, number: i })).filter((one) => deviceShown(one.number) && one.arena + one.state > 0));
    const largest = [...shown].sort((a, b) => b.peak - a.peak).slice(0, MOST_CHARTS).sort((a, b) => deviceOrder.indexOf(a.number) - deviceOrder.indexOf(b.number));
    note.textContent = shown.length > largest.length ? `The ${largest.length} curves with the highest peaks of ${shown.length}; filter by device to see another.` : "";
    grid.replaceChildren();
    charts = largest.map((one) => deviceChart(grid, one));
    lit();
  }

  function lit() {
    const now = focus();
    for (const { element, one } of charts) {
      const held = now ? [...now.registers].some((row) => one.alike.has(registers.device[row])) : false;
      element.classList.toggle("hot", held || (now?.kind === "device" && one.alike.has(now.number)));
    }
  }

  const window = () => charts.forEach(({ plot }) => plot.setScale("x", seen()));
  remade();
  on("filter", remade);
  on("theme", remade);
  on("focus", lit);
  on("zoom", window);
}

// Devices with the same bytes (arena, state, budget, peak and what is largest there) as one, which knows the numbers of all.
function kinds(all) {
  const found = new Map();
  for (const one of all) {
    const key = JSON.stringify([one.arena, one.state, one.budget, one.peak, one.top.map(({ nbytes }) => nbytes)]);
    if (found.has(key)) found.get(key).alike.add(one.number);
    else found.set(key, { ...one, alike: new Set([one.number]) });
  }
  return [...found.values()];
}

function seen() {
  const { k, x } = state.zoom;
  const length = lengthOf(traces[0]);
  return { min: -x / k * length, max: (1 - x) / k * length };
}

function deviceChart(grid, one) {
  const capacity = one.arena + one.state, near = one.budget > 0 && one.budget < 3 * capacity;
  const top = Math.max(one.peak, capacity, near ? one.budget : 0) * 1.06;
  const largest = one.top.slice(0, 3).map(({ register, nbytes }) => [link(`register:${register}`, registerName(register)), ` ${bytesText(nbytes)} `]);
  const element = h("figure", { class: "chart", "data-device": one.number },
    h("figcaption", {}, link(`device:${one.number}`, one.device), one.alike.size > 1 && h("span", { class: "soft" }, ` and ${countText(one.alike.size - 1, "device")} alike`),
      ` peak ${bytesText(one.peak)} of ${bytesText(capacity)}`, one.budget ? h("span", { class: "soft" }, `, ${shareText(capacity / one.budget)} of the budget ${bytesText(one.budget)}`) : ""));
  grid.append(element);
  const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px ui-sans-serif, system-ui, sans-serif" };
  const level = (name, width) => ({ label: name, stroke: colour(name), width, dash: name === "budget" ? [2, 3] : [6, 4], points: { show: false } });
  const plot = new uPlot({
    width: element.clientWidth || 400, height: TALL, legend: { show: false }, cursor: { sync: { key: "memory" }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    scales: { x: { time: false, range: (_, low, high) => [low, high] }, y: { range: () => [0, top] } },
    axes: [{ ...axis, size: 22, values: (_, times) => times.map(secondsText), space: 80 }, { ...axis, size: 62, values: (_, sizes) => sizes.map(bytesText), splits: () => splits(top), space: 30 }],
    series: [{}, { label: "live", stroke: colour("live"), fill: colour("live-fill"), width: 1.4, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }, level("arena", 1.2), ...(near ? [level("budget", 1.2)] : [])],
    hooks: {
      setSelect: [(chart) => {
        const [low, high] = [chart.select.left, chart.select.left + chart.select.width].map((x) => chart.posToVal(x, "x"));
        chart.setSelect({ width: 0, height: 0 }, false);
        if (high > low) zoomTo(bounded(lengthOf(traces[0]) / (high - low), -low / (high - low)));
      }],
    },
  }, [one.time, one.live, one.time.map(() => capacity), ...(near ? [one.time.map(() => one.budget)] : [])], element);
  plot.setScale("x", seen());
  new ResizeObserver(() => plot.width !== element.clientWidth && plot.setSize({ width: element.clientWidth, height: TALL })).observe(element);
  element.append(h("p", { class: "soft small" }, "at the peak: ", largest));
  return { element, one, plot };
}

// Three or four round sizes up to `top`.
function splits(top) {
  const step = 2 ** Math.ceil(Math.log2(top / 4));
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
}
