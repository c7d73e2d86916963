// @ts-check
import createFetchClient from "openapi-fetch";

const NOT_DONE = new Set([429, 503]); // the service asks to come again later
const PERHAPS_DONE = new Set([408, 502, 504]); // the body, or what stands before the scorer, took too long
const DECIDES = /\/(recommendations|related)$/;
const PAUSE_MS_FIRST = 100;
const PAUSE_MS_MAX = 5_000;

/** @type {typeof import("./index.js").createClient} */
export function createClient(url, { apiKey, timeoutMs = 10_000, fetch = globalThis.fetch } = {}) {
  const client = createFetchClient({
    baseUrl: url,
    headers: apiKey === undefined ? {} : { Authorization: `Bearer ${apiKey}` },
    fetch: (request) => answered(request, timeoutMs, fetch),
  });
  client.use({ onRequest: identified });
  return client;
}

/**
 * Give events their ids: sent again under the same id, an event is learned once.
 *
 * @param {{ request: Request, schemaPath: string }} sent
 */
async function identified({ request, schemaPath }) {
  if (request.method !== "POST" || !["/v1/events", "/v1/feedback"].includes(schemaPath)) {
    return undefined;
  }
  const given = await request.clone().json();
  const one = (/** @type {object} */ event) => ({ event_id: newId(), ...event });
  return new Request(request, {
    body: JSON.stringify(Array.isArray(given) ? given.map(one) : one(given)),
  });
}

/** Return 32 hexadecimal digits; Node 18 has no crypto, and pages without TLS no crypto.randomUUID. */
function newId() {
  const bytes =
    globalThis.crypto?.getRandomValues(new Uint8Array(16)) ??
    Uint8Array.from({ length: 16 }, () => 256 * Math.random());
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return a signal that aborts with the first of some; Node 18 has no AbortSignal.any.
 *
 * @param {AbortSignal[]} signals
 */
function either(...signals) {
  const both = new AbortController();
  for (const each of signals) {
    if (each.aborted) {
      both.abort(each.reason);
    }
    each.addEventListener("abort", () => both.abort(each.reason), { once: true });
  }
  return both.signal;
}

/**
 * Fetch, and fetch again with growing pauses where that is safe, until the deadline.
 *
 * @param {Request} request
 * @param {number} timeoutMs
 * @param {(request: Request) => Promise<Response>} fetch
 */
async function answered(request, timeoutMs, fetch) {
  const endMs = performance.now() + timeoutMs;
  const signal = either(request.signal, AbortSignal.timeout(timeoutMs));
  const repeatable = !DECIDES.test(new URL(request.url).pathname);
  for (let longestMs = PAUSE_MS_FIRST; ; longestMs = Math.min(2 * longestMs, PAUSE_MS_MAX)) {
    /** @type {Response | undefined} */
    let answer;
    let failure;
    try {
      answer = await fetch(new Request(request.clone(), { signal }));
    } catch (error) {
      failure = error;
    }
    const again = answer
      ? NOT_DONE.has(answer.status) || (repeatable && PERHAPS_DONE.has(answer.status))
      : repeatable && !signal.aborted;
    const askedMs = 1000 * (Number(answer?.headers.get("Retry-After")) || 0);
    const pauseMs = Math.max(askedMs, longestMs * (1 - Math.random() / 2));
    if (!again || performance.now() + pauseMs >= endMs) {
      if (answer) {
        return answer;
      }
      throw failure;
    }
    await answer?.body?.cancel(); // or its connection stays taken
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
