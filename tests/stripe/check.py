"""Stripe's own Python SDK against the stand-in: `check.py FAKE_STRIPE`, where FAKE_STRIPE is its binary.

What the SDK sends must be understood, what it reads must be what it was told to expect: every field of every object is held
against the SDK's types, and so is every parameter that the stand-in takes. What localstripe can do is done there as well, and
must end the same.
"""

import calendar
import datetime
import inspect
import json
import re
import socket
import subprocess
import sys
import time
import typing
import urllib.request

import stripe
import stripe.params
import stripe.params.billing_portal
import stripe.params.checkout
import stripe.params.tax


def started(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


class Fake:
    def __init__(self, url):
        self.url = url
        self.client = stripe.StripeClient("sk_test_fake", base_addresses={"api": url}, max_network_retries=0)
        self.v1 = self.client.v1

    def told(self, do, **order):
        body = json.dumps({"do": do, **order}).encode()
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_fake", body, headers)) as answer:
            return json.load(answer)


def refused(call, kind, **facts):
    """The call must be refused in this way."""
    try:
        call()
    except kind as error:
        for name, wanted in facts.items():
            assert getattr(error, name) == wanted, (name, getattr(error, name), wanted)
        return error
    raise AssertionError(f"not refused: {facts}")


def classes(hint):
    """Every class of the SDK that a type names."""
    if inspect.isclass(hint) and issubclass(hint, stripe.StripeObject):
        yield hint
    for inner in typing.get_args(hint):
        yield from classes(inner)


KINDS = {
    "account": stripe.Account, "customer": stripe.Customer, "payment_method": stripe.PaymentMethod,
    "payment_intent": stripe.PaymentIntent, "charge": stripe.Charge, "refund": stripe.Refund,
    "dispute": stripe.Dispute, "event": stripe.Event, "checkout.session": stripe.checkout.Session,
    "billing_portal.session": stripe.billing_portal.Session, "tax.calculation": stripe.tax.Calculation,
    "product": stripe.Product, "price": stripe.Price, "subscription": stripe.Subscription,
    "subscription_item": stripe.SubscriptionItem, "invoice": stripe.Invoice, "line_item": stripe.InvoiceLineItem,
    "invoice_payment": stripe.InvoicePayment,
}
LIST = {"object", "url", "has_more", "data"}
checked = set()


def shape(value, kind=None, path=""):
    """Every field must be one that the SDK knows, down to the last."""
    if isinstance(value, list):
        for item in value:
            shape(item, kind, path)
        return
    if not isinstance(value, dict):
        return
    if value.get("object") == "list":
        assert set(value) == LIST, set(value)
        return shape(value["data"])
    if isinstance(value.get("object"), str):
        kind, path = KINDS.get(value["object"]), value["object"]
    if kind is None:
        return
    hints = {name: hint for one in kind.__mro__ for name, hint in getattr(one, "__annotations__", {}).items()}
    for name, member in value.items():
        assert name in hints, f"the SDK knows no {path}.{name}"
        checked.add(f"{path}.{name}")
        inner = list(classes(hints[name]))
        # What may be an id or an object says itself what it is.
        shape(member, inner[0] if len(inner) == 1 and name not in ("metadata", "evidence") else None, f"{path}.{name}")


PARAMETERS = {
    "POST products": stripe.params.ProductCreateParams,
    "POST prices": stripe.params.PriceCreateParams,
    "POST subscriptions": stripe.params.SubscriptionCreateParams,
    "POST subscriptions/*": stripe.params.SubscriptionModifyParams,
    "DELETE subscriptions/*": stripe.params.SubscriptionCancelParams,
    "POST invoices/*/pay": stripe.params.InvoicePayParams,
    "GET subscriptions": stripe.params.SubscriptionListParams,
    "GET invoices": stripe.params.InvoiceListParams,
    "GET invoice_payments": stripe.params.InvoicePaymentListParams,
    "POST tax/calculations": stripe.params.tax.CalculationCreateParams,
    "POST customers": stripe.params.CustomerCreateParams,
    "POST customers/*": stripe.params.CustomerModifyParams,
    "POST payment_methods/*/attach": stripe.params.PaymentMethodAttachParams,
    "POST payment_methods/*/detach": stripe.params.PaymentMethodDetachParams,
    "POST payment_intents": stripe.params.PaymentIntentCreateParams,
    "POST payment_intents/*/confirm": stripe.params.PaymentIntentConfirmParams,
    "POST payment_intents/*/cancel": stripe.params.PaymentIntentCancelParams,
    "POST refunds": stripe.params.RefundCreateParams,
    "POST disputes/*/close": stripe.params.DisputeCloseParams,
    "POST checkout/sessions": stripe.params.checkout.SessionCreateParams,
    "POST checkout/sessions/*/expire": stripe.params.checkout.SessionExpireParams,
    "POST billing_portal/sessions": stripe.params.billing_portal.SessionCreateParams,
    "GET payment_intents": stripe.params.PaymentIntentListParams,
    "GET refunds": stripe.params.RefundListParams,
    "GET disputes": stripe.params.DisputeListParams,
    "GET checkout/sessions": stripe.params.checkout.SessionListParams,
    "GET events": stripe.params.EventListParams,
    "GET customers/*/payment_methods": stripe.params.CustomerListPaymentMethodsParams,
}


def parameters(fake):
    """Every parameter that the stand-in takes must be one of the SDK's."""
    table = fake.told("parameters")
    assert set(table) == set(PARAMETERS)
    count = 0
    for request, names in table.items():
        for name in names.split():
            kind = PARAMETERS[request]
            for part in name.split("."):
                assert part in kind.__annotations__, f"{request} takes no {name}"
                module = vars(sys.modules[kind.__module__])
                words = re.findall(r"\w+", str(kind.__annotations__[part]))
                kind = next((module[word] for word in words if word in module and hasattr(module[word], "__annotations__")
                             and word.endswith(("Data", "Item", "Settings", "Methods", "Created", "Update", "Tax", "Hooks", "Inputs", "Recurring"))), kind)
            count += 1
    return count


def session(v1, **more):
    item = {"price_data": {"currency": "usd", "unit_amount": 9900, "product_data": {"name": "10,000 credits"}}, "quantity": 1}
    return v1.checkout.sessions.create({
        "mode": "payment", "line_items": [item], "client_reference_id": "ours-1", "metadata": {"ours": "1"},
        "success_url": "https://example.com/back?session={CHECKOUT_SESSION_ID}", "cancel_url": "https://example.com/cancel",
        **more})


def checkouts(fake):
    v1 = fake.v1
    customer = v1.customers.create({"email": "lead0001@example.com", "metadata": {"ours": "ws"}})
    bought = session(v1, customer=customer.id,
                     payment_intent_data={"metadata": {"ours": "1"}, "setup_future_usage": "off_session"})
    assert (bought.status, bought.payment_status, bought.payment_intent) == ("open", "unpaid", None)
    declined = fake.told("pay", session=bought.id, card="4000000000000002")
    assert declined["shown"] == "form" and "declined" in declined["problem"]
    assert fake.told("pay", session=bought.id, card="4000002500003155")["shown"] == "question"
    assert fake.told("authenticate", session=bought.id, answer="fail")["shown"] == "form"
    assert fake.told("pay", session=bought.id, card="4000002500003155")["shown"] == "question"
    on = fake.told("authenticate", session=bought.id, answer="complete")
    assert on["url"] == f"https://example.com/back?session={bought.id}"
    assert fake.told("pay", session=bought.id, card="4242424242424242")["shown"] == "ended"
    paid = v1.checkout.sessions.retrieve(bought.id, {"expand": ["payment_intent.latest_charge"]})
    intent = paid.payment_intent
    assert (paid.status, paid.payment_status, intent.status, intent.amount_received) == ("complete", "paid", "succeeded", 9900)
    assert intent.metadata.to_dict() == {"ours": "1"} and intent.latest_charge.payment_method_details.card.last4 == "3155"
    # The card was set up while its owner was there: it pays in their absence.
    again = v1.payment_intents.create({"amount": 500, "currency": "usd", "customer": customer.id,
                                       "payment_method": intent.payment_method, "off_session": True, "confirm": True})
    assert again.status == "succeeded"
    v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": intent.payment_method}})
    assert v1.customers.retrieve(customer.id).invoice_settings.default_payment_method == intent.payment_method
    assert [one.id for one in v1.customers.payment_methods.list(customer.id).data] == [intent.payment_method]
    assert v1.billing_portal.sessions.create({"customer": customer.id, "return_url": "https://example.com"}).url
    slow = session(v1)
    fake.told("pay", session=slow.id, card="000123456789")
    slow = v1.checkout.sessions.retrieve(slow.id)
    assert (slow.status, slow.payment_status) == ("complete", "unpaid")
    fake.told("settle", intent=slow.payment_intent)
    assert v1.checkout.sessions.retrieve(slow.id).payment_status == "paid"
    over = v1.checkout.sessions.expire(session(v1).id)
    assert (over.status, over.url) == ("expired", None)
    refused(lambda: v1.checkout.sessions.expire(over.id), stripe.InvalidRequestError, http_status=400)


def saved(v1, card="pm_card_visa"):
    customer = v1.customers.create({"email": "lead0002@example.com"})
    method = v1.payment_methods.attach(card, {"customer": customer.id})
    return {"customer": customer.id, "payment_method": method.id, "amount": 2000, "currency": "usd"}


def absent(v1, card, **options):
    return v1.payment_intents.create({**saved(v1, card), "off_session": True, "confirm": True}, options or None)


def charges(fake):
    v1 = fake.v1
    for card, code, why in [
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_authenticationRequired", "authentication_required", "authentication_required"),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ]:
        error = refused(lambda: absent(v1, card), stripe.CardError, http_status=402, code=code)
        assert error.error.decline_code == why and error.error.payment_intent["status"] == "requires_payment_method"
    refused(lambda: v1.payment_intents.create({"amount": 0, "currency": "usd"}), stripe.InvalidRequestError, param="amount")
    refused(lambda: v1.payment_intents.retrieve("pi_nobody"), stripe.InvalidRequestError, code="resource_missing")
    disputed = absent(v1, "pm_card_createDispute")
    dispute = v1.disputes.list({"payment_intent": disputed.id}).data[0]
    assert (dispute.status, dispute.amount) == ("needs_response", 2000)
    refused(lambda: v1.refunds.create({"payment_intent": disputed.id}), stripe.InvalidRequestError, code="charge_disputed")
    fake.told("win_dispute", dispute=dispute.id)
    assert v1.disputes.retrieve(dispute.id).status == "won"
    refused(lambda: v1.refunds.create({"payment_intent": disputed.id, "amount": 2001}), stripe.InvalidRequestError)
    refund = v1.refunds.create({"payment_intent": disputed.id, "amount": 700})
    fake.told("fail_refund", refund=refund.id)
    charge = v1.charges.retrieve(disputed.latest_charge)
    assert (charge.amount_refunded, charge.refunded, charge.disputed) == (0, False, True)


def keys(fake):
    v1 = fake.v1
    wanted = saved(v1)
    make = lambda **more: v1.payment_intents.create({**wanted, **more}, {"idempotency_key": "key-1"})
    first, second = make(), make()
    assert first.id == second.id and second.last_response.headers["idempotent-replayed"] == "true"
    refused(lambda: make(amount=2001), stripe.IdempotencyError, http_status=400)
    fake.told("close", request="POST /v1/payment_intents")
    lost = {"idempotency_key": "key-2"}
    refused(lambda: v1.payment_intents.create(wanted, lost), stripe.APIConnectionError)
    count = lambda: len(v1.payment_intents.list({"customer": wanted["customer"], "limit": 100}).data)
    assert count() == 2, "it took effect although the answer was lost"
    v1.payment_intents.create(wanted, lost)
    assert count() == 2, "and not again"
    refused(lambda: fake.client.v1.refunds.create({"payment_intent": first.id}), stripe.InvalidRequestError)
    fake.told("fail", request="GET /v1/account", status=429, times=1)
    refused(lambda: v1.accounts.retrieve_current(), stripe.RateLimitError, http_status=429)
    stranger = stripe.StripeClient("sk_test_other", base_addresses={"api": fake.url}, max_network_retries=0)
    refused(lambda: stranger.v1.accounts.retrieve_current(), stripe.AuthenticationError, http_status=401)


def lists(fake):
    v1, since = fake.v1, int(time.time()) - 600
    pages = v1.payment_intents.list({"created": {"gte": since}, "limit": 3, "expand": ["data.latest_charge"]})
    found = [one.id for one in pages.auto_paging_iter()]
    assert len(found) == len(set(found)) > 6 and found == sorted(found, reverse=True)
    assert v1.payment_intents.list({"created": {"gte": int(time.time()) + 600}}).data == []


def taxes(fake):
    """A tax that Stripe adds: on the page, and by the address that the page left."""
    v1 = fake.v1
    customer = v1.customers.create({"email": "lead0003@example.com"})
    refused(lambda: v1.tax.calculations.create({"currency": "usd", "customer": customer.id, "line_items": [{"amount": 1000, "reference": "one"}]}),
            stripe.InvalidRequestError, code="customer_tax_location_invalid")
    item = {"price_data": {"currency": "usd", "unit_amount": 9900, "product_data": {"name": "10,000 credits"}, "tax_behavior": "exclusive"}, "quantity": 1}
    wanted = {"line_items": [item], "automatic_tax": {"enabled": True}, "customer": customer.id}
    refused(lambda: session(v1, **wanted), stripe.InvalidRequestError, code="customer_tax_location_invalid")
    taxed = session(v1, **wanted, customer_update={"address": "auto"}, payment_intent_data={"setup_future_usage": "off_session"})
    assert (taxed.automatic_tax.status, taxed.total_details.amount_tax) == ("requires_location_inputs", 0)
    fake.told("pay", session=taxed.id, card="4242424242424242")
    paid = v1.checkout.sessions.retrieve(taxed.id, {"expand": ["payment_intent"]})
    sums = (paid.amount_subtotal, paid.total_details.amount_tax, paid.amount_total, paid.payment_intent.amount_received)
    assert sums == (9900, 1980, 11880, 11880) and paid.automatic_tax.status == "complete"
    calculation = v1.tax.calculations.create({"currency": "usd", "customer": customer.id, "line_items": [
        {"amount": 1000, "reference": "one", "tax_behavior": "exclusive"}]})
    assert (calculation.tax_amount_exclusive, calculation.amount_total) == (200, 1200)
    renewed = {"currency": "usd", "customer": customer.id, "payment_method": paid.payment_intent.payment_method,
               "off_session": True, "confirm": True, "hooks": {"inputs": {"tax": {"calculation": calculation.id}}}}
    assert v1.payment_intents.create({**renewed, "amount": 1200}).status == "succeeded"
    refused(lambda: v1.payment_intents.create({**renewed, "amount": 1000}), stripe.InvalidRequestError, http_status=400)


def subscriptions(fake):
    """Stripe's own plans: an invoice for each period from the 31st on, declines tried again, an end with the period."""
    v1 = fake.v1
    year = datetime.date.today().year + 1
    at = lambda month, day, hour=10: calendar.timegm((year, month, day, hour, 0, 0))
    fake.told("now", seconds=at(1, 31))
    product = v1.products.create({"name": "Small"})
    price = v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 3100, "recurring": {"interval": "month"}})
    customer = saved(v1)["customer"]
    cards = lambda name: v1.payment_methods.attach(name, {"customer": customer}).id
    items = [{"price": price.id, "quantity": 2}]
    refused(lambda: v1.subscriptions.create({"customer": v1.customers.create({}).id, "items": items}), stripe.InvalidRequestError,
            code="resource_missing")
    made = v1.subscriptions.create({"customer": customer, "items": items, "default_payment_method": cards("pm_card_visa"),
                                    "expand": ["latest_invoice"]})
    span = lambda one: (one["items"].data[0].current_period_start, one["items"].data[0].current_period_end)
    first = made.latest_invoice
    facts = (made.status, span(made), first.status, first.billing_reason, first.amount_paid, first.lines.data[0].amount)
    february = (year % 4 == 0 and year % 100 != 0 or year % 400 == 0) + 28
    assert facts == ("active", (at(1, 31), at(2, february)), "paid", "subscription_create", 6200, 6200), facts
    # Three periods later: one invoice each, in order, and the 31st again.
    fake.told("now", seconds=at(4, 30))
    invoices = v1.invoices.list({"subscription": made.id}).data
    assert [(one.status, one.billing_reason, one.period_start) for one in invoices] == [
        ("paid", "subscription_cycle", at(4, 30)), ("paid", "subscription_cycle", at(3, 31)),
        ("paid", "subscription_cycle", at(2, february)), ("paid", "subscription_create", at(1, 31))]
    assert span(v1.subscriptions.retrieve(made.id)) == (at(4, 30), at(5, 31))
    for one in invoices:
        payment, = v1.invoice_payments.list({"invoice": one.id}).data
        intent = v1.payment_intents.retrieve(payment.payment.payment_intent)
        assert (payment.status, payment.amount_paid, intent.status, intent.amount_received) == ("paid", 6200, "succeeded", 6200)
    # A renewal is declined, tried again, and paid in person.
    v1.subscriptions.update(made.id, {"default_payment_method": cards("pm_card_chargeCustomerFail")})
    fake.told("now", seconds=at(5, 31))
    fake.told("now", seconds=at(6, 3))
    late = v1.subscriptions.retrieve(made.id, {"expand": ["latest_invoice"]})
    facts = (late.status, late.latest_invoice.status, late.latest_invoice.attempt_count, late.latest_invoice.next_payment_attempt)
    assert facts == ("past_due", "open", 2, at(6, 8)), facts
    good = cards("pm_card_visa")
    paid = v1.invoices.pay(late.latest_invoice.id, {"payment_method": good})
    assert (paid.status, v1.subscriptions.retrieve(made.id).status) == ("paid", "active")
    refused(lambda: v1.invoices.pay(paid.id), stripe.InvalidRequestError, code="invoice_not_open")
    # Declined to the end, it ends; another one ends with its period.
    fake.told("now", seconds=at(7, 20))
    ended = v1.subscriptions.retrieve(made.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")
    other = v1.subscriptions.create({"customer": customer, "items": items, "default_payment_method": good})
    assert v1.subscriptions.update(other.id, {"cancel_at_period_end": True}).cancel_at == at(8, 20)
    fake.told("now", seconds=at(8, 21))
    assert [one.status for one in v1.subscriptions.list({"customer": customer, "status": "canceled"}).data] == ["canceled"] * 2
    assert len(v1.invoices.list({"subscription": other.id}).data) == 1
    incomplete = v1.subscriptions.create({"customer": customer, "items": items, "default_payment_method": cards("pm_card_chargeCustomerFail")})
    assert incomplete.status == "incomplete" and v1.subscriptions.cancel(incomplete.id).status == "canceled"


def events(fake):
    sealed = fake.told("sealed")
    for one in sealed:
        event = stripe.Webhook.construct_event(one["body"], one["signature"], one["secret"])
        shape(json.loads(one["body"]))
        assert event.api_version == stripe.api_version, "the SDK speaks the version that is pinned"
        verify = lambda body, secret: stripe.WebhookSignature.verify_header(body, one["signature"], secret, 300)
        refused(lambda: verify(one["body"], "whsec_other"), stripe.SignatureVerificationError)
        refused(lambda: verify(one["body"] + " ", one["secret"]), stripe.SignatureVerificationError)
    known = {json.loads(one["body"])["type"] for one in sealed}
    annotation = str(stripe.Event.__annotations__["type"])
    for kind in known:
        assert f"'{kind}'" in annotation, f"the SDK knows no event {kind}"
    return len(sealed), len(known)


def common(client):
    """What localstripe can do as well, as facts to compare."""
    v1 = client.v1
    facts = []
    wanted = saved(v1)
    paid = v1.payment_intents.create({**wanted, "off_session": True, "confirm": True, "metadata": {"ours": "1"}})
    facts.append((paid.object, paid.status, paid.amount, paid.currency, paid.livemode, paid.metadata.to_dict()))
    part = v1.refunds.create({"payment_intent": paid.id, "amount": 500})
    facts.append((part.object, part.status, part.amount, part.currency))
    facts.append(sorted(one.amount for one in v1.refunds.list({"payment_intent": paid.id}).data))
    later = v1.payment_intents.create({**wanted, "metadata": {"ours": "2"}})
    facts.append(later.status)
    facts.append(v1.payment_intents.confirm(later.id).status)
    gone = v1.payment_intents.cancel(v1.payment_intents.create(wanted).id)
    facts.append(gone.status)
    facts.append([one.id == wanted["payment_method"] for one in
                  v1.payment_methods.list({"customer": wanted["customer"], "type": "card"}).data])
    error = refused(lambda: v1.payment_intents.retrieve("pi_nobody"), stripe.InvalidRequestError)
    facts.append((error.http_status, error.error.type))
    facts.append(v1.payment_methods.detach(wanted["payment_method"]).customer)
    return facts


def localstripe():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "localstripe", "--from-scratch", "--port", str(port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.1)
    raise AssertionError("localstripe does not start")


def main():
    process, url = started([sys.argv[1]])
    other, other_url = localstripe()
    try:
        fake = Fake(url)
        # Whatever the SDK reads from now on is looked at.
        read = stripe.StripeObject._construct_from.__func__
        def construct(cls, *, values, **more):
            shape(values)
            return read(cls, values=values, **more)
        stripe.StripeObject._construct_from = classmethod(construct)
        assert fake.v1.accounts.retrieve_current().id == "acct_fake"
        for scenario in (checkouts, charges, keys, lists, taxes, subscriptions):
            scenario(fake)
        sent, kinds = events(fake)
        ours = common(fake.client)
        stripe.StripeObject._construct_from = classmethod(read)
        theirs = common(stripe.StripeClient("sk_test_12345", base_addresses={"api": other_url}, max_network_retries=0))
        assert ours == theirs, f"\nours   {ours}\ntheirs {theirs}"
        print(f"Stripe's Python SDK {stripe.VERSION}: {len(checked)} fields and {parameters(fake)} parameters are its own, "
              f"{sent} events of {kinds} kinds verified; {len(ours)} facts as localstripe has them")
    finally:
        process.terminate()
        other.terminate()


main()
