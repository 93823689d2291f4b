// When the Billing page is on the screen, on a processor as slow as Lighthouse's: `node paint.mjs BINARY`.
//
// Prints figures and checks nothing: they depend on the machine.

import { resolve } from "node:path";

import { chromium } from "playwright-core";

import { signIn } from "./pages.mjs";
import { busy, endAll, serve } from "./world.mjs";

const LOOKS = 9;
/** How many times slower: 4 is what Lighthouse takes for a phone. */
const SLOWER = [1, 4];

const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];

/** First and largest paint of a first visit, in milliseconds from the beginning of the navigation. */
async function paints(browser, link, url, slower) {
  const context = await signIn(browser, link);
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.setCacheDisabled", { cacheDisabled: true });
  await session.send("Emulation.setCPUThrottlingRate", { rate: slower });
  await page.goto(url, { waitUntil: "load" });
  const times = await page.evaluate(() => new Promise((done) => {
    new PerformanceObserver((list) => {
      const [first] = performance.getEntriesByName("first-contentful-paint");
      done([first.startTime, list.getEntries().at(-1).startTime]);
    }).observe({ type: "largest-contentful-paint", buffered: true });
  }));
  await context.close();
  return times;
}

try {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const server = await serve(resolve(process.argv[2] ?? "target/release/scrip"));
  const made = await busy(server);
  console.log("| processor | first paint, median ms | slowest ms | largest paint, median ms | slowest ms |\n|---|---|---|---|---|");
  for (const slower of SLOWER) {
    const looks = [];
    for (let look = 0; look < LOOKS; look += 1) {
      looks.push(await paints(browser, await made.link("admin"), `${server.url}/billing`, slower));
    }
    const [first, largest] = [0, 1].map((which) => looks.map((times) => Math.round(times[which])));
    const name = slower === 1 ? "as it is" : `${slower} times slower`;
    console.log(`| ${name} | ${median(first)} | ${Math.max(...first)} | ${median(largest)} | ${Math.max(...largest)} |`);
  }
  await browser.close();
} finally {
  endAll();
}
