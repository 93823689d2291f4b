// Starts the server under test and speaks its API. Whatever is started here is ended by `endAll`.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const KEY = "the-operator-of-the-walk";
const LEADS = readFileSync(new URL("../../examples/leads.csv", import.meta.url), "utf8");

const children = new Set();
const directories = new Set();
let keys = 0;

/** Ends every process and removes every directory of this run. */
export function endAll() {
  for (const child of children) child.kill("SIGKILL");
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
}

/** A directory that goes with the run. */
export function temporary() {
  const directory = mkdtempSync(join(tmpdir(), "scrip-walk-"));
  directories.add(directory);
  return directory;
}

/** Starts the binary and answers the first match of `pattern` in what it prints. */
export async function start(binary, args, pattern) {
  // Its own scratch files lie in a directory of ours, because a kill gives it no time to tidy up.
  const env = { ...process.env, SCRIP_OPERATOR_KEY: KEY, TMPDIR: temporary() };
  const child = spawn(binary, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  let text = "";
  const found = new Promise((resolve, reject) => {
    const read = (chunk) => {
      text += chunk;
      const match = pattern.exec(text);
      if (match) resolve(match);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`${args[0]} ended early:\n${text}`)));
    setTimeout(() => reject(new Error(`${args[0]} did not start in time:\n${text}`)), 30_000).unref();
  });
  return { child, match: await found, printed: () => text };
}

/** Ends one process as an operator would; true when it left with 0. */
export async function stop({ child }) {
  if (child.exitCode === null) {
    const left = once(child, "exit");
    child.kill("SIGTERM");
    await left;
  }
  children.delete(child);
  return child.exitCode === 0;
}

/** A served database with a sandbox for payments, or something else, and a clock that stands still. */
export async function serve(binary, payments = 'kind = "sandbox"', mail = null) {
  const directory = temporary();
  const config = join(directory, "scrip.toml");
  writeFileSync(config, `[payments]\n${payments}\n${mail ? `[mail]\nurl = "${mail}"\nfrom = "notices@example.com"\n` : ""}`);
  const args = ["serve", "--data", join(directory, "data"), "--config", config];
  args.push("--listen", "127.0.0.1:0", "--clock", "manual=2027-01-31T10:00:00Z");
  const { child, match } = await start(binary, args, /listening on (http:\S+)\n.*: (http\S+)\n/);
  return { child, url: match[1], operatorLink: match[2], api: api(match[1]) };
}

/** The demo for a person, with the link that it prints. */
export async function demo(binary) {
  const args = ["demo", "--listen", "127.0.0.1:0"];
  const { child, match, printed } = await start(binary, args, /(http:\S+\/portal\S+)/);
  return { child, link: match[1], printed };
}

function api(url) {
  return async (method, path, body, type = "application/json") => {
    keys += 1;
    const headers = { authorization: `Bearer ${KEY}`, "idempotency-key": `walk-${keys}`, "content-type": type };
    const text = type === "text/csv" ? body : JSON.stringify(body);
    const response = await fetch(url + path, { method, headers, body: body === undefined ? undefined : text });
    const answer = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${answer}`);
    return answer === "" ? null : JSON.parse(answer);
  };
}

/** A workspace with so many credits, and its sign-in links. */
export async function workspace(server, name, credits, plan) {
  const body = { name, admin_email: "admin@example.com", time_zone: "Europe/Berlin" };
  const { id } = await server.api("POST", "/v1/workspaces", plan ? { ...body, plan } : body);
  const path = `/v1/workspaces/${id}`;
  if (credits > 0) {
    await server.api("POST", `${path}/grants`, { credits, kind: "bonus", reason: "Welcome" });
  }
  const link = async (role) =>
    (await server.api("POST", `${path}/portal_sessions`, { role, member_email: `${role}@example.com` })).url;
  return { id, path, link, balance: () => server.api("GET", `${path}/balance`) };
}

export function charge(server, { path }, operation, quantity, labels = {}) {
  return server.api("POST", `${path}/charges`, { operation, quantity, ...labels });
}

/** A workspace with a plan, leads, campaigns, usage of every kind, a hold, and notices. */
export async function busy(server) {
  const made = await workspace(server, "Walk & <b>Sons</b>", 0, "growth");
  const { path } = made;
  // Nobody listens there, so its log has a delivery that waits.
  const sender = await server.api("POST", `${path}/senders`, { kind: "email", from: "Team <team@example.com>", daily_limit: 50, hours: { from: "09:00", to: "17:00", days: ["mon", "fri"] } });
  const hook = await server.api("POST", `${path}/webhook_endpoints`, { url: "https://hooks.invalid/scrip", description: "Pauses our side" });
  await server.api("POST", `${path}/leads`, LEADS, "text/csv");
  const { items } = await server.api("GET", `${path}/leads?limit=30`);
  const step = { channel: "email", after_days: 2, condition: "no_reply", generate: true };
  const first = { channel: "email", after_days: 0, condition: "always", subject: "Hello", template: "Hello {{name}}", generate: false };
  const campaign = { name: "Autumn founders", enrich: ["contact", "company_size"], steps: [first, { ...step, subject: "Again", template: "Ask again" }] };
  const { id } = await server.api("POST", `${path}/campaigns`, campaign);
  await server.api("POST", `${path}/campaigns/${id}`.replace(path, "/v1") + "/leads", { leads: items.map((lead) => lead.id) });
  await server.api("POST", `/v1/campaigns/${id}/launch`);
  const draft = await server.api("POST", `${path}/campaigns`, { ...campaign, name: "A draft" });
  const labels = { campaign: id, member: "ana@example.com" };
  await charge(server, made, "discovery_preview", 30, { member: "ana@example.com", channel: "discovery" });
  await charge(server, made, "discovery_result", 250, { member: "ben@example.com", channel: "discovery" });
  await charge(server, made, "contact_enrichment", 200, { ...labels, channel: "enrichment" });
  await charge(server, made, "field_enrichment", 120, { ...labels, channel: "enrichment" });
  await server.api("POST", "/v1/clock/advance", { seconds: 2 * 86_400 });
  await charge(server, made, "message_generation", 400, { ...labels, channel: "messages" });
  await charge(server, made, "message_regeneration", 60, { ...labels, channel: "messages" });
  await charge(server, made, "email_send", 300, { ...labels, channel: "email" });
  await charge(server, made, "linkedin_send", 140, { ...labels, channel: "linkedin" });
  const tried = await server.api("POST", `${path}/holds`, { operation: "contact_enrichment", quantity: 20 });
  await server.api("POST", `/v1/holds/${tried.id}/settle`, { quantity: 12 });
  await server.api("POST", `${path}/holds`, { operation: "email_send", quantity: 7, expires_in_seconds: 604_800 });
  // One that nobody knows the end of.
  const lost = await server.api("POST", `${path}/holds`, { operation: "email_send", quantity: 2, expires_in_seconds: 60 });
  await server.api("POST", `/v1/holds/${lost.id}/dispatch`);
  await server.api("POST", "/v1/clock/advance", { seconds: 61 });
  return { ...made, campaign: id, draft: draft.id, hook: hook.id, sender: sender.id, lead: items[0].id };
}
