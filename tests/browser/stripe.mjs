// Buying with Stripe's pages between ours, as the stand-in shows them.

import { signIn, tab } from "./pages.mjs";
import { check } from "./report.mjs";
import { serve, start, stop, workspace } from "./world.mjs";

/** From Billing to the provider's page, through the bank's question, and back to the credits. */
export async function buyWithStripe(browser, binary, fakeBinary) {
  const { match } = await start(fakeBinary, [], /(http:\S+)/);
  const stripe = match[1];
  const told = async (order) => {
    const headers = { "content-type": "application/json" };
    return (await fetch(`${stripe}/_fake`, { method: "POST", headers, body: JSON.stringify(order) })).json();
  };
  await told({ do: "now", seconds: Date.parse("2027-01-31T10:00:00Z") / 1_000 });
  const keys = 'secret_key = "sk_test_fake"\nwebhook_secrets = ["whsec_fake"]';
  const server = await serve(binary, `kind = "stripe"\n${keys}\napi_url = "${stripe}"`);
  await told({ do: "endpoint", url: `${server.url}/v1/payments/stripe/events` });
  const made = await workspace(server, "Stripe", 0);
  const context = await signIn(browser, await made.link("admin"));
  const { page, complaints } = await tab(context);
  await page.goto(`${server.url}/billing`);
  await page.locator("input[name=pack][value=pack_1000]").check();
  await page.locator("#buy form.choose button").click();
  await page.waitForURL(/\/c\/pay\//);
  await page.locator("select[name=card]").selectOption("4000002500003155");
  await page.getByRole("button", { name: "Pay" }).click();
  await page.getByRole("button", { name: "Yes" }).click();
  await page.waitForURL(/\/billing/);
  // Whoever comes back from paying finds the credits, because Stripe was asked; the events say nothing new.
  check("stripe: the credits are there", (await made.balance()).available === 1_000);
  const { statuses } = await told({ do: "deliver" });
  check("stripe: every event is taken", statuses.length > 0 && statuses.every((status) => status === 200), statuses.join(" "));
  check("stripe: and they came once", (await made.balance()).available === 1_000);
  await page.goto(`${server.url}/billing/payments`);
  check("stripe: the card is kept", /Visa 3155/.test(await page.locator("main").innerText()));
  await page.getByRole("button", { name: "Change it" }).click();
  await page.waitForURL(/\/p\/session\//);
  check("stripe: nothing on the console", complaints.length === 0, complaints.join(" | "));
  await context.close();
  check("stripe: the server ends cleanly", await stop(server));
}
