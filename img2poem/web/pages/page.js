// The page: a photograph in, lines out. States, on <body data-state>: empty, writing, done.
import { hasViewfinder, taken } from "./camera.js";
import { inWords, small, tint } from "./look.js";
import { list, show, shown, textOf, write } from "./poems.js";
import { post, tooLarge, told, unusable } from "./server.js";
import { openCard } from "./sharing.js";
import { remember, visited } from "./visit.js";
import { countOf, fieldsOf } from "./wishes.js";

const byId = (id) => document.getElementById(id);
const [file, shot, status, problem, photo] = ["file", "shot", "status", "problem", "photo"].map(byId);
const figure = document.querySelector("figure");
const [welcomeNotes, poemNotes] = document.querySelectorAll(".notes");
const MORE = { 1: "Another poem", 3: "Three more", 5: "Five more" };

let work = null; // of the poems under way
let left = []; // seeds of poems that were asked for and have not been written
let limit = Infinity; // bytes that the server takes

// ---- what is to be seen

function refresh() {
  const { entry, poem } = shown;
  const state = !entry ? "empty" : work && !poem?.whole ? "writing" : "done";
  document.body.dataset.state = state;
  byId("welcome").hidden = Boolean(entry);
  byId("stage").hidden = !entry;
  const notes = entry ? poemNotes : welcomeNotes;
  if (status.parentElement !== notes) notes.append(status, problem);
  byId("again").hidden = Boolean(work);
  byId("again").textContent = left.length ? "Try again" : MORE[countOf()];
  byId("stop").hidden = !work;
  for (const id of ["card", "copy"]) byId(id).hidden = !poem?.lines.length || state === "writing";
  for (const id of ["so", "other"]) byId(id).hidden = !entry;
  visited(entry);
}

function say(text) {
  status.textContent = text;
}

function complain([heading, detail]) {
  const [title, text] = [document.createElement("strong"), document.createElement("p")];
  [title.textContent, text.textContent] = [heading, detail];
  problem.replaceChildren(title, text);
  say("");
}

/** Do `change`; the focus goes from a button that it hides to the one in its place. */
function keepingFocus(change) {
  const [again, stop] = [byId("again"), byId("stop")];
  const had = [again, stop].includes(document.activeElement);
  change();
  if (had) (again.hidden ? stop : again).focus();
}

/** Show an entry, or the welcome where there is none. */
function display(entry) {
  halt();
  left = [];
  problem.replaceChildren();
  say("");
  show(entry, entry?.chosen ?? null);
  byId("seen").replaceChildren(...(entry?.seen ? [inWords(entry.seen)] : []));
  if (entry) {
    figure.classList.remove("blank");
    figure.dataset.name = entry.name;
    [photo.src, photo.alt] = [entry.url, entry.alt];
  } else {
    photo.removeAttribute("src");
  }
  frame(entry?.thumbnail);
  refresh();
}

/** Give the frame the photograph's shape, and the page its colour. */
function frame(thumbnail) {
  figure.style.setProperty("--ratio", thumbnail ? thumbnail.width / thumbnail.height : 1.5);
  tint(thumbnail);
}

// ---- the photograph

function take(chosen, alt = "Your photograph") {
  if (!chosen) return;
  if (chosen.size > limit) {
    display(null);
    return complain(tooLarge(limit));
  }
  const entry = { photo: chosen, name: chosen.name || "photograph", alt, poems: [], chosen: null, seen: null };
  entry.url = URL.createObjectURL(chosen);
  display(entry);
  scrollTo(0, 0);
  byId("poem").focus({ preventScroll: true });
  describe(entry);
  compose([...Array(countOf()).keys()]);
}

async function describe(entry) {
  try {
    entry.seen = await (await post("v1/describe", entry.photo, { k: 3 })).json();
    if (shown.entry === entry) byId("seen").replaceChildren(inWords(entry.seen));
  } catch {
    // The poem's own failure is told; a caption is not missed.
  }
}

async function sample(button) {
  const name = button.dataset.sample;
  try {
    const response = await fetch(button.querySelector("img").src);
    take(new File([await response.blob()], `${name}.jpg`, { type: "image/jpeg" }), button.textContent);
  } catch (error) {
    complain(told(error));
  }
}

// ---- the poems

/** Write a poem for each seed, one after the other; the first of them is shown while it is written. */
async function compose(seeds) {
  halt();
  const { entry } = shown;
  const mine = (work = new AbortController());
  left = [...seeds];
  problem.replaceChildren();
  entry.poems = entry.poems.filter((poem) => poem.whole);
  try {
    const fields = fieldsOf();
    for (const seed of seeds) {
      const poem = { seed, lines: [], whole: false };
      entry.poems.push(poem);
      if (seed === seeds[0]) show(entry, (entry.chosen = poem));
      say(shown.poem === poem ? "Writing" : "Writing others to choose from");
      keepingFocus(refresh);
      list();
      await write(entry, poem, fields, mine.signal);
      left.shift();
      remember(entry);
    }
    settle(mine, "");
  } catch (error) {
    if (mine.signal.aborted) return;
    settle(mine, "");
    complain(told(error));
    if (unusable(error)) discard(entry);
  }
}

/** End the work `mine`; a poem of which there is no line yet is none. */
function settle(mine, text) {
  if (mine !== work) return;
  work = null;
  const { entry } = shown;
  entry.poems = entry.poems.filter((poem) => poem.lines.length);
  if (!entry.poems.includes(entry.chosen)) entry.chosen = entry.poems.at(-1) ?? null;
  if (shown.poem !== entry.chosen) show(entry, entry.chosen);
  list();
  say(text);
  keepingFocus(refresh);
}

/** Stop what is under way. */
function halt(text = "") {
  if (!work) return;
  work.abort();
  left = [];
  settle(work, text);
}

function discard(entry) {
  const told = [...problem.childNodes];
  URL.revokeObjectURL(entry.url);
  display(null);
  problem.replaceChildren(...told);
}

/** Write more poems; those that were asked for where they came to nothing. */
function again() {
  compose(left.length ? left : crypto.getRandomValues(new Uint32Array(countOf())));
}

async function copy() {
  try {
    await navigator.clipboard.writeText(textOf(shown.poem));
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(byId("lines")); // browsers keep the clipboard from pages that came without TLS
    say("Selected: press Ctrl-C to copy.");
  }
}

// ---- what people do

async function shoot() {
  if (!hasViewfinder()) return shot.click();
  try {
    take(await taken(byId("viewfinder")));
  } catch {
    complain(["The camera cannot be used.", "Allow it in the browser, or choose a photograph."]);
  }
}

const imageIn = (data) => [...(data?.files ?? [])][0];

for (const input of [file, shot]) {
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
}
for (const button of document.querySelectorAll("[data-sample]")) button.addEventListener("click", () => sample(button));
photo.addEventListener("error", () => figure.classList.add("blank"));
photo.addEventListener("load", () => {
  const { entry } = shown;
  if (entry?.url !== photo.src) return;
  entry.thumbnail ??= small(photo);
  frame(entry.thumbnail);
  for (const developing of photo.getAnimations()) developing.play();
  refresh();
});
byId("choose").addEventListener("click", () => file.click());
byId("take").addEventListener("click", shoot);
byId("again").addEventListener("click", again);
byId("stop").addEventListener("click", () => halt("Stopped."));
byId("copy").addEventListener("click", copy);
byId("card").addEventListener("click", () => openCard(shown.entry, shown.poem));
byId("other").addEventListener("click", () => {
  display(null);
  byId("choose").focus();
});
byId("choices").addEventListener("chosen", refresh);
byId("visit").addEventListener("chosen", ({ detail }) => {
  display(detail);
  scrollTo(0, 0);
  byId("poem").focus({ preventScroll: true });
});
byId("wishes").addEventListener("change", refresh);
byId("wishes").addEventListener("reset", () => setTimeout(refresh));
byId("wishes").addEventListener("submit", (event) => {
  event.preventDefault();
  left = [];
  if (shown.entry) again();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && work && !document.querySelector("dialog[open]")) byId("stop").click();
});
document.addEventListener("paste", (event) => take(imageIn(event.clipboardData)));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(imageIn(event.dataTransfer));
});

refresh();
fetch("v1/about").then(async (response) => {
  if (!response.ok) return;
  const about = await response.json();
  limit = about.max_bytes;
  byId("model").textContent = `Written by the model ${about.package}.`;
}, () => {});
