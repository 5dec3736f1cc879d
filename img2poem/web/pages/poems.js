// The poems of one photograph: written line by line, shown one at a time, chosen between.
import { eventsOf } from "./events.js";
import { post, Refused } from "./server.js";

const PACE = 480; // milliseconds between two lines: slower than the models, as one reads
const still = matchMedia("(prefers-reduced-motion: reduce)");
const [lines, choices] = ["lines", "choices"].map((id) => document.getElementById(id));

/** Return the text with the apostrophes, quotation marks and dashes of print. */
export function printed(text) {
  return text
    .replace(/(^|[\s(\u2014])"/g, "$1\u201c")
    .replaceAll('"', "\u201d")
    .replaceAll("'", "\u2019")
    .replace(/\s*--\s*/g, "\u2014");
}

/** What is on the page: the photograph's entry, and which of its poems. */
export const shown = { entry: null, poem: null };

/** Show a poem of an entry as far as it is written; null for none. */
export function show(entry, poem) {
  Object.assign(shown, { entry, poem });
  lines.replaceChildren(...(poem?.lines ?? []).map(lineOf));
  list();
}

/** Return a poem as text. */
export const textOf = (poem) => poem.lines.join("\n");

/** Write a poem into `poem`, a line at a time; those of the poem that is shown appear as they come. */
export async function write(entry, poem, fields, signal) {
  const response = await post("v1/poems/stream", entry.photo, { ...fields, seed: poem.seed }, signal);
  for await (const { event, data } of eventsOf(response)) {
    if (event === "problem") throw new Refused(data);
    if (event === "line") await add(poem, data.text, signal);
    if (event === "poem") return void (poem.whole = true);
  }
  throw new TypeError("the stream broke off");
}

async function add(poem, text, signal) {
  if (shown.poem === poem) await pause();
  signal.throwIfAborted();
  poem.lines.push(text);
  if (shown.poem === poem) lines.append(lineOf(text));
  if (poem.lines.length === 1) list();
}

let last = 0; // when a line appeared

/** Wait until the line before has had its time. */
async function pause() {
  const wait = still.matches ? 0 : PACE - (performance.now() - last);
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  last = performance.now();
}

function lineOf(text) {
  const line = document.createElement("p");
  line.textContent = printed(text);
  return line;
}

/** List the poems of the entry by their first lines, where there are several. */
export function list() {
  const poems = shown.entry?.poems ?? [];
  const focused = choices.contains(document.activeElement);
  choices.hidden = poems.length < 2;
  choices.replaceChildren(choices.firstElementChild, ...poems.map(choiceOf));
  if (focused) choices.querySelector("input:checked")?.focus();
}

function choiceOf(poem, index) {
  const [label, radio, text] = ["label", "input", "span"].map((tag) => document.createElement(tag));
  Object.assign(radio, { type: "radio", name: "poem", value: index, checked: poem === shown.poem });
  text.textContent = poem.lines.length ? printed(poem.lines[0]) : "\u2026";
  radio.addEventListener("change", () => {
    shown.entry.chosen = poem;
    show(shown.entry, poem);
    choices.dispatchEvent(new Event("chosen"));
  });
  label.append(radio, text);
  return label;
}
