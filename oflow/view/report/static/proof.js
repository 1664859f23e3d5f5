// What check proved: no deadlock, the period and its bound, and the critical cycle wait by wait.

import { data } from "./data.js";
import { h } from "./dom.js";
import { focus, on } from "./state.js";
import { countText, secondsText, shareText } from "./words.js";

const MOST_BARS = 24;

// Streams of one name that are as busy as one another, as one.
function alikeBars(shares) {
  const found = new Map();
  for (const [stream, share] of shares) {
    const key = `${stream.split("/")[1]} ${shareText(share)}`;
    if (found.has(key)) found.get(key)[2] += 1;
    else found.set(key, [stream, share, 0]);
  }
  return [...found.values()].map(([stream, share, more]) => [more ? `${stream} and ${more} alike` : stream, share]);
}

export function proof(section) {
  const found = data.proof;
  if (!found) return section.append(h("p", { class: "soft" }, "The report was made without a proof."));
  const entries = found.cycle.map((entry, i) => h("li", {}, h("button", { type: "button", class: "link wait", "data-what": `wait:${i}` },
    h("b", { class: "why" }, entry.kind), " ", entry.text, entry.wraps ? h("i", {}, " (of the next step)") : "")));
  const shares = Object.entries(found.busy).map(([stream, seconds]) => [stream, found.period ? seconds / found.period : 0]).filter(([, share]) => share > 0.0005).sort((a, b) => b[1] - a[1]);
  const bars = shares.length > MOST_BARS ? alikeBars(shares) : shares;
  const helps = (found.what_if ?? []).slice(0, 8);
  section.append(
    h("p", {}, h("strong", { class: found.deadlock_free ? "good" : "bad" }, found.deadlock_free ? "✓ cannot deadlock" : "✗ may deadlock"), ` · ${countText(found.acts, "act")} a step`,
      found.period ? [" · no step is shorter than the period ", h("strong", {}, secondsText(found.period)), `, bound by ${found.bound}`] : ""),
    h("div", { class: "two" },
      entries.length > 0 && h("div", {}, h("h3", {}, `Critical cycle, ${countText(entries.length, "wait")}`), h("ol", { class: "cycle" }, entries)),
      shares.length > 0 && h("div", {}, h("h3", {}, "Busy share of the period"), h("div", { class: "shares" }, bars.map(([stream, share]) => [
        h("span", {}, stream), h("span", { class: "track" }, h("i", { style: `width:${Math.min(100, 100 * share)}%` })), h("span", { class: "number" }, shareText(share))])),
        helps.length > 0 && [h("h3", {}, "What would shorten the period"), h("ul", { class: "small" }, helps.map((one) => h("li", {}, `${one.change}: ${secondsText(one.period_seconds)}`)))])));
  on("focus", () => {
    const now = focus();
    found.cycle.forEach((entry, i) => {
      const hot = now && (now.wait >= 0 ? now.wait === i : now.kind === "register" ? now.registers.has(entry.register) : now.kind === "actor" || now.kind === "act" ? now.hot[entry.actors[0]] || now.hot[entry.actors[2]] : false);
      entries[i].classList.toggle("hot", Boolean(hot));
    });
  });
}
