// The page: a photograph in, lines out. States, on <body data-state>: empty, writing, done.
import { hasViewfinder, taken } from "./camera.js";
import { eventsOf } from "./events.js";

const byId = (id) => document.getElementById(id);
const [file, shot, lines, status, problem, wishes] = ["file", "shot", "lines", "status", "problem", "wishes"].map(byId);
const figure = document.querySelector("figure");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const PACE = 480; // milliseconds between two lines: slower than the models, as one reads

let photo = null; // the File that is shown
let work = new AbortController(); // of the poem under way
let look = new AbortController(); // of the description under way
let limit = Infinity; // bytes that the server takes
let seed = 0; // of the poem that was asked for last

const HEADINGS = {
  413: "This file is too large.",
  415: "This photograph cannot be used.",
  422: "Such a poem cannot be.",
  429: "One moment, please.",
};

function show(state) {
  document.body.dataset.state = state;
  const has = state !== "empty";
  document.querySelector(".drop").hidden = has;
  figure.hidden = !has;
  byId("again").hidden = state === "writing";
  byId("again").textContent = problem.childElementCount ? "Try again" : "Another one";
  byId("cancel").hidden = state !== "writing";
  for (const id of ["copy", "save"]) byId(id).hidden = state === "writing" || !lines.childElementCount;
  byId("other").hidden = state === "writing";
  byId("so").hidden = !has;
}

function say(text) {
  status.textContent = text;
}

function complain(heading, detail = "") {
  const [title, text] = [document.createElement("strong"), document.createElement("p")];
  [title.textContent, text.textContent] = [heading, detail];
  problem.replaceChildren(title, ...(detail ? [text] : []));
  say("");
}

// ---- talking to the server

class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

async function post(path, fields, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== "") body.set(name, value);
  body.set("photo", photo);
  const response = await fetch(path, { method: "POST", body, signal });
  if (!response.ok) throw new Refused(await problemIn(response));
  return response;
}

async function problemIn(response) {
  try {
    return await response.json();
  } catch {
    return { status: response.status, detail: `The server answered ${response.status}.` }; // a proxy's page
  }
}

function failed(error) {
  const found = error instanceof Refused ? error.problem : null;
  if (!found) return complain("The server does not answer.", "Look at the connection, then try again.");
  const heading = HEADINGS[found.status] ?? "No poem this time.";
  const detail = found.detail.charAt(0).toUpperCase() + found.detail.slice(1);
  complain(heading, detail.replace(/([^.!?])$/, "$1."));
  if (found.status === 413 || found.status === 415) clear();
}

// ---- the poem

async function write() {
  work.abort();
  const mine = (work = new AbortController());
  lines.replaceChildren();
  problem.replaceChildren();
  const focused = document.activeElement === byId("again");
  show("writing");
  if (focused) byId("cancel").focus();
  say("Writing");
  try {
    const response = await post("v1/poems/stream", { ...wished(), seed }, mine.signal);
    for await (const { event, data } of eventsOf(response)) {
      if (event === "problem") throw new Refused(data);
      if (event === "line") await appear(data.text, mine.signal);
      if (event === "poem") return finish("", mine);
    }
    throw new TypeError("the stream broke off");
  } catch (error) {
    if (mine !== work || mine.signal.aborted) return;
    failed(error);
    if (photo) finish("", mine);
  }
}

/** Write another poem; the same where the one before came to nothing. */
function again() {
  if (!problem.childElementCount) [seed] = crypto.getRandomValues(new Uint32Array(1));
  write();
}

/** Show a line, not too soon after the one before. */
async function appear(text, signal) {
  const since = performance.now() - (appear.last ?? 0);
  if (!still.matches) await new Promise((resolve) => setTimeout(resolve, Math.max(0, PACE - since)));
  signal.throwIfAborted();
  appear.last = performance.now();
  const line = document.createElement("p");
  line.textContent = text;
  lines.append(line);
}

function finish(text, mine) {
  if (mine !== work) return;
  const focused = document.activeElement === byId("cancel");
  show("done");
  say(text);
  if (focused) byId("again").focus();
}

function wished() {
  const { layout, ...wanted } = Object.fromEntries(new FormData(wishes));
  return wanted;
}

function poem() {
  return [...lines.children].map((line) => line.textContent).join("\n");
}

// ---- the photograph

function take(chosen) {
  if (!chosen) return;
  problem.replaceChildren();
  if (chosen.size > limit) {
    clear();
    return complain(HEADINGS[413], `More than the ${Math.round(limit / 2 ** 20)} MB that the server takes.`);
  }
  photo = chosen;
  const picture = byId("photo");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(photo);
  picture.alt = "Your photograph";
  figure.dataset.name = photo.name || "your photograph";
  figure.classList.remove("blank");
  show("writing");
  byId("poem").focus({ preventScroll: true });
  describe();
  seed = 0;
  write();
}

function clear() {
  work.abort();
  look.abort();
  photo = null;
  lines.replaceChildren();
  show("empty");
}

async function describe() {
  look.abort();
  const mine = (look = new AbortController());
  byId("seen").replaceChildren();
  try {
    const seen = await (await post("v1/describe", { k: 3 }, mine.signal)).json();
    if (mine === look) byId("seen").replaceChildren(inWords(seen));
  } catch {
    // The poem's own failure is told; a caption is not missed.
  }
}

function inWords(seen) {
  const list = document.createElement("dl");
  const row = (name, ...parts) => {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    value.append(...parts);
    list.append(term, value);
  };
  row("Things", ...labels(seen.objects));
  row("Place", ...labels(seen.scenes));
  row("Mood", mood(seen.valence, seen.arousal));
  return list;
}

function labels(found) {
  const likely = found.filter((label, i) => i === 0 || label.probability >= 0.05);
  return likely.flatMap((label, i) => {
    const share = document.createElement("span");
    share.className = "share";
    share.textContent = `${Math.round(100 * label.probability)}\u00a0%`;
    const [name, where] = label.name.replaceAll("_", " ").split("/");
    return [`${i ? ", " : ""}${where ? `${name} (${where})` : name} `, share];
  });
}

/** Both go from 1 to 7, with 4 for neither. */
function mood(valence, arousal) {
  const pleasant = valence > 4.6 ? "pleasant" : valence < 3.4 ? "gloomy" : "even";
  const calm = arousal > 4.4 ? "stirring" : arousal < 3.6 ? "calm" : "awake";
  return `${pleasant}, ${calm}`;
}

// ---- copy and save

async function copy() {
  try {
    await navigator.clipboard.writeText(poem());
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(lines); // browsers keep the clipboard from pages that came without TLS
    say("Selected: press Ctrl-C to copy.");
  }
}

async function save() {
  say("Typesetting");
  try {
    const layout = new FormData(wishes).get("layout");
    const response = await post("v1/card", { poem: poem(), layout }, AbortSignal.timeout(60000));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `${(photo.name || "poem").replace(/\.[^.]*$/, "")}-poem.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say("Saved.");
  } catch (error) {
    failed(error);
  }
}

// ---- what people do

async function shoot() {
  if (!hasViewfinder()) return shot.click();
  try {
    take(await taken(byId("viewfinder")));
  } catch {
    complain("The camera cannot be used.", "Allow it in the browser, or choose a photograph.");
  }
}

const imageIn = (data) => [...(data?.files ?? [])][0];

for (const input of [file, shot]) {
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
}
byId("choose").addEventListener("click", () => file.click());
byId("other").addEventListener("click", () => file.click());
byId("take").addEventListener("click", shoot);
byId("again").addEventListener("click", again);
byId("cancel").addEventListener("click", () => {
  work.abort();
  finish("Stopped.", work);
});
byId("copy").addEventListener("click", copy);
byId("save").addEventListener("click", save);
byId("photo").addEventListener("error", () => figure.classList.add("blank"));
wishes.addEventListener("input", () => (byId("degrees").textContent = byId("temperature").value));
wishes.addEventListener("reset", () => setTimeout(() => (byId("degrees").textContent = byId("temperature").value)));
wishes.addEventListener("submit", (event) => {
  event.preventDefault();
  if (photo) again();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.dataset.state === "writing") byId("cancel").click();
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

show("empty");
fetch("v1/about").then(async (response) => {
  if (!response.ok) return;
  const about = await response.json();
  limit = about.max_bytes;
  byId("model").textContent = `Written by the model ${about.package}.`;
}, () => {});
