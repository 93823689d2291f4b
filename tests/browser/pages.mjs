// What must hold on every page, in both themes, wide and narrow.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { check } from "./report.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = [1440, 360];
const THEMES = ["light", "dark"];

/** A tab that collects what the browser complains of. */
export async function tab(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // The status of the page itself is no complaint: it is checked where it is expected.
    const own = message.text().startsWith("Failed to load resource") && message.location().url === page.url();
    if (message.type() === "error" && !own) complaints.push(message.text());
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  return { page, complaints };
}

/** Signs a context in by a link. */
export async function signIn(browser, link, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await page.goto(link);
  await page.close();
  return context;
}

/** The numbers of the chip. */
export async function chip(page) {
  const found = page.locator("#chip");
  return { available: Number(await found.getAttribute("data-available")), state: await found.getAttribute("data-state") };
}

/**
 * Looks at one address. `balance` is the API's; null where no workspace is on the page. `drawn` is false where the same
 * was looked at before, at another address: how it is drawn is not asked again.
 */
export async function look(context, name, url, { balance = null, status = 200, state, drawn = true } = {}) {
  const { page, complaints } = await tab(context);
  const answer = await page.goto(url);
  check(`${name}: status ${status}`, answer.status() === status, answer.status());
  check(`${name}: one h1`, (await page.locator("h1").count()) === 1);
  if (balance) {
    const shown = await chip(page);
    check(`${name}: the chip is the balance`, shown.available === balance.available, JSON.stringify(shown));
    check(`${name}: the chip's state`, shown.state === (state ?? balance.state), `${shown.state}, not ${balance.state}`);
  }
  if (drawn) await draw(page, name);
  check(`${name}: nothing on the console`, complaints.length === 0, complaints.join(" | "));
  await page.close();
}

/** In both themes, wide and narrow. */
async function draw(page, name) {
  await page.evaluate(AXE);
  for (const colorScheme of THEMES) {
    // Without motion colours change at once: what is measured is where they come to rest.
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      const whole = (colorScheme === "light") === (width === WIDTHS[0]);
      await fits(page, `${name}, ${colorScheme}, ${width} px`, whole);
    }
  }
}

/** What a theme and a width can change; everything else is asked once in each. */
const SEEN = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"];

async function fits(page, name, whole) {
  const wide = await page.evaluate(() => {
    const root = document.documentElement;
    return root.scrollWidth > root.clientWidth ? `${root.scrollWidth} px` : "";
  });
  check(`${name}: no sideways scroll`, wide === "", wide);
  const cut = await page.locator("#history .scroll").evaluateAll((all) => all.some((it) => it.scrollWidth > it.clientWidth));
  check(`${name}: the history is not cut off`, !cut);
  const violations = await page.evaluate(async (only) => {
    const result = await axe.run(document, { resultTypes: ["violations"], ...(only && { runOnly: only }) });
    return result.violations.map((it) => `${it.id} at ${it.nodes.map((node) => node.target).slice(0, 3).join(", ")}`);
  }, whole ? null : SEEN);
  check(`${name}: axe`, violations.length === 0, violations.join(" | "));
}
