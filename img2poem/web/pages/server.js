// What is asked of the gateway, and what is said where it refuses.

const HEADINGS = {
  413: "This file is too large.",
  415: "This photograph cannot be used.",
  422: "Such a poem cannot be.",
  429: "One moment, please.",
};

/** The gateway answered with a problem. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** Post a photograph and the fields that are not empty; return the response. */
export async function post(path, photo, fields, signal) {
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

/** Return heading and detail of a failure, in sentences. */
export function told(error) {
  if (!(error instanceof Refused)) return ["The server does not answer.", "Look at the connection, then try again."];
  const { status, detail } = error.problem;
  const sentence = detail.charAt(0).toUpperCase() + detail.slice(1);
  return [HEADINGS[status] ?? "No poem this time.", sentence.replace(/([^.!?])$/, "$1.")];
}

/** Return what is said of a file of more bytes than the server takes. */
export const tooLarge = (limit) => [HEADINGS[413], `More than the ${Math.round(limit / 2 ** 20)} MB that the server takes.`];

/** Whether a failure means that the photograph is of no use. */
export const unusable = (error) => error instanceof Refused && [413, 415].includes(error.problem.status);
