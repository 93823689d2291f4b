// The demo as its printed link promises it: campaigns run dry, a pack is bought, they go on, all of it live.

import { chip, look, signIn, tab } from "./pages.mjs";
import { buy } from "./people.mjs";
import { check } from "./report.mjs";
import { demo, stop } from "./world.mjs";

/** How long the campaigns may take to use the first credits, in milliseconds. */
const DRY = 60_000;

export async function playDemo(browser, binary) {
  const world = await demo(binary);
  const origin = new URL(world.link).origin;
  const context = await signIn(browser, world.link);
  const [watching, buying] = [await tab(context), await tab(context)];
  await watching.page.goto(`${origin}/campaigns`);
  await watching.page.evaluate(() => { window.untouched = true; });
  const states = watching.page.locator("td .state");
  check("demo: two campaigns", (await states.count()) === 2);

  await watching.page.locator('#chip[data-state="out"]').waitFor({ state: "attached", timeout: DRY }).catch(async () => {
    const shown = JSON.stringify(await chip(watching.page));
    throw new Error(`the chip is not out but ${shown}; the demo printed:\n${world.printed().slice(-600)}`);
  });
  await watching.page.locator("td .state.paused").nth(1).waitFor();
  const words = await watching.page.locator("#chip").innerText();
  check("demo: the chip says what is needed", /campaigns paused \(next step needs [\d,]+\)/.test(words), words);
  const banner = await watching.page.locator("#banner").innerText();
  check("demo: the banner says what paused", /Out of credits\. 2 campaigns are paused at their current step\./.test(banner), banner);
  check("demo: and that nothing is lost", /Nothing is lost: [\d,]+ leads keep their place\./.test(banner), banner);
  check("demo: each campaign says why", /next step needs/.test(await states.first().innerText()));

  await buying.page.goto(`${origin}/billing`);
  check("demo: out on Billing too", (await chip(buying.page)).state === "out");
  check("demo: buying says what resumes", /Resumes 2 campaigns\./.test(await buying.page.locator("#buy").innerText()));
  const before = (await chip(buying.page)).available;
  const campaign = await tab(context);
  await campaign.page.goto(origin + (await watching.page.locator("tbody a").first().getAttribute("href")));
  await campaign.page.evaluate(() => { window.untouched = true; });
  const used = { list: watching.page.locator("tbody td:last-child").first(), page: campaign.page.locator("#progress .figures dd").last() };
  const at = { list: await used.list.innerText(), page: await used.page.innerText() };
  await buy(buying.page, "pack_5000");

  await watching.page.locator('#chip:not([data-state="out"])').waitFor({ state: "attached" });
  await watching.page.locator("td .state.active").nth(1).waitFor();
  check("demo: both campaigns resume in the other tab", (await watching.page.locator("td .state.active").count()) === 2);
  check("demo: without loading it again", await watching.page.evaluate(() => window.untouched === true));
  const first = (await chip(watching.page)).available;
  check("demo: the credits came once", first > before && first <= before + 5_000, `${before}, then ${first}`);
  const until = Date.now() + 10_000;
  while ((await chip(watching.page)).available >= first && Date.now() < until) await watching.page.waitForTimeout(100);
  check("demo: the campaigns go on", (await chip(watching.page)).available < first);
  for (const place of ["list", "page"]) {
    while ((await used[place].innerText()) === at[place] && Date.now() < until) await watching.page.waitForTimeout(100);
    check(`demo: the ${place} follows what is used`, (await used[place].innerText()) !== at[place], at[place]);
  }
  check("demo: nor was the campaign's page loaded again", await campaign.page.evaluate(() => window.untouched === true));
  await buying.page.goto(`${origin}/billing`);
  const history = await buying.page.locator("#history").innerText();
  check("demo: the history names leads and campaigns", /(Four|Two) steps/.test(history) && !/camp_|lead_/.test(history), history.slice(0, 300));
  const complaints = [...watching.complaints, ...buying.complaints, ...campaign.complaints];
  check("demo: nothing on the console", complaints.length === 0, complaints.join(" | "));
  await look(context, "demo, /searches", `${origin}/searches`);
  await context.close();
  check("demo: it ends cleanly", await stop(world));
}
