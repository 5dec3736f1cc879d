// Server-sent events over fetch: EventSource could not send a photograph.

/** Yield `{event, data}` of each event in the body of `response`; data is what its JSON says. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const found = { event: "message", data: "" };
      for (const line of block.split("\n")) {
        const [, name, text] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name in found) found[name] = name === "data" ? found.data + text : text;
      }
      if (found.data) yield { event: found.event, data: JSON.parse(found.data) };
    }
  }
}
