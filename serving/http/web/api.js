// What the page asks its server. Errors become one kind of object, whose text is for people.

export class Failed extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Where somebody signs in; the session is a cookie that no script can read. */
export const LOGIN = "api/login";

async function sent(method, path, body, signal) {
  const raw = body instanceof Blob;
  const headers = raw || body === undefined ? {} : { "content-type": "application/json" };
  const options = { method, headers, signal, body: raw || body === undefined ? body : JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failed("offline", 0);
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  if (response.status === 401 && path !== LOGIN) document.dispatchEvent(new Event("signed-out"));
  throw new Failed(told.error?.message ?? `${response.status} ${response.statusText}`, response.status);
}

const json = async (method, path, body) => {
  const response = await sent(method, path, body);
  return response.status === 204 ? null : response.json();
};

export const get = (path) => json("GET", path);
export const post = (path, body = {}) => json("POST", path, body);
export const put = (path, body) => json("PUT", path, body);
export const patch = (path, body) => json("PATCH", path, body);
export const remove = (path) => json("DELETE", path);
export const blob = async (path) => (await sent("GET", path)).blob();

/** A path out of parts that may hold anything. */
export const at = (...parts) => parts.map((part) => String(part).split("/").map(encodeURIComponent).join("/")).join("/");

/** A query out of what is not empty. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** Server-sent events: calls `take(name, data)` for each, until the server ends the stream. */
export async function events(method, path, body, take, signal) {
  const response = await sent(method, path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim() ?? "message";
      if (data && data !== "[DONE]") take(name, JSON.parse(data));
    }
  }
}
