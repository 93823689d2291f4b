"""Senders' mail through aiosmtpd: encryption that is checked, passwords, and everything that a server may answer."""

import email
import email.policy
import logging
import socket
import ssl
import warnings

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from world import DAY

# It warns of what is wanted here: a server that asks for a password without encryption of its own.
warnings.filterwarnings("ignore", module="aiosmtpd")
logging.getLogger("mail.log").setLevel(logging.CRITICAL)

USER, PASSWORD = "team@example.com", "päss:wörd/%"
URL = "team%40example.com:p%C3%A4ss%3Aw%C3%B6rd%2F%25"


class Server:
    """A server on this machine, what it took, and how it behaves."""

    def __init__(self, certificate, always=False, plain=False):
        self.mails, self.tries, self.tell, self.drop = [], [], None, False
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        more = {} if plain else {"authenticator": self.proven, "auth_required": True}
        if plain:
            more = {"authenticator": self.proven, "auth_require_tls": False}
        elif always:
            more |= {"ssl_context": context, "auth_require_tls": False}
        else:
            more |= {"tls_context": context, "require_starttls": True}
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, **more)
        self.controller.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.controller.stop()

    def url(self):
        """How a sender reaches it with STARTTLS."""
        return f"smtp://{URL}@localhost:{self.port}?tls=required"

    def proven(self, _server, _session, _envelope, _mechanism, data):
        self.tries.append(data.login.decode())
        good = (data.login.decode(), data.password.decode()) == (USER, PASSWORD)
        return AuthResult(success=good, handled=False)

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if self.tell:
            return self.tell
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, _session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        encrypted = server.transport.get_extra_info("ssl_object") is not None
        self.mails.append((envelope.rcpt_tos, mail, encrypted))
        if self.drop:
            server.transport.abort()
        return "250 taken"


def check(scrip, authority, stranger):
    good = authority.server()
    starttls, always = Server(good), Server(good, always=True)
    impostors = [Server(stranger.server()), Server(authority.server("other.example.com"))]
    bare = Server(None, plain=True)
    try:
        told = [delivered(scrip, starttls, starttls.url()),
                delivered(scrip, always, f"smtps://{URL}@localhost:{always.port}"),
                trusted(scrip, impostors, starttls), refused(scrip, starttls, bare), answers(scrip, starttls),
                doubt(scrip, starttls)]
    finally:
        for server in (starttls, always, bare, *impostors):
            server.controller.stop()
    return sum(told)


def delivered(scrip, server, url):
    """Every mail arrives encrypted, once, whole, and is charged."""
    before = scrip.balance()[0]
    leads = scrip.leads(3)
    campaign = scrip.campaign(scrip.sender(smtp_url=url), leads)
    assert scrip.steps(campaign) == {"sent": 3}, scrip.view(campaign)
    assert scrip.balance() == (before - 6, 0), scrip.balance()
    assert sorted(to for to, _, _ in server.mails) == sorted([address] for _, address in leads)
    for _, mail, encrypted in server.mails:
        assert encrypted
        assert mail["From"].addresses[0].addr_spec == "team@example.com" and mail["Subject"] == "Step 0"
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click" and "/unsubscribe/" in mail["List-Unsubscribe"]
        assert mail["Message-ID"].endswith("@example.com>") and mail["Message-ID"].startswith(f"<{campaign}.")
        assert mail.get_content().strip().splitlines()[1:] == [".", "see you."], mail.get_content()
    return 3


def stands_still(scrip, campaign, *words):
    """Nothing was sent, nothing is paid, and the campaign says why."""
    view = scrip.view(campaign)
    assert [reason["reason"] for reason in view["pause_reasons"]] == ["provider"], view
    assert all(word in str(view) for word in words), view
    assert scrip.balance()[1] == 0
    assert scrip.steps(campaign) == {"waiting": 1}, view


def goes_on(scrip, campaign, server, address):
    scrip.post(f"/v1/campaigns/{campaign}/resume")
    scrip.advance(3_600)
    assert scrip.steps(campaign) == {"sent": 1}, scrip.view(campaign)
    assert [to for to, _, _ in server.mails].count([address]) == 1


def trusted(scrip, impostors, good):
    """A certificate of nobody we know, and one of another name: no password is told, no mail is sent."""
    for server in impostors:
        sender = scrip.sender(smtp_url=server.url())
        leads = scrip.leads(1)
        campaign = scrip.campaign(sender, leads)
        stands_still(scrip, campaign, "certificate")
        assert not server.tries and not server.mails
        scrip.change(sender, smtp_url=good.url())
        goes_on(scrip, campaign, good, leads[0][1])
    return len(impostors)


def refused(scrip, server, bare):
    """A wrong password is named, and a password is never sent in the clear."""
    wrong = f"smtp://team%40example.com:wrong@localhost:{server.port}?tls=required"
    sender, leads, mails = scrip.sender(smtp_url=wrong), scrip.leads(1), len(server.mails)
    campaign = scrip.campaign(sender, leads)
    stands_still(scrip, campaign, "535")
    assert len(server.mails) == mails and "wrong" not in str(scrip.get(scrip.here("senders")))
    scrip.change(sender, smtp_url=server.url())
    goes_on(scrip, campaign, server, leads[0][1])
    open_sender = scrip.sender(smtp_url=bare.url())
    campaign = scrip.campaign(open_sender, scrip.leads(1))
    assert scrip.steps(campaign) == {"waiting": 1} and not bare.mails and not bare.tries
    return 1


def answers(scrip, server):
    """Refused for now is tried again and arrives once; refused for good fails, free of charge."""
    sender, (before, _) = scrip.sender(smtp_url=server.url()), scrip.balance()
    leads = scrip.leads(2)
    server.tell = "451 4.7.1 greylisted, come back later"
    campaign = scrip.campaign(sender, leads)
    assert scrip.steps(campaign) == {"waiting": 2} and scrip.balance() == (before, 0)
    server.tell = None
    scrip.advance(DAY)
    assert scrip.steps(campaign) == {"sent": 2} and scrip.balance() == (before - 4, 0)
    for _, address in leads:
        assert [to for to, _, _ in server.mails].count([address]) == 1
    server.tell = "550 5.1.1 no such user"
    campaign = scrip.campaign(sender, scrip.leads(2))
    assert scrip.steps(campaign) == {"failed": 2} and scrip.balance() == (before - 4, 0), scrip.view(campaign)
    assert scrip.view(campaign)["status"] == "completed"
    server.tell = None
    return 2


def doubt(scrip, server):
    """A connection that is lost after the mail was handed over: never sent again, and free when its time is over."""
    sender, (before, _) = scrip.sender(smtp_url=server.url()), scrip.balance()
    leads, server.drop = scrip.leads(2), True
    campaign = scrip.campaign(sender, leads)
    server.drop = False
    assert scrip.steps(campaign) == {"in_doubt": 2} and scrip.balance() == (before - 4, 4), scrip.view(campaign)
    scrip.advance(2 * DAY)
    assert scrip.steps(campaign) == {"in_doubt": 2}
    scrip.advance(2 * DAY)
    assert scrip.steps(campaign) == {"sent": 2} and scrip.balance() == (before, 0), scrip.view(campaign)
    for _, address in leads:
        assert [to for to, _, _ in server.mails].count([address]) == 1
    return 2
