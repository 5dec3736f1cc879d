// What the encoders saw, in words; and the photograph's own colour, for the page around it.

const SMALL = 320; // longer side of the copy that is kept for the list of the visit, in pixels

/** Return the description as a list of terms. */
export function inWords(seen) {
  const list = document.createElement("dl");
  const row = (name, value) => {
    const [group, term, text] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    [term.textContent, text.textContent] = [name, value];
    group.append(term, text);
    list.append(group);
  };
  row("Things", labels(seen.objects));
  row("Place", labels(seen.scenes));
  row("Mood", mood(seen.valence, seen.arousal));
  return list;
}

/** The likeliest class, and others where they are likely too. */
function labels(found) {
  return found.filter((label, i) => i === 0 || label.probability >= 0.15).map(named).join(", ");
}

function named({ name }) {
  const [thing, where] = name.replaceAll("_", " ").split("/");
  return where ? `${thing} (${where})` : thing;
}

/** Both go from 1 to 7, with 4 for neither. */
function mood(valence, arousal) {
  const pleasant = valence > 4.6 ? "pleasant" : valence < 3.4 ? "gloomy" : "even";
  const calm = arousal > 4.4 ? "stirring" : arousal < 3.6 ? "calm" : "awake";
  return `${pleasant}, ${calm}`;
}

/** Return a small copy of an image that has been loaded. */
export function small(image) {
  const scale = Math.min(1, SMALL / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Return hue (degrees) and strength (0 to 1) of the colour that a picture has most of. */
export function colourOf(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let [x, y, weight] = [0, 0, 0];
  for (let i = 0; i < data.length; i += 16) {
    const { a, b } = oklab(data[i], data[i + 1], data[i + 2]);
    const chroma = Math.hypot(a, b);
    x += a * chroma; // strong colours count more than pale ones
    y += b * chroma;
    weight += chroma;
  }
  const hue = (Math.atan2(y, x) * 180) / Math.PI;
  return { hue: (hue + 360) % 360, strength: weight ? Math.min(1, Math.hypot(x, y) / weight / 0.09) : 0 };
}

/** Björn Ottosson's Oklab (2020), of which CSS's oklch is the polar form. */
function oklab(...bytes) {
  const [r, g, b] = bytes.map((byte) => (byte <= 10 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return {
    a: 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    b: 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  };
}

/** Give the page the colour of a picture; that of paper where there is none. */
export function tint(canvas) {
  const { hue, strength } = canvas ? colourOf(canvas) : { hue: 75, strength: 0.5 };
  document.documentElement.style.setProperty("--hue", hue.toFixed(1));
  document.documentElement.style.setProperty("--strength", strength.toFixed(2));
}
