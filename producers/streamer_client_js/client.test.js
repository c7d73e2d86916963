// Against the service at STREAMER_URL, which has the key STREAMER_API_KEY: run by tests/test_js_client.py.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient } from "streamer-client";

const url = process.env.STREAMER_URL;
const apiKey = process.env.STREAMER_API_KEY;
const client = createClient(url, { apiKey });

/** A client whose first answers are made up; an error is thrown. */
function failing(...first) {
  const sent = [];
  const fetch = async (request) => {
    sent.push(await request.clone().text());
    const made = first.shift();
    if (made instanceof Error) {
      throw made;
    }
    return made ?? globalThis.fetch(request);
  };
  return { sent, client: createClient(url, { apiKey, fetch }) };
}

const EVENT = { type: "click", user_id: "jo", item_id: "tea" };

test("a slate is answered, and feedback on it taken", async () => {
  const { data } = await client.POST("/v1/recommendations", { body: { user_id: "jo", k: 2 } });
  assert.equal(data.items.length, 2);
  const given = { request_id: data.request_id, user_id: "jo", item_id: data.items[0].item_id };
  const taken = await client.POST("/v1/feedback", { body: { ...given, position: 0 } });
  assert.equal(taken.data.accepted, 1);
});

test("rows, pages, lists and related items are answered", async () => {
  const rows = [{ name: "for you" }, { name: "new", list_name: "latest" }];
  const { data } = await client.POST("/v1/recommendations", { body: { user_id: "jo", k: 1, rows } });
  assert.deepEqual(data.rows.map((row) => row.name), ["for you", "new"]);
  let after = "";
  const shown = [];
  while (after !== undefined) {
    const query = { k: 1, after, exclude: ["a", "b"] };
    const page = await client.GET("/v1/lists/{list_name}", { params: { path: { list_name: "popular" }, query } });
    shown.push(...page.data.items.map((item) => item.item_id));
    after = page.data.next;
  }
  assert.equal(new Set(shown).size, shown.length);
  assert.ok(shown.length >= 3);
  const path = { item_id: "tea" };
  const goes = await client.GET("/v1/items/{item_id}/related", { params: { path, query: { preview: true } } });
  assert.ok(goes.data.preview);
});

test("each event has its fate, and its id", async () => {
  const { data, response } = await client.POST("/v1/events", { body: [EVENT, { ...EVENT, type: "clik" }] });
  assert.equal(response.status, 207);
  assert.deepEqual(data.results.map((result) => result.status), [202, 422]);
  assert.match(data.results[0].event_id, /^[0-9a-f]{32}$/);
});

test("items and users are written, changed, read and deleted, whatever their ids", async () => {
  for (const id of ["a/b ü", "…"]) {
    const params = { path: { item_id: id } };
    await client.PUT("/v1/items/{item_id}", { params, body: { title: "Tea" } });
    await client.PATCH("/v1/items/{item_id}", { params, body: { available: false } });
    const { data } = await client.GET("/v1/items/{item_id}", { params });
    assert.deepEqual(data, { item_id: id, title: "Tea", available: false });
    assert.equal((await client.DELETE("/v1/items/{item_id}", { params })).response.status, 202);
    assert.equal((await client.GET("/v1/items/{item_id}", { params })).error.status, 404);
  }
  const { data } = await client.POST("/v1/users", { body: [{ user_id: "jo" }] });
  assert.equal(data.accepted, 1);
});

test("a problem names the field, its value and the bound", async () => {
  const { error } = await client.POST("/v1/recommendations", { body: { user_id: "jo", k: 0 } });
  assert.deepEqual([error.status, error.field], [422, "k"]);
  assert.match(error.detail, /0 is refused: expected `int` >= 1/);
  const stranger = createClient(url, { apiKey: "none-of-its-keys" });
  assert.equal((await stranger.POST("/v1/events", { body: EVENT })).error.status, 401);
  assert.equal((await stranger.GET("/readyz")).data.status, "ok");
});

test("what was not taken is sent again, an event under the same id", async () => {
  const refused = new Response("{}", { status: 503 });
  const { client, sent } = failing(refused, new TypeError("fetch failed"));
  const { data } = await client.POST("/v1/events", { body: EVENT });
  assert.equal(data.accepted, 1);
  assert.equal(sent.length, 3);
  assert.equal(new Set(sent).size, 1);
});

test("a decision is not asked for again where its answer was lost", async () => {
  const lost = failing(new TypeError("fetch failed"));
  await assert.rejects(lost.client.POST("/v1/recommendations", { body: { user_id: "jo" } }), /fetch failed/);
  const busy = failing(new Response("{}", { status: 503 }));
  const { data } = await busy.client.POST("/v1/recommendations", { body: { user_id: "jo" } });
  assert.equal(data.user_id, "jo");
  assert.equal(busy.sent.length, 2);
});

test("one deadline bounds all tries", async () => {
  const busy = new Response("{}", { status: 503, headers: { "Retry-After": "60" } });
  const { client, sent } = failing(busy);
  const { response } = await client.GET("/v1/explanations", { params: { query: { user: "jo", item: "tea" } } });
  assert.equal(response.status, 503);
  assert.equal(sent.length, 1);
  const never = createClient(url, {
    timeoutMs: 20,
    fetch: (request) =>
      new Promise((_, reject) => {
        const kept = setTimeout(reject, 60_000); // a deadline alone keeps no process alive
        request.signal.addEventListener("abort", () => {
          clearTimeout(kept);
          reject(request.signal.reason);
        });
      }),
  });
  await assert.rejects(never.GET("/healthz"), { name: "TimeoutError" });
});
