// Stripe's own Node SDK against the stand-in: `check.mjs FAKE_STRIPE`, where FAKE_STRIPE is its binary.
// The same stories as in check.py, as far as another SDK may read them differently: errors, keys, pages of lists, signatures.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import Stripe from "stripe";

const process_ = spawn(process.argv[2], { stdio: ["ignore", "pipe", "inherit"] });
const [line] = await once(process_.stdout, "data");
const base = new URL(line.toString().trim());
const client = (key) =>
  new Stripe(key, { protocol: "http", host: base.hostname, port: base.port, maxNetworkRetries: 0 });
const stripe = client("sk_test_fake");

const told = async (order) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(new URL("/_fake", base), { method: "POST", headers, body: JSON.stringify(order) });
  assert.equal(answer.status, 200, JSON.stringify(order));
  return answer.json();
};
const refused = (call, type, facts) => assert.rejects(call, (error) => {
  assert.equal(error.type, type);
  for (const [name, wanted] of Object.entries(facts)) assert.equal(error[name], wanted, name);
  return true;
});

try {
  assert.equal((await stripe.accounts.retrieveCurrent()).id, "acct_fake");
  await refused(() => client("sk_test_other").accounts.retrieveCurrent(), "StripeAuthenticationError", { statusCode: 401 });

  // A checkout without a customer makes one, and keeps the card.
  const session = await stripe.checkout.sessions.create({
    mode: "payment",
    customer_creation: "always",
    customer_email: "lead0001@example.com",
    line_items: [{ quantity: 1, price_data: { currency: "eur", unit_amount: 4900, product_data: { name: "5,000 credits" } } }],
    payment_intent_data: { setup_future_usage: "off_session", metadata: { ours: "1" } },
    success_url: "https://example.com/back",
    metadata: { ours: "1" },
  });
  assert.equal((await told({ do: "pay", session: session.id, card: "4000000000000002" })).shown, "form");
  assert.equal((await told({ do: "pay", session: session.id, card: "4000002500003155" })).shown, "question");
  assert.equal((await told({ do: "authenticate", session: session.id, answer: "complete" })).shown, "on");
  const paid = await stripe.checkout.sessions.retrieve(session.id, { expand: ["payment_intent.latest_charge"] });
  const intent = paid.payment_intent;
  assert.deepEqual([paid.payment_status, intent.status, intent.amount_received, intent.currency], ["paid", "succeeded", 4900, "eur"]);
  assert.equal(intent.customer, paid.customer);
  const saved = { customer: paid.customer, payment_method: intent.payment_method, currency: "eur", off_session: true, confirm: true };

  // The same key is the same charge; other parameters are refused; a lost answer is no second charge.
  const charge = (amount, idempotencyKey) => stripe.paymentIntents.create({ ...saved, amount }, { idempotencyKey });
  const first = await charge(100, "key-1");
  assert.equal((await charge(100, "key-1")).id, first.id);
  await refused(() => charge(200, "key-1"), "StripeIdempotencyError", { statusCode: 400 });
  await told({ do: "close", request: "POST /v1/payment_intents" });
  // This SDK tries a connection that was closed once more by itself.
  await charge(300, "key-2");
  const all = [];
  for await (const one of stripe.paymentIntents.list({ customer: paid.customer, limit: 1 })) all.push(one.amount);
  assert.deepEqual(all, [300, 100, 4900]);

  for (const [card, code] of [["pm_card_visa_chargeDeclined", "card_declined"], ["pm_card_authenticationRequired", "authentication_required"]]) {
    const method = await stripe.paymentMethods.attach(card, { customer: paid.customer });
    const declined = () => stripe.paymentIntents.create({ ...saved, payment_method: method.id, amount: 500 });
    await refused(declined, "StripeCardError", { statusCode: 402, code });
  }
  await told({ do: "fail", request: "POST /v1/refunds", status: 429, times: 1 });
  const refund = () => stripe.refunds.create({ payment_intent: first.id }, { idempotencyKey: "refund-1" });
  await refused(refund, "StripeRateLimitError", { statusCode: 429 });
  assert.deepEqual([(await refund()).status, (await refund()).amount], ["succeeded", 100]);
  await refused(() => stripe.refunds.create({ payment_intent: first.id }), "StripeInvalidRequestError", { code: "charge_already_refunded" });
  const { dispute } = await told({ do: "dispute", intent: intent.id });
  assert.equal((await stripe.disputes.retrieve(dispute)).status, "needs_response");
  await told({ do: "win_dispute", dispute });
  assert.equal((await stripe.disputes.list({ payment_intent: intent.id })).data[0].status, "won");
  assert.ok((await stripe.billingPortal.sessions.create({ customer: paid.customer })).url);

  // Stripe Tax adds to the price what the page comes to.
  const taxed = await stripe.checkout.sessions.create({
    mode: "payment",
    automatic_tax: { enabled: true },
    line_items: [{ quantity: 1, price_data: { currency: "eur", unit_amount: 1005, tax_behavior: "exclusive", product_data: { name: "1,000 credits" } } }],
    success_url: "https://example.com/back",
  });
  await told({ do: "pay", session: taxed.id, card: "4242424242424242" });
  const { amount_subtotal, amount_total, total_details } = await stripe.checkout.sessions.retrieve(taxed.id);
  assert.deepEqual([amount_subtotal, total_details.amount_tax, amount_total], [1005, 201, 1206]);

  // A plan of Stripe's own renews by itself, with an invoice for each period, and ends with one.
  const product = await stripe.products.create({ name: "Small" });
  const price = await stripe.prices.create({ product: product.id, currency: "eur", unit_amount: 700, recurring: { interval: "week" } });
  const begin = Math.floor(Date.now() / 1000);
  const week = 7 * 86_400;
  await told({ do: "now", seconds: begin });
  const plan = await stripe.subscriptions.create({ customer: paid.customer, items: [{ price: price.id }], default_payment_method: intent.payment_method });
  assert.equal(plan.items.data[0].current_period_end, begin + week);
  await told({ do: "now", seconds: begin + 2 * week });
  await stripe.subscriptions.update(plan.id, { cancel_at_period_end: true });
  await told({ do: "now", seconds: begin + 9 * week });
  const billed = [];
  for await (const one of stripe.invoices.list({ subscription: plan.id, limit: 2 })) billed.push([one.status, one.total, one.period_start - begin]);
  assert.deepEqual(billed, [["paid", 700, 2 * week], ["paid", 700, week], ["paid", 700, 0]]);
  assert.equal((await stripe.subscriptions.retrieve(plan.id)).status, "canceled");

  const events = await told({ do: "sealed" });
  for (const { body, signature, secret } of events) {
    const event = stripe.webhooks.constructEvent(body, signature, secret);
    assert.equal(event.api_version, stripe.getApiField("version"));
    assert.throws(() => stripe.webhooks.constructEvent(body, signature, "whsec_other"));
  }
  console.log(`Stripe's Node SDK ${Stripe.PACKAGE_VERSION}: the same stories, ${events.length} events verified`);
} finally {
  process_.kill();
}
