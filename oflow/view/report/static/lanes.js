// A canvas of named rows over time: zoom and pan shared between all such pictures, rows drawn only where they are seen.

import { KINDS } from "./data.js";
import { colour, h, showTip } from "./dom.js";
import { hover, on, pin, state, zoomTo } from "./state.js";
import { secondsText, ticks } from "./words.js";

const GUTTER = 132;
const AXIS = 22;
const STEP = 1.6;
const COLOURS = [
  "bg", "ink", "soft", "line", "band", "accent", ...Object.keys(KINDS).map((kind) => `kind-${kind}`),
  ...["input", "slot", "stream", "partner", "core", "caller"].map((why) => `wait-${why}`),
];

// rows: [{label, tail (of the label, never cut), below (it), sub, h, ...}]; draw(ctx, row, y, x, [t0, t1]) paints one of them; hit(row, y, seconds, tolerance) -> {what, tip} or null;
// over(ctx, x, tops) paints on top; length() is the seconds of the whole width.
export function laneChart(name, { draw, hit, over, length, tallest = 460 }) {
  const canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": `${name}: arrow keys pan, + and - zoom, 0 shows all` });
  const spacer = h("div", { class: "spacer" }, canvas);
  const host = h("div", { class: "lanes" }, spacer);
  const chart = { host, canvas, rows: [], tops: [], render, setRows, reveal };
  let width = 0, height = 0, queued = false, colours = null;

  const zoom = d3.zoom().scaleExtent([1, 1e6])
    .filter((event) => (event.type === "wheel" ? event.ctrlKey || event.metaKey : !event.button))
    .on("zoom", (event) => event.sourceEvent && zoomTo(shared(event.transform)));
  const selected = d3.select(canvas).call(zoom).on("dblclick.zoom", null);

  const shared = ({ k, x }) => ({ k, x: (x + (k - 1) * GUTTER) / (width - GUTTER) });
  const seconds = (x) => ((x - GUTTER) / (width - GUTTER) - state.zoom.x) / state.zoom.k * length();
  const position = (time) => GUTTER + (time / length() * state.zoom.k + state.zoom.x) * (width - GUTTER);

  function setRows(rows) {
    chart.rows = rows;
    chart.tops = [];
    let top = AXIS;
    for (const row of rows) {
      chart.tops.push(top);
      top += row.h;
    }
    spacer.style.height = `${Math.max(top + 4, AXIS + 30)}px`;
    host.style.height = `${Math.min(top + 4, tallest)}px`;
    resized();
  }

  function resized() {
    const box = host.getBoundingClientRect();
    width = host.clientWidth;
    height = Math.round(box.height);
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    Object.assign(canvas, { width: width * scale, height: height * scale });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    zoom.extent([[GUTTER, 0], [width, height]]).translateExtent([[GUTTER, -1e9], [width, 1e9]]);
    moved();
  }

  function moved() {
    const { k, x } = state.zoom;
    selected.call(zoom.transform, d3.zoomIdentity.translate(x * (width - GUTTER) - (k - 1) * GUTTER, 0).scale(k));
    render();
  }

  function render() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      if (width && height) paint();
    });
  }

  function paint() {
    const ctx = canvas.getContext("2d");
    const scale = devicePixelRatio || 1, shift = host.scrollTop;
    colours ??= Object.fromEntries(COLOURS.map((one) => [one, colour(one)]));
    const seen = [Math.max(0, seconds(GUTTER)), Math.min(length(), seconds(width))];
    const marks = ticks(...seen, Math.max(3, (width - GUTTER) / 110));
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    ctx.fillStyle = colours.bg;
    ctx.fillRect(0, 0, width, height);
    ctx.save();
    ctx.beginPath();
    ctx.rect(GUTTER, AXIS, width - GUTTER, height);
    ctx.clip();
    ctx.fillStyle = colours.line;
    for (const time of marks) ctx.fillRect(Math.round(position(time)), AXIS, 1, height);
    const first = chart.rows.findIndex((row, i) => chart.tops[i] + row.h - shift > AXIS);
    for (let i = Math.max(0, first); i < chart.rows.length && chart.tops[i] - shift < height; i++) {
      ctx.fillStyle = colours.line;
      ctx.fillRect(GUTTER, chart.tops[i] - shift + chart.rows[i].h - 1, width, 1);
      draw(ctx, chart.rows[i], chart.tops[i] - shift, position, seen, colours);
    }
    over?.(ctx, position, (i) => chart.tops[i] - shift, colours);
    ctx.restore();
    labels(ctx, shift, first);
    ctx.fillStyle = colours.bg;
    ctx.fillRect(0, 0, width, AXIS);
    ctx.fillStyle = colours.soft;
    ctx.font = "11px ui-sans-serif, system-ui, sans-serif";
    ctx.textAlign = "center";
    for (const time of marks) ctx.fillText(secondsText(time), Math.min(width - 24, Math.max(GUTTER + 12, position(time))), 15);
  }

  function labels(ctx, shift, first) {
    ctx.textAlign = "left";
    for (let i = Math.max(0, first); i < chart.rows.length && chart.tops[i] - shift < height; i++) {
      const row = chart.rows[i], top = chart.tops[i] - shift;
      ctx.fillStyle = row.lit ? colours.accent : colours.ink;
      ctx.font = `${row.lit ? 600 : 500} ${row.h < 16 ? 9 : 12}px ui-sans-serif, system-ui, sans-serif`;
      const tail = row.tail ?? "", room = GUTTER - 12 - (row.sub?.length ? 44 : 0) - ctx.measureText(tail).width;
      ctx.fillText(cut(ctx, row.label, room) + tail, 4, top + Math.min(row.h - 2, 15));
      ctx.fillStyle = colours.soft;
      ctx.font = "10px ui-sans-serif, system-ui, sans-serif";
      if (row.below && row.h >= 30) ctx.fillText(row.below, 4, top + 27);
      for (const { text, y } of row.sub ?? []) {
        ctx.textAlign = "right";
        ctx.fillText(text, GUTTER - 6, top + y);
        ctx.textAlign = "left";
      }
    }
  }

  // What is under the pointer.
  function under(event) {
    const box = canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top + host.scrollTop;
    if (event.clientY - box.top < AXIS) return null;
    const i = chart.rows.findIndex((row, number) => y < chart.tops[number] + row.h);
    if (i < 0) return null;
    if (x < GUTTER) return chart.rows[i].what ? { what: chart.rows[i].what, tip: [chart.rows[i].label + (chart.rows[i].tail ?? ""), chart.rows[i].below].filter(Boolean) } : null;
    return hit(chart.rows[i], y - chart.tops[i], seconds(x), 2 * (seconds(1) - seconds(0)));
  }

  function key(event) {
    const middle = 0.5, { k, x } = state.zoom;
    const scaled = (to) => bounded(to, middle - (middle - x) * (to / k));
    const found = { ArrowLeft: () => bounded(k, x + 0.15), ArrowRight: () => bounded(k, x - 0.15), "+": () => scaled(k * STEP), "=": () => scaled(k * STEP),
      "-": () => scaled(k / STEP), 0: () => bounded(1, 0) }[event.key];
    if (!found) return;
    event.preventDefault();
    zoomTo(found());
  }

  function reveal(index) {
    if (index < 0) return;
    const top = chart.tops[index], low = host.scrollTop;
    if (top - low < AXIS || top + chart.rows[index].h - low > host.clientHeight) host.scrollTop = top - host.clientHeight / 2;
  }

  canvas.addEventListener("mousemove", (event) => {
    const found = event.buttons ? null : under(event);
    showTip(event, found?.tip);
    if (!event.buttons) hover(found?.what ?? null);
    canvas.style.cursor = found?.what ? "pointer" : "grab";
  });
  canvas.addEventListener("mouseleave", (event) => {
    showTip(event, null);
    hover(null);
  });
  canvas.addEventListener("click", (event) => !event.defaultPrevented && pin(under(event)?.what ?? null));
  canvas.addEventListener("keydown", key);
  host.addEventListener("scroll", render);
  new ResizeObserver(() => host.clientWidth !== width && resized()).observe(host);
  on("zoom", moved);
  on("focus", render);
  on("theme", () => { colours = null; render(); });
  return chart;
}

export function bounded(k, x) {
  const scale = Math.max(1, k);
  return { k: scale, x: Math.min(0, Math.max(1 - scale, x)) };
}

export function zoomButtons() {
  const scaled = (factor) => () => {
    const { k, x } = state.zoom;
    zoomTo(bounded(k * factor, 0.5 - (0.5 - x) * (Math.max(1, k * factor) / k)));
  };
  return h("span", { class: "choice", role: "group", "aria-label": "zoom" },
    h("button", { type: "button", title: "Zoom in", onclick: scaled(2) }, "+"),
    h("button", { type: "button", title: "Zoom out", onclick: scaled(0.5) }, "−"),
    h("button", { type: "button", title: "Show all", onclick: () => zoomTo(bounded(1, 0)) }, "all"));
}

// `text` cut to `room` pixels.
export function cut(ctx, text, room) {
  if (ctx.measureText(text).width <= room) return text;
  let length = Math.floor(text.length * room / ctx.measureText(text).width);
  while (length > 0 && ctx.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return length > 1 ? `${text.slice(0, length)}…` : "";
}
