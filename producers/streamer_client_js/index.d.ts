import type { Client } from "openapi-fetch";
import type { components, paths } from "./openapi.js";

export type { components, paths };

type Schemas = components["schemas"];
/** What is sent. */
export type Event = Schemas["EventFields"];
export type Feedback = Schemas["FeedbackFields"];
export type RecommendationRequest = Schemas["RequestFields"];
export type Item = Schemas["Item"];
export type User = Schemas["User"];
/** What is answered. */
export type Recommendation = Schemas["Recommendation"];
export type PublishResults = Schemas["PublishResults"];
export type Explanation = Schemas["Explanation"];
export type Health = Schemas["Health"];
/** What is wrong: `detail` has the value, the bound and the remedy. */
export type Problem = Schemas["Problem"];

export interface Options {
  /** One of the service's `http.api_keys`. A key in a page is public. */
  apiKey?: string;
  /** Of one call with all its tries; 10,000 by default. */
  timeoutMs?: number;
  /** In place of the global `fetch`. */
  fetch?: (request: Request) => Promise<Response>;
}

/**
 * Make a client of a `streamer serve`: `client.GET(path, …)`, `POST`, `PUT`, `PATCH` and `DELETE` return
 * `{ data }`, or `{ error }` with a problem. Where no answer comes they throw what `fetch` throws.
 *
 * Events get an `event_id`. A call that failed is tried again, with growing pauses, while `timeoutMs`
 * lasts: where the service did not take it (429, 503), and, but for what makes a decision, where its answer was lost.
 */
export declare function createClient(url: string, options?: Options): Client<paths>;
