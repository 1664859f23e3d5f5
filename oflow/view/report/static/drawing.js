// An SVG that can be moved and scaled. Positions come from the data; nothing is laid out here.

import { h, svg } from "./dom.js";
import { focus, on } from "./state.js";

const READABLE = 0.8; // below this scale letters are too small, so a drawing that does not fit begins at its top left corner
const WORDS = 0.34; // below this they are not drawn

export function drawing(name, width, height, { tallest = 520, moved } = {}) {
  const root = svg("g");
  const picture = svg("svg", { class: "drawing", role: "group", "aria-label": name, width: "100%", height: Math.max(120, Math.min(tallest, height + 20)) }, arrow(name), root);
  const zoom = d3.zoom().scaleExtent([0.02, 4])
    .filter((event) => (event.type === "wheel" ? event.ctrlKey || event.metaKey : !event.button && !event.target.closest("foreignObject")))
    .on("zoom", ({ transform }) => {
      root.setAttribute("transform", transform);
      picture.classList.toggle("far", transform.k < WORDS);
      moved?.(transform);
    });
  const selected = d3.select(picture).call(zoom).on("dblclick.zoom", null);
  const size = () => [picture.clientWidth || 900, picture.clientHeight || 400];

  function fit() {
    const [w, tall] = size(), k = Math.min(1, (w - 16) / width, (tall - 16) / height);
    selected.call(zoom.transform, d3.zoomIdentity.translate((w - width * k) / 2, (tall - height * k) / 2).scale(k));
  }

  function start() {
    const [w, tall] = size(), k = Math.min(1, (w - 16) / width, (tall - 16) / height);
    if (k >= READABLE) return fit();
    const scale = Math.max(READABLE, Math.min(1, (w - 16) / width));
    selected.call(zoom.transform, d3.zoomIdentity.translate(Math.max(8, (w - width * scale) / 2), 8).scale(scale));
  }

  // Bring a box into the middle, unless it is in sight and readable.
  function center({ x, y, w: wide, h: tall }) {
    const [seenWidth, seenHeight] = size(), now = d3.zoomTransform(picture), k = Math.max(READABLE, now.k);
    const [left, top] = now.apply([x, y]), [right, bottom] = now.apply([x + wide, y + tall]);
    if (k === now.k && left > 0 && top > 0 && right < seenWidth && bottom < seenHeight) return;
    const place = d3.zoomIdentity.translate(seenWidth / 2 - (x + wide / 2) * k, seenHeight / 2 - (y + tall / 2) * k).scale(k);
    selected.transition().duration(matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 250).call(zoom.transform, place);
  }

  const scaled = (factor) => () => selected.call(zoom.scaleBy, factor);
  const tools = h("div", { class: "tools" }, h("span", { class: "choice", role: "group", "aria-label": "zoom" },
    h("button", { type: "button", title: "Zoom in", onclick: scaled(1.5) }, "+"),
    h("button", { type: "button", title: "Zoom out", onclick: scaled(1 / 1.5) }, "−"),
    h("button", { type: "button", title: "Show all", onclick: fit }, "all")));
  return { picture, root, tools, start, center };
}

function arrow(name) {
  const tip = (id) => svg("marker", { id: `${name}-${id}`, class: id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    svg("path", { d: "M0 0L8 4L0 8Z" }));
  return svg("defs", {}, tip("tip"));
}

export function box({ x, y, w, h: tall }, what, kind, title, below) {
  return svg("g", { class: `box kind-${kind}`, transform: `translate(${x} ${y})`, "data-what": what, tabindex: 0, role: "button", "aria-label": `${title}, ${below}` },
    svg("rect", { width: w, height: tall, rx: 4 }),
    svg("rect", { width: 5, height: tall, rx: 2, class: "stripe" }),
    svg("text", { x: 12, y: 16, class: "name" }, fitted(title, w - 16, 12)),
    svg("text", { x: 12, y: 31, class: "below" }, fitted(below, w - 16, 10.5)));
}

export function fitted(text, width, size) {
  const room = Math.floor(width / (0.56 * size));
  return text.length <= room ? text : `${text.slice(0, room - 1)}…`;
}

export function edge(name, path, what, classes) {
  return svg("g", { class: `edge ${classes}`, "data-what": what },
    svg("path", { d: path, class: "reach" }), svg("path", { d: path, class: "line", "marker-end": `url(#${name}-tip)` }));
}

// Keep classes in step with what is selected: lit(focus) says of each element whether it is.
export function lighting(picture, elements, lit, faded) {
  const update = () => {
    const now = focus(), found = elements.map((_, i) => Boolean(now && lit(now, i)));
    picture.classList.toggle("chosen", Boolean(now));
    elements.forEach((element, i) => {
      element.classList.toggle("hot", found[i]);
      element.classList.toggle("out", faded(i));
    });
  };
  on("focus", update);
  on("filter", update);
  update();
}
