// A poem and its photograph on one sheet: seen, saved, copied, sent.
import { post, told } from "./server.js";
import { textOf } from "./poems.js";

const dialog = document.getElementById("sharing");
const [save, send, copy, close, status] = ["save", "send", "copy-card", "close", "shared"].map((id) => document.getElementById(id));
const [image, waiting] = [dialog.querySelector("img"), dialog.querySelector(".preview p")];
const layouts = [...dialog.querySelectorAll("[name=layout]")];

let work = new AbortController(); // of the card that is being typeset
let made = null; // the card: a File, with the poem's text beside it

/** Show the card of a poem. */
export function openCard(entry, poem) {
  status.textContent = "";
  dialog.showModal();
  const draw = () => typeset(entry, poem);
  for (const layout of layouts) layout.onchange = draw;
  draw();
}

async function typeset(entry, poem) {
  work.abort();
  const { signal } = (work = new AbortController());
  forget();
  try {
    const layout = layouts.find((one) => one.checked).value;
    const response = await post("v1/card", entry.photo, { poem: textOf(poem), layout }, signal);
    const blob = await response.blob();
    signal.throwIfAborted();
    made = { file: new File([blob], `${entry.name.replace(/\.[^.]*$/, "")}-poem.png`, { type: "image/png" }), text: textOf(poem) };
    image.src = URL.createObjectURL(made.file);
    ready(true);
  } catch (error) {
    if (!signal.aborted) waiting.textContent = told(error).join(" ");
  }
}

function forget() {
  URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
  made = null;
  waiting.textContent = "Typesetting";
  ready(false);
}

function ready(is) {
  image.hidden = !is;
  waiting.hidden = is;
  save.disabled = copy.disabled = !is;
  copy.hidden = !globalThis.ClipboardItem || !navigator.clipboard; // browsers keep it from pages that came without TLS
  send.hidden = !is || !navigator.canShare?.({ files: [made.file] });
}

save.addEventListener("click", () => {
  const link = document.createElement("a");
  [link.href, link.download] = [image.src, made.file.name];
  link.click();
  status.textContent = "Saved.";
});
copy.addEventListener("click", async () => {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": made.file })]);
    status.textContent = "Copied.";
  } catch {
    status.textContent = "The browser does not let the picture be copied; save it.";
  }
});
send.addEventListener("click", async () => {
  try {
    await navigator.share({ files: [made.file], text: made.text });
  } catch (error) {
    if (error.name !== "AbortError") status.textContent = "It could not be sent; save it.";
  }
});
close.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  work.abort();
  forget();
});
