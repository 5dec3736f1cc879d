// The photographs of this visit and their poems: in the memory of this tab, and nowhere else.
import { printed } from "./poems.js";

const MOST = 24;
const section = document.getElementById("visit");
const entries = [];

/** Keep an entry, once; the oldest goes where there are too many. */
export function remember(entry) {
  if (entries.includes(entry)) return;
  entries.unshift(entry);
  for (const old of entries.splice(MOST)) URL.revokeObjectURL(old.url);
}

/** List the entries, where there is one to go to beside `current`. */
export function visited(current) {
  section.hidden = !entries.some((entry) => entry !== current);
  section.querySelector("ul").replaceChildren(...entries.map((entry) => itemOf(entry, entry === current)));
}

function itemOf(entry, isCurrent) {
  const [item, button, text] = ["li", "button", "span"].map((tag) => document.createElement(tag));
  button.type = "button";
  if (isCurrent) button.setAttribute("aria-current", "true");
  text.textContent = printed(entry.chosen?.lines[0] ?? entry.name);
  if (entry.thumbnail) {
    entry.thumbnail.setAttribute("aria-hidden", "true");
    button.append(entry.thumbnail);
  }
  button.append(text);
  button.addEventListener("click", () => section.dispatchEvent(new CustomEvent("chosen", { detail: entry })));
  item.append(button);
  return item;
}
