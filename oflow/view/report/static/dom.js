// Elements by name, and the one tooltip. An element with data-what stands for something that all pictures highlight together.

function built(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, attributes = {}, ...children) => built(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => built(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
export const place = (id) => document.getElementById(id);

// A button in a text that selects what it names.
export const link = (what, ...text) => h("button", { type: "button", class: "link", "data-what": what }, ...text);

// A row of choices of which one is pressed.
export function choice(label, options, chosen, changed) {
  const buttons = options.map((option) =>
    h("button", { type: "button", "aria-pressed": String(option === chosen), onclick: (event) => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.currentTarget));
      changed(option);
    } }, option));
  return h("span", { class: "choice", role: "group", "aria-label": label }, buttons);
}

export function showTip(event, lines) {
  const tip = place("tip");
  tip.hidden = !lines?.length;
  if (tip.hidden) return;
  tip.replaceChildren(...lines.map((line, i) => h(i ? "div" : "strong", {}, line)));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
  tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
