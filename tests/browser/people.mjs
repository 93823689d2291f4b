// What people do: look on while credits go, buy some, ask for some; with and without JavaScript.

import { chip, signIn, tab } from "./pages.mjs";
import { check } from "./report.mjs";
import { charge, workspace } from "./world.mjs";

/** How soon a change shows, in milliseconds. */
const SOON = 2_000;

/** Waits until an open page shows a balance, without loading it again. */
export function shows(page, available, timeout) {
  return page.locator(`#chip[data-available="${available}"]`).waitFor({ state: "attached", timeout }).then(() => true, () => false);
}

/** Waits until a part of an open page says this. */
function says(page, part, words) {
  return page.locator(part, { hasText: words }).waitFor({ timeout: SOON }).then(() => true, () => false);
}

/** Orders the pack of so many credits and pays for it. */
export async function buy(page, pack) {
  await page.locator(`input[name=pack][value=${pack}]`).check();
  await page.locator("#buy form.choose button").click();
  await page.waitForURL(/\/checkout\//);
  await page.getByRole("button", { name: "Pay" }).click();
  await page.waitForURL(/\/billing/);
}

/** A charge over the API and a purchase in one tab show in another tab that is not loaded again. */
export async function buyLive(browser, server) {
  const made = await workspace(server, "Live", 1_000);
  const context = await signIn(browser, await made.link("admin"));
  const [watching, buying] = [await tab(context), await tab(context)];
  // A slow network: the script that listens comes long after the one that it extends.
  await watching.page.route("**/hx-sse.min.js", (route) => setTimeout(() => void route.continue(), 300));
  await watching.page.goto(`${server.url}/campaigns`);
  await watching.page.evaluate(() => { window.untouched = true; });
  await buying.page.goto(`${server.url}/billing`);
  await watching.page.waitForTimeout(300);
  await charge(server, made, "email_send", 420);
  check("live: a charge shows within 2 seconds", await shows(watching.page, 160, SOON), JSON.stringify(await chip(watching.page)));
  check("live: so does the state", (await chip(watching.page)).state === "low");
  check("live: and the words", /160 credits · low/.test(await watching.page.locator("#chip").innerText()));
  check("live: and the banner", /running low/.test(await watching.page.locator("#banner").innerText()));
  check("live: the figure on Billing is the chip's", await says(buying.page, "#available-now", /^160$/));
  check("live: so is all else on Billing", /Total\s+160\s/.test(await buying.page.locator("#now").innerText()));
  await buy(buying.page, "pack_5000");
  check("live: a purchase shows in the other tab", await shows(watching.page, 5_160, SOON));
  check("live: the page was not loaded again", await watching.page.evaluate(() => window.untouched === true));
  check("live: the API agrees", (await made.balance()).available === 5_160);
  const complaints = [...watching.complaints, ...buying.complaints];
  check("live: nothing on the console", complaints.length === 0, complaints.join(" | "));
  const open = buying.page.locator("details.balance");
  await open.locator("summary").click();
  check("live: the chip unfolds", await open.locator(".popover").isVisible());
  await buying.page.keyboard.press("Escape");
  check("live: Escape folds it", !(await open.locator(".popover").isVisible()));
  await context.close();
}

/** A member sees everything and buys nothing. */
export async function member(browser, server) {
  const made = await workspace(server, "Members", 40);
  await charge(server, made, "email_send", 20);
  const context = await signIn(browser, await made.link("member"));
  const { page, complaints } = await tab(context);
  await page.goto(`${server.url}/billing`);
  check("member: no buy form", (await page.locator('form[action="/billing/topups"], input[name=pack]').count()) === 0);
  check("member: no buy link", (await page.getByRole("link", { name: "Buy credits" }).count()) === 0);
  await page.locator("#banner").getByRole("button", { name: "Ask an admin" }).click();
  await page.waitForURL(/\/billing/);
  check("member: is told that the admins were asked", /admins were asked/.test(await page.locator("main").innerText()));
  const notices = await server.api("GET", `${made.path}/notifications`);
  check("member: the admins have a notice", notices.items.some((notice) => /member@example.com asks/.test(notice.title)));
  const forged = await context.request.post(`${server.url}/billing/topups`, { form: { pack: "pack_1000", form_key: "a1" } });
  check("member: an order by hand is refused", forged.status() === 403, forged.status());
  check("member: nothing on the console", complaints.length === 0, complaints.join(" | "));
  await context.close();
}

/** Buying by plain forms, and a declined payment. */
export async function buyByForms(browser, server) {
  const made = await workspace(server, "Plain", 10);
  const context = await signIn(browser, await made.link("admin"), { javaScriptEnabled: false });
  const { page } = await tab(context);
  await page.goto(`${server.url}/billing`);
  await buy(page, "pack_1000");
  check("plain: the credits are there", (await chip(page)).available === 1_010);
  check("plain: the page says what came", /1,000 credits/.test(await page.locator("main .banner").first().innerText()));
  check("plain: the history has the line", /Credits bought/.test(await page.locator("#history").innerText()));
  await page.locator("#buy form.choose button").click();
  await page.waitForURL(/\/checkout\//);
  await page.getByLabel("Card that is declined").check();
  await page.getByRole("button", { name: "Pay" }).click();
  await page.waitForURL(/\/billing/);
  check("plain: a declined payment adds nothing", (await chip(page)).available === 1_010);
  check("plain: and says so", /declined/.test(await page.locator("main").innerText()));
  await page.locator("details.balance summary").click();
  check("plain: the chip unfolds", await page.locator("details.balance .popover").isVisible());
  for (const path of ["campaigns", "leads", "searches", "notifications", "settings"]) {
    const answer = await page.goto(`${server.url}/${path}`);
    check(`plain: /${path} has its balance`, answer.status() === 200 && (await chip(page)).available === 1_010);
  }
  await context.close();
}

/** A campaign is built and launched by forms alone. */
export async function buildByForms(browser, server) {
  const made = await workspace(server, "Builder", 500);
  await server.api("POST", `${made.path}/leads`, { leads: [1, 2, 3].map((n) => ({ name: `Lead 000${n}`, email: `lead.000${n}@example.com`, email_verified: true })) });
  const context = await signIn(browser, await made.link("member"), { javaScriptEnabled: false });
  const { page } = await tab(context);
  const press = async (name) => { await page.getByRole("button", { name }).click(); await page.waitForLoadState(); };
  await page.goto(`${server.url}/campaigns`);
  await page.getByRole("link", { name: "New campaign" }).click();
  await page.getByLabel("Name", { exact: true }).fill("Built by forms");
  await page.getByLabel("Text, or instructions").fill("Hello {{name");
  await press("Add a step");
  check("builder: a second step is there", (await page.locator("fieldset.step").count()) === 2);
  check("builder: and its day", /day 4/.test(await page.locator("fieldset.step legend").last().innerText()));
  await press("Remove step 2");
  check("builder: and gone again", (await page.locator("fieldset.step").count()) === 1);
  await press("Save as a draft");
  check("builder: what is wrong is said", /not closed/.test(await page.locator("#wrong").innerText()));
  check("builder: what was typed is kept", (await page.getByLabel("Name", { exact: true }).inputValue()) === "Built by forms");
  await page.getByLabel("Text, or instructions").fill("Hello {{name}}");
  await page.getByLabel("Name", { exact: true }).press("Enter");
  await page.waitForLoadState();
  check("builder: Enter shows the estimate", /for 3 leads/.test(await page.locator("main").innerText()));
  await press("Save as a draft");
  await page.waitForURL(/\/campaigns\/camp_/);
  check("builder: the leads are in it", /Lead 0003/.test(await page.locator("#leads").innerText()));
  await press("Launch: free");
  check("builder: it is launched", /launched/.test(await page.locator("main").innerText()));
  const { items } = await server.api("GET", `${made.path}/campaigns`);
  check("builder: the API agrees", items.length === 1 && items[0].name === "Built by forms" && items[0].status !== "draft", items[0]?.status);
  await context.close();
}

/** A Member chooses leads and adds them to a campaign, without a script. */
export async function chooseByForms(browser, server) {
  const made = await workspace(server, "Chooser", 500);
  await server.api("POST", `${made.path}/leads`, { leads: [1, 2, 3].map((n) => ({ name: `Lead 000${n}` })) });
  const step = { channel: "email", after_days: 0, condition: "always", subject: "Hello", template: "Hello {{name}}", generate: false };
  const { id } = await server.api("POST", `${made.path}/campaigns`, { name: "Takes leads", enrich: [], steps: [step] });
  const context = await signIn(browser, await made.link("member"), { javaScriptEnabled: false });
  const { page } = await tab(context);
  await page.goto(`${server.url}/leads`);
  for (const name of ["Lead 0001", "Lead 0003"]) await page.getByRole("checkbox", { name: `Choose ${name}` }).check();
  await page.getByRole("button", { name: /Look up or add/ }).click();
  await page.waitForURL(/\/leads\/chosen\?/);
  check("chosen: how many is said", /2 leads chosen/.test(await page.locator("h1").innerText()));
  await page.getByRole("button", { name: "Add 2 leads" }).click();
  await page.waitForURL(/\/campaigns\/camp_/);
  check("chosen: the campaign has them", /2 leads added/.test(await page.locator("main").innerText()));
  const inside = await server.api("GET", `/v1/campaigns/${id}/leads`);
  check("chosen: the API agrees", inside.items.length === 2, inside.items.length);
  await page.getByRole("link", { name: "Lead 0003" }).click();
  await page.getByRole("button", { name: "They replied" }).click();
  check("chosen: a reply is noted", /Replied: nothing more/.test(await page.locator("main").innerText()));
  await context.close();
}
