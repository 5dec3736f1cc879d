// What the form asks for.

const form = document.getElementById("wishes");
const [temperature, degrees, wanted] = ["temperature", "degrees", "wanted"].map((id) => document.getElementById(id));
const BOLDNESS = [[0.4, "plain"], [0.6, "balanced"], [0.9, "bold"], [Infinity, "strange"]];

/** Return the fields of a request for a poem. */
export function fieldsOf() {
  const { count, ...fields } = Object.fromEntries(new FormData(form));
  return fields;
}

/** Return how many poems are written at a time. */
export const countOf = () => Number(new FormData(form).get("count"));

function tell() {
  const { lines, rhyme, acrostic, include, forbidden, first_words: first, strategy } = fieldsOf();
  const word = BOLDNESS.find(([end]) => Number(temperature.value) < end + 0.05)[1];
  degrees.textContent = `${temperature.value}, ${word}`;
  temperature.setAttribute("aria-valuetext", degrees.textContent);
  const told = [
    lines && `${lines} ${lines === "1" ? "line" : "lines"}`,
    rhyme && rhyme.toUpperCase(),
    acrostic && `spells ${acrostic.toUpperCase()}`,
    first && `begins \u201c${first}\u201d`,
    include && `with ${include}`,
    forbidden && `without ${forbidden}`,
    word !== "balanced" && word,
    strategy === "best-of" && "with care",
  ];
  wanted.textContent = told.filter(Boolean).join(" \u00b7 ");
}

form.addEventListener("input", tell);
form.addEventListener("reset", () => setTimeout(tell));
tell();
