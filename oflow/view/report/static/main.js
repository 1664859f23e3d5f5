// The page put together: pictures, and one rule for all elements that stand for something.

import { KINDS, actorCount, actors, data, devices, meta, registerCount } from "./data.js";
import { details } from "./details.js";
import { h, place } from "./dom.js";
import { graph } from "./graph.js";
import { memory } from "./memory.js";
import { plan } from "./plan.js";
import { proof } from "./proof.js";
import { filters, search } from "./search.js";
import { slots } from "./slots.js";
import { hover, pin, state, tell } from "./state.js";
import { tables } from "./tables.js";
import { timeline } from "./timeline.js";
import { countText, secondsText } from "./words.js";

function head() {
  place("title").textContent = meta.title;
  place("facts").replaceChildren(...[
    meta.file, meta.schedule && `schedule ${meta.schedule}`, countText(devices.filter(({ kind }) => kind !== "host").length || devices.length, "device"), countText(actorCount, "actor"), countText(registerCount, "register"),
    countText(meta.micro_batches, "micro-batch", "micro-batches"), data.proof?.period && `period ${secondsText(data.proof.period)}`,
    data.proof && (data.proof.deadlock_free ? "✓ cannot deadlock" : "✗ may deadlock"), `machine ${meta.machine}`,
  ].filter(Boolean).map((fact) => h("span", {}, fact)));
  const there = new Set(actors.kind);
  place("legend").append(...Object.entries(KINDS).filter(([kind]) => there.has(kind)).map(([kind, words]) => h("span", { "data-what": `kind:${Object.keys(KINDS).indexOf(kind)}`, tabindex: 0, role: "button", title: `All of ${words}: hover lights it up, click keeps it` }, h("i", { class: `swatch kind-${kind}` }), words)));
}

function themes() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  place("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
    root.dataset.theme = dark ? "light" : "dark";
    tell("theme");
  });
  system.addEventListener("change", () => tell("theme"));
}

function linking() {
  const keyOf = (event) => event.target.closest?.("[data-what]")?.dataset.what ?? null;
  document.addEventListener("mouseover", (event) => event.target.tagName !== "CANVAS" && hover(keyOf(event)));
  document.addEventListener("click", (event) => {
    const key = keyOf(event);
    if (key) pin(key);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") pin(null);
    if ((event.key === "Enter" || event.key === " ") && event.target.dataset?.what && event.target.tagName !== "BUTTON") {
      event.preventDefault();
      pin(event.target.dataset.what);
    }
  });
  document.addEventListener("focusin", (event) => state.pinned === null && event.target.matches?.(":focus-visible") && hover(keyOf(event)));
}

// What sticks below the header needs to know its height.
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty("--head", `${target.offsetHeight}px`)).observe(document.querySelector("header"));

head();
themes();
filters(place("filters"));
search();
for (const [id, picture] of Object.entries({ timeline, plan, graph, memory, slots, proof, tables })) picture(place(id));
details(place("details"));
linking();
document.documentElement.dataset.ready = "true";
