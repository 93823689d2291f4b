// A mail server that keeps what it gets, and signing in with a link from it.

import { once } from "node:events";
import { createServer } from "node:net";

import { look, tab } from "./pages.mjs";
import { check } from "./report.mjs";
import { workspace } from "./world.mjs";

/** Speaks as much SMTP as it takes to get a mail. */
export async function mailbox() {
  const mails = [];
  const server = createServer((socket) => {
    let mail = null;
    let rest = "";
    const say = (line) => socket.write(`${line}\r\n`);
    const hear = (line) => {
      if (mail !== null) {
        if (line !== ".") return void (mail += `${line}\n`);
        // Long lines come broken.
        mails.push(mail.replaceAll("=\n", ""));
        mail = null;
        return say("250 taken");
      }
      const word = line.slice(0, 4).toUpperCase();
      if (word === "DATA") mail = "";
      say(word === "DATA" ? "354 go on" : word === "QUIT" ? "221 bye" : "250 well");
    };
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      const lines = (rest + chunk).split("\r\n");
      rest = lines.pop();
      lines.forEach(hear);
    });
    say("220 here");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `smtp://127.0.0.1:${server.address().port}?tls=off`, mails, close: () => server.close() };
}

/** Signs in by mail and goes to another workspace, without JavaScript. */
export async function byMail(browser, server, box) {
  const [first, second] = [await workspace(server, "First", 100), await workspace(server, "Second", 2_000)];
  const context = await browser.newContext({ javaScriptEnabled: false });
  const { page } = await tab(context);
  await page.goto(`${server.url}/billing`);
  await page.getByRole("link", { name: "Sign in with your e-mail address" }).click();
  await page.getByLabel("Your e-mail address").fill("admin@example.com");
  await page.getByRole("button", { name: "Mail me a link" }).click();
  check("mail: the page says what happens next", /a link is on its way/.test(await page.locator("main").innerText()));
  box.mails.length = 0;
  await server.api("POST", "/v1/clock/advance", { seconds: 0 });
  const link = box.mails.map((mail) => /http\S+\/sign-in\/\w+/.exec(mail)?.[0]).find(Boolean);
  check("mail: a link came", link !== undefined, box.mails.join("\n"));
  await look(await browser.newContext(), "/sign-in/{link}", link);
  await page.goto(link);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/billing/);
  await page.locator("a.workspace").click();
  const others = page.getByRole("row", { name: /^(First|Second)/ });
  check("mail: both workspaces are listed", (await others.count()) === 2);
  const same = await browser.newContext({ storageState: await context.storageState() });
  await look(same, "/workspaces", `${server.url}/workspaces`);
  await same.close();
  await password(browser, server, page, context);
  await page.goto(`${server.url}/workspaces`);
  await others.filter({ has: page.getByRole("button") }).first().getByRole("button").click();
  await page.waitForURL(/\/billing/);
  await page.goto(`${server.url}/settings/people`);
  await page.getByLabel("E-mail address").fill("ben@example.com");
  await page.getByRole("button", { name: "Invite" }).click();
  check("mail: somebody is invited", /ben@example.com/.test(await page.locator("table").innerText()));
  await context.close();
  return [first, second];
}

/** Sets a password, signs in with it, and mistypes it on the way; without JavaScript. */
async function password(browser, server, page, context) {
  const secret = "four plain words here";
  await page.goto(`${server.url}/settings`);
  await page.getByRole("link", { name: "Password" }).click();
  await page.getByLabel("New password").fill(secret);
  await page.getByRole("button", { name: "Set password" }).click();
  check("password: it is set", /The password is set/.test(await page.locator("main").innerText()));
  const same = await browser.newContext({ storageState: await context.storageState() });
  await look(same, "/settings/password", `${server.url}/settings/password`);
  await same.close();
  await page.goto(`${server.url}/settings`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in with your e-mail address" }).click();
  await page.getByLabel("Your e-mail address").fill("admin@example.com");
  await page.getByLabel("Password").fill("four plain words there");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  check("password: a wrong one is told beside the field", /do not belong together/.test(await page.locator("#wrong-password").innerText()));
  check("password: the address stays", (await page.getByLabel("Your e-mail address").inputValue()) === "admin@example.com");
  await page.getByLabel("Password").fill(secret);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL(/\/billing/);
  await page.goto(`${server.url}/settings/password`);
  await page.getByLabel("Password now", { exact: true }).fill("not this one at all");
  await page.getByLabel("New password").fill(secret);
  await page.getByRole("button", { name: "Change password" }).click();
  check("password: a change asks for the one now", /not your password/.test(await page.locator("#wrong-current").innerText()));
}

/** The first Admin of a new server, who has the link that it printed; without JavaScript. */
export async function firstAdmin(browser, server) {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const { page } = await tab(context);
  await page.goto(server.operatorLink);
  await page.getByRole("link", { name: "Make the first one here" }).click();
  const operator = await browser.newContext({ storageState: await context.storageState() });
  await look(operator, "/sign-up", `${server.url}/sign-up`);
  await operator.close();
  await page.getByLabel("Name of the workspace").fill("The first");
  await page.getByLabel("Your e-mail address").fill("first@example.com");
  await page.getByLabel("Password").fill("four plain words here");
  await page.getByRole("button", { name: "Make the workspace" }).click();
  await page.waitForURL(/\/billing/);
  await page.goto(`${server.url}/settings/keys`);
  await page.getByLabel("What it is for").fill("The till");
  await page.getByLabel("It may").selectOption("read");
  await page.getByRole("button", { name: "Make key" }).click();
  check("first: a key that reads", /key_\w+\.\w{64}/.test(await page.locator("main").innerText()));
  check("first: and is listed with its scope", (await page.getByRole("cell", { name: "read", exact: true }).count()) === 1);
  await context.close();
}
