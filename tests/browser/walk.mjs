// Walks through every page in a real browser, against a real server: `node walk.mjs BINARY [FAKE_STRIPE]`.
//
// Prints what fails and closes with `N passed, N failed`; exits 1 when something failed or took too long.

import { resolve } from "node:path";

import { chromium } from "playwright-core";

import { playDemo } from "./demo.mjs";
import { embedded } from "./embed.mjs";
import { byMail, firstAdmin, mailbox } from "./mail.mjs";
import { buildByForms, buyByForms, chooseByForms, buyLive, member } from "./people.mjs";
import { look, signIn } from "./pages.mjs";
import { check, close, part } from "./report.mjs";
import { buyWithStripe } from "./stripe.mjs";
import { busy, charge, endAll, serve, stop, workspace } from "./world.mjs";

/** Ends a walk that hangs, on a slow machine too: no measure of how quick the pages are. */
const LIMIT_SECONDS = 1_200;
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

const binary = resolve(process.argv[2] ?? "target/debug/scrip");
let browser;

async function end(code) {
  await Promise.race([browser?.close(), new Promise((done) => setTimeout(done, 3_000))]).catch(() => {});
  endAll();
  process.exit(code);
}

setTimeout(() => {
  check(`the walk ends within ${LIMIT_SECONDS} seconds`, false);
  void end(close());
}, LIMIT_SECONDS * 1_000).unref();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void end(1));

/** The pages of a workspace, and those that only an Admin may see. */
const pagesOf = (made) => [
  ["/billing", "/billing?range=period&group=campaign&show=used", "/billing?show=used&operation=email_send&without=member&from=2026-01-01",
    "/billing/credits", "/billing/history/1", "/campaigns", `/campaigns/${made.campaign}`, `/campaigns/${made.draft}`,
    "/campaigns/new", `/campaigns/${made.draft}/edit`,
    `/campaigns/${made.campaign}/messages`, "/leads", `/leads/${made.lead}`, `/leads/chosen?lead=${made.lead}`, "/searches", "/notifications", "/settings", "/settings/sessions"],
  ["/settings/people", "/settings/keys", "/settings/webhooks", `/settings/webhooks/${made.hook}`, "/settings/strategy", "/settings/senders", `/settings/senders/${made.sender}`,
    "/billing/plan", "/billing/plan?plan=scale", "/billing/payments", "/billing/payments?below=90000000&pack=pack_1000&most=3", "/billing/statements/1"],
];
const OPERATORS = ["/admin", "/admin/unconfirmed", "/admin/margin", "/admin/deliveries", "/admin/health", "/admin/log"];
const named = (path) => path.replace(/(camp|whe|sender|lead)_[^/]*/, "{id}");

/** Every page of a workspace as its Admin, as a Member and as nobody; those of the operator. */
async function everyPage(server, made, operator) {
  const balance = await made.balance();
  const [everybodys, admins] = pagesOf(made);
  const admin = await signIn(browser, await made.link("admin"));
  for (const path of [...everybodys, ...admins]) await look(admin, `Admin, ${named(path)}`, server.url + path, { balance });
  await look(admin, "a day that is none", `${server.url}/billing?from=2026-13-01`, { balance, status: 422 });
  await look(admin, "404", `${server.url}/nothing-here`, { balance, status: 404 });
  const topup = await server.api("POST", `${made.path}/topups`, { pack: "pack_1000" });
  await look(admin, "checkout", topup.checkout_url);
  const member = await signIn(browser, await made.link("member"));
  for (const path of everybodys) await look(member, `Member, ${named(path)}`, server.url + path, { balance });
  for (const path of admins) {
    await look(member, `Member, ${named(path)}`, server.url + path, { balance, status: 403, drawn: path === admins[0] });
  }
  const nobody = await browser.newContext();
  for (const path of [...everybodys, ...admins, ...OPERATORS]) {
    await look(nobody, `nobody, ${named(path)}`, server.url + path, { status: 401, drawn: path === everybodys[0] });
  }
  for (const context of [admin, member, nobody]) await context.close();
  for (const path of [...OPERATORS, `/admin/workspaces/${made.id}`]) {
    await look(operator, path.replace(made.id, "{id}"), server.url + path);
  }
  await operator.close();
}

/** The Billing page in each state of a balance. */
async function everyState(server) {
  for (const [name, credits, used] of [["healthy", 6_400, 0], ["low", 1_000, 410], ["critical", 1_000, 480], ["out", 500, 250], ["empty", 0, 0]]) {
    const made = await workspace(server, `State ${name}`, credits);
    if (used > 0) await charge(server, made, "email_send", used);
    const balance = await made.balance();
    const context = await signIn(browser, await made.link("admin"));
    if (name !== "empty") check(`${name}: the API says so`, balance.state === name, balance.state);
    await look(context, `/billing, ${name}`, `${server.url}/billing`, { balance });
    await context.close();
  }
}

try {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
  await part("the demo, live", () => playDemo(browser, binary));
  const box = await mailbox();
  const server = await serve(binary, undefined, box.url);
  // Its link is good for 15 minutes, and the clock moves on.
  const operator = await signIn(browser, server.operatorLink);
  await part("the first Admin of a new server", () => firstAdmin(browser, server));
  const made = await busy(server);
  await part("a charge shows at once, a purchase too", () => buyLive(browser, server));
  await part("members", () => member(browser, server));
  await part("without JavaScript", () => buyByForms(browser, server));
  await part("a campaign built without JavaScript", () => buildByForms(browser, server));
  await part("leads chosen without JavaScript", () => chooseByForms(browser, server));
  let chipPage;
  await part("in another product's page", async () => { chipPage = await embedded(browser, server); });
  await look(await browser.newContext(), "embedded chip", chipPage);
  await part("in by mail", () => byMail(browser, server, box));
  await look(await browser.newContext(), "/sign-in", `${server.url}/sign-in`);
  await part("every page", () => everyPage(server, made, operator));
  await part("every state", () => everyState(server));
  if (process.argv[3]) {
    await part("with Stripe's pages", () => buyWithStripe(browser, binary, resolve(process.argv[3])));
  }
  check("the server ends cleanly", await stop(server));
} catch (error) {
  check("the walk goes on to its end", false, error.message);
}
await end(close());
