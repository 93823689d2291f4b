// Messages from a server of the OpenAI format that is not ours: `check.mjs SCRIP`, where SCRIP is its binary.
//
// Every message is written once and paid once, whatever the server does in between: no key, too many requests, errors, half an answer.

import assert from "node:assert/strict";

import { LLMock } from "@copilotkit/aimock";

import { endAll, serve, workspace } from "../browser/world.mjs";

const KEY = "sk-the-key-of-the-messages";
const LEADS = 20;
const binary = process.argv[2];

/** A server for messages, strict about keys and about what it was not told. */
async function model() {
  const mock = new LLMock({ port: 0, strict: true, logLevel: "silent", auth: { apiKeys: [KEY] } });
  const reply = (more) => ({ content: "Half of it", ...more });
  mock.onMessage("long-winded", reply({ finishReason: "length" }));
  mock.onMessage("filtered", reply({ finishReason: "content_filter" }));
  mock.onMessage("speechless", { content: "" });
  const error = { message: "This model's maximum context length is 8 tokens.", type: "invalid_request_error", param: "messages", code: "context_length_exceeded" };
  mock.onMessage("refused", { error, status: 400 });
  mock.onMessage(/Lead \d{4}/, (request) => {
    const asked = request.messages.at(-1).content;
    return { content: `Hello ${asked.match(/Lead \d{4}/)[0]}, a word.` };
  });
  await mock.start();
  return mock;
}

function provider(mock, key = KEY) {
  return `kind = "sandbox"\n[providers.messages]\nkind = "openai"\nbase_url = "${mock.url}/v1"\nmodel = "gpt-4o-mini"\ntoken = "${key}"\ntimeout_seconds = 5`;
}

/** A workspace whose campaign writes to these people and waits for approval before it sends. */
async function campaign(server, names) {
  const made = await workspace(server, "Messages", 1_000);
  const rows = names.map((name, index) => ({ name, external_id: `lead-${index}`, email: `lead${index}@example.com` }));
  await server.api("POST", `${made.path}/leads`, { leads: rows });
  const { items } = await server.api("GET", `${made.path}/leads?limit=100`);
  const step = { channel: "email", after_days: 0, generate: true, subject: "A question", template: "Ask about {{name}}" };
  const { id } = await server.api("POST", `${made.path}/campaigns`, { name: "Written", approve: true, steps: [step] });
  await server.api("POST", `/v1/campaigns/${id}/leads`, { leads: items.map((lead) => lead.id) });
  await server.api("POST", `/v1/campaigns/${id}/launch`);
  const all = async (what) => (await server.api("GET", `${made.path}/${what}`)).items;
  return {
    advance: (seconds) => server.api("POST", "/v1/clock/advance", { seconds }),
    view: () => server.api("GET", `/v1/campaigns/${id}`),
    messages: () => all("messages?limit=100"),
    charges: () => all("entries?kind=charge&operation=message_generation&limit=100"),
    balance: made.balance,
  };
}

const people = (count) => Array.from({ length: count }, (_, index) => `Lead ${String(index + 1).padStart(4, "0")}`);

/** So many messages are there, each for its own lead, and so many credits are gone. */
async function came(work, count) {
  const texts = (await work.messages()).map((message) => message.text).sort();
  assert.deepEqual(texts, people(count).map((name) => `Hello ${name}, a word.`));
  assert.equal((await work.charges()).length, count);
  const { available, held } = await work.balance();
  assert.deepEqual([available, held], [1_000 - 2 * count, 0]);
}

async function written(mock, server) {
  const work = await campaign(server, people(LEADS));
  await work.advance(0);
  await came(work, LEADS);
  const requests = mock.getRequests();
  assert.equal(requests.length, LEADS);
  for (const { path, headers, body, response } of requests) {
    assert.deepEqual([path, headers["content-type"], response.status], ["/v1/chat/completions", "application/json", 200]);
    assert.deepEqual([body.model, body.messages.map(({ role }) => role)], ["gpt-4o-mini", ["system", "user"]]);
  }
  assert.equal(new Set(requests.map(({ headers }) => headers["idempotency-key"])).size, LEADS);
}

/** While the server is in trouble nothing is stored and nothing is paid; afterwards every message comes once. */
async function troubled(mock, server, trouble) {
  const work = await campaign(server, people(5));
  mock.clearRequests();
  mock.setChaos(trouble);
  await work.advance(0);
  const asked = mock.getRequests().length;
  assert.ok(asked > 0 && asked <= 15, `${JSON.stringify(trouble)}: ${asked} requests`);
  await came(work, 0);
  mock.clearChaos();
  await work.advance(2 * 3_600);
  await came(work, 5);
  return asked;
}

/** Every third request or so goes wrong, now this way and now that. */
async function shaken(mock, server) {
  const work = await campaign(server, people(40));
  mock.setChaos({ dropRate: 0.1, malformedRate: 0.1, rateLimitRate: 0.1, disconnectRate: 0.1 });
  for (let hour = 0; hour < 12; hour += 1) await work.advance(3_600);
  mock.clearChaos();
  await work.advance(86_400);
  await came(work, 40);
}

/** What is no message is not stored, not paid, and says why. */
async function useless(server) {
  const names = ["long-winded", "filtered", "speechless", "refused"];
  const work = await campaign(server, names);
  await work.advance(0);
  assert.deepEqual([await work.messages(), await work.charges()], [[], []]);
  const { steps, status } = await work.view();
  assert.deepEqual([steps[0].failed, status], [names.length, "completed"]);
  assert.equal((await work.balance()).available, 1_000);
}

async function stranger(mock) {
  const server = await serve(binary, provider(mock, "sk-another"));
  const work = await campaign(server, people(3));
  await work.advance(0);
  const view = await work.view();
  assert.deepEqual(view.pause_reasons.map(({ reason }) => reason), ["provider"]);
  assert.match(JSON.stringify(view), /401/);
  assert.ok(!JSON.stringify(view).includes("sk-another"));
  await came(work, 0);
}

try {
  const mock = await model();
  const server = await serve(binary, provider(mock));
  await written(mock, server);
  const faults = [{ rateLimitRate: 1 }, { dropRate: 1 }, { malformedRate: 1 }, { disconnectRate: 1 }];
  const asked = [];
  for (const fault of faults) asked.push(await troubled(mock, server, fault));
  await shaken(mock, server);
  await useless(server);
  await stranger(mock);
  await mock.stop();
  console.log(`aimock: ${LEADS + 20 + 40} messages, each written and paid once; requests for 5 messages while in trouble: ${asked.join(", ")}`);
} finally {
  endAll();
}
