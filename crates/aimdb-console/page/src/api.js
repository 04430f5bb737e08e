// The console: requests, and its stream.

// The part behind `#` stays in the browser: `#token=…` gives a token, `#record=…` the selected record.
const TOKEN = "aimdb-token";
const fragment = () => new URLSearchParams(location.hash.slice(1));
const given = fragment().get("token");
if (given) {
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname);
}

export const remembered = () => fragment().get("record");
export const remember = (key) => history.replaceState(null, "", `#record=${encodeURIComponent(key)}`);

function headers() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export async function get(path) {
  const response = await fetch(`api/v1/${path}`, { headers: headers() });
  const body = await response.json();
  // An unhealthy database answers with 503 and its health.
  if (!response.ok && !("healthy" in body)) throw new Error(`${body.error} (${body.help})`);
  return body;
}

/** The newest value of a record as its text: numbers beyond 2^53 stay as they are. */
export async function text(key) {
  const response = await fetch(`api/v1/records/${encodeURIComponent(key)}/value`, { headers: headers() });
  return response.status === 200 ? response.text() : "";
}

export async function put(path, body) {
  const response = await fetch(`api/v1/${path}`, { method: "PUT", headers: headers(), body });
  if (response.ok) return;
  const reason = await response.json();
  throw new Error(`${reason.error}\n${reason.help}`);
}

/**
 * Reads events until `signal` aborts, and connects again when the stream breaks. Not EventSource: that sends no token.
 */
export async function stream(query, signal, handlers) {
  let pause = 500;
  while (!signal.aborted) {
    try {
      const response = await fetch(`api/v1/stream?${query}`, { headers: headers(), signal });
      if (!response.ok) {
        const reason = await response.json();
        throw new Error(reason.error);
      }
      handlers.open?.();
      pause = 500;
      let text = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        text += part.value;
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          dispatch(text.slice(0, end), handlers);
          text = text.slice(end + 2);
        }
      }
      throw new Error("the program has ended, or the connection broke");
    } catch (error) {
      if (signal.aborted) return;
      handlers.broken?.(error);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, 10_000);
  }
}

function dispatch(frame, handlers) {
  let name = "";
  let data = "";
  for (const line of frame.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data = line.slice(6);
  }
  if (name) handlers[name]?.(JSON.parse(data), data);
}
