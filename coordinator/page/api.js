// The server, as far as the page asks it. The API key lives in this module's memory and nowhere else.

let key = "";

export function setKey(value) {
  key = value;
}

// What the server answered instead of what was asked for.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  if (key) headers.Authorization = `Bearer ${key}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  let message = `The server answered ${answer.status}.`;
  try {
    message = (await answer.json()).error.message;
  } catch {
    // Not one of its own answers: a proxy's page. The status says enough.
  }
  throw new Refused(answer.status, message);
}

export async function status() {
  const patience = AbortSignal.timeout(5000);
  return (await ask("/page/status", { signal: patience })).json();
}

// The events of a streamed chat completion, parsed. Throws Refused when the server ends it with an error or
// without its last event.
export async function* chat(body, signal) {
  const answer = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refused(0, "The connection ended before the answer did.");
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue; // a ping: the request waits
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      const parsed = JSON.parse(data);
      if (parsed.error) throw new Refused(0, parsed.error.message);
      yield parsed;
    }
  }
}
