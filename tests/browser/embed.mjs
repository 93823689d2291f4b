// A host product's own page with our chip in it: as a frame without any script, and as a web component.

import { createServer } from "node:http";
import { once } from "node:events";

import { tab } from "./pages.mjs";
import { check } from "./report.mjs";
import { charge, workspace } from "./world.mjs";

/** A site of somebody else's, with a policy that allows ours in and nothing more. */
async function site(scrip, page) {
  const policy = `default-src 'none'; script-src ${scrip}; connect-src ${scrip}; frame-src ${scrip}`;
  const server = createServer((_, answer) => {
    answer.writeHead(200, { "content-type": "text/html", "content-security-policy": policy });
    answer.end(page());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

export async function embedded(browser, server) {
  const made = await workspace(server, "Embedded", 1_000);
  let token;
  const page = () => `<!doctype html><html lang="en"><title>Host</title><main><h1>Host</h1>
    <iframe title="Credits" src="${token.chip_url}" width="300" height="44"></iframe>
    <scrip-balance src="${token.events_url.replaceAll("&", "&amp;")}"></scrip-balance></main>
    <script type="module" src="${token.script_url}"></script></html>`;
  const [host, stranger] = [await site(server.url, page), await site(server.url, page)];
  try {
    token = await server.api("POST", `${made.path}/embed_tokens`, { origins: [host.origin] });
    const context = await browser.newContext({ colorScheme: "dark" });
    const { page: shown, complaints } = await tab(context);
    await shown.goto(host.origin);
    const frame = shown.frameLocator("iframe");
    check("embed: the frame has the balance", (await frame.locator("#chip").getAttribute("data-available")) === "1000");
    check("embed: in words", /1,000 credits/.test(await frame.locator("#chip").innerText()));
    const live = shown.locator("scrip-balance");
    await live.getByText("1,000 credits").waitFor();
    await shown.evaluate(() => addEventListener("scrip-balance", (event) => { window.told = event.detail; }));
    await charge(server, made, "email_send", 420);
    await live.getByText("160 credits · low").first().waitFor({ timeout: 3_000 });
    check("embed: the component is live", (await live.getAttribute("state")) === "low");
    check("embed: and tells its page", (await shown.evaluate(() => window.told.available)) === 160);
    check("embed: nothing on the console", complaints.length === 0, complaints.join(" | "));
    await shown.reload();
    check("embed: the frame too, at its next look", (await frame.locator("#chip").getAttribute("data-state")) === "low");

    await shown.goto(stranger.origin);
    await live.getByText("credits not known").waitFor();
    check("embed: another site sees no number", !/\d/.test(await live.innerText()));
    check("embed: nor a frame", (await frame.locator("#chip").count()) === 0);
    await context.close();

    const plain = await browser.newContext({ javaScriptEnabled: false });
    const { page: quiet } = await tab(plain);
    await quiet.goto(host.origin);
    check("embed: the frame needs no script", /160 credits · low/.test(await quiet.frameLocator("iframe").locator("#chip").innerText()));
    await plain.close();
    return token.chip_url;
  } finally {
    host.close();
    stranger.close();
  }
}
