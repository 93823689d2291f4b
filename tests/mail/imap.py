"""What comes back, read from Dovecot: answers, absence notices, reports, and mails that only pretend."""

import email.message
import email.mime.message
import email.mime.multipart
import email.mime.text
import email.policy
import getpass
import imaplib
import os
import shutil
import socket
import ssl
import subprocess
import time

import world
from world import DAY

USER, PASSWORD = "team@example.com", "päss \"wörd\"/%"
URL = "team%40example.com:p%C3%A4ss%20%22w%C3%B6rd%22%2F%25"
LOOK = 300
# Python would write a long Message-ID in coded words, which no mail program does.
AS_WRITTEN = email.policy.SMTP.clone(max_line_length=0)

CONFIG = """
protocols = imap
listen = 127.0.0.1
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 1
mail_location = maildir:{home}/mail
mail_uid = {owner}
mail_gid = {owner_group}
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
auth_mechanisms = plain {login_mechanism}
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=plain username_format=%u {home}/users
}}
userdb {{
  driver = static
  args = uid={owner} gid={owner_group} home={home}/mail
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {plain}
  }}
  inet_listener imaps {{
    port = {always}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Dovecot:
    """One mailbox on this machine."""

    def __init__(self, authority):
        self.home = world.home / "dovecot"
        (self.home / "mail").mkdir(parents=True)
        self.plain, self.always = free_port(), free_port()
        if os.getuid() == 0:
            who = {"internal": "dovecot", "internal_group": "dovecot", "login": "dovenull", "owner": "nobody", "owner_group": "nogroup"}
            for folder in (world.home, self.home):
                folder.chmod(0o755)
            shutil.chown(self.home / "mail", "nobody", "nogroup")
        else:
            group = subprocess.check_output(["id", "-gn"], text=True).strip()
            me = getpass.getuser()
            who = {"internal": me, "internal_group": group, "login": me, "owner": me, "owner_group": group}
        certificate, key = authority.server()
        (self.home / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        (self.home / "users").chmod(0o644)
        config = self.home / "dovecot.conf"
        config.write_text(CONFIG.format(home=self.home, certificate=certificate, key=key, plain=self.plain, always=self.always,
                                        login_mechanism="login", **who))
        world.processes.append(subprocess.Popen(["dovecot", "-F", "-c", str(config)], env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}))
        self.trust = ssl.create_default_context(cafile=str(authority.file))
        self.ready()

    def ready(self):
        for attempt in range(100):
            try:
                return self.open().logout()
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.home / "log").read_text())

    def open(self):
        connection = imaplib.IMAP4_SSL("localhost", self.always, ssl_context=self.trust)
        connection.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())
        return connection

    def deliver(self, *mails):
        connection = self.open()
        for mail in mails:
            answer, text = connection.append("INBOX", None, None, mail.as_bytes(policy=AS_WRITTEN))
            assert answer == "OK", text
        connection.logout()

    def untouched(self):
        """How many mails there are, if nobody has marked any."""
        connection = self.open()
        count = int(connection.select("INBOX", readonly=True)[1][0])
        flags = connection.fetch("1:*", "(FLAGS)")[1] if count else []
        assert not any(flag in line for line in flags for flag in (b"Seen", b"Deleted", b"Answered", b"Flagged")), flags
        connection.logout()
        return count

    def renumber(self):
        """What a restored backup does: every mail gets another number."""
        connection = self.open()
        before = connection.status("INBOX", "(UIDVALIDITY)")[1]
        connection.logout()
        time.sleep(1.1)
        for name in ("dovecot-uidlist", "dovecot.index", "dovecot.index.log", "dovecot.index.cache", "dovecot-uidvalidity"):
            (self.home / "mail" / name).unlink(missing_ok=True)
        for file in (self.home / "mail").glob("dovecot-uidvalidity.*"):
            file.unlink()
        connection = self.open()
        after = connection.status("INBOX", "(UIDVALIDITY)")[1]
        connection.logout()
        assert before != after, (before, after)


def answer(to, own=None, **headers):
    mail = email.message.EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = own or "Lead <lead@example.net>", USER, "Re: Step 0"
    mail["In-Reply-To"] = mail["References"] = to
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("Yes, please.\n" * 50)
    return mail


def report(sent, status, action="failed", whole=True):
    """A report as RFC 3464 has it, about a mail as it was really sent."""
    mail = email.mime.multipart.MIMEMultipart("report", **{"report-type": "delivery-status"})
    mail["From"], mail["To"], mail["Subject"] = "MAILER-DAEMON@mx.example.net", USER, "Undelivered Mail Returned to Sender"
    mail["Auto-Submitted"] = "auto-replied"
    mail.attach(email.mime.text.MIMEText("I'm sorry to have to inform you that your message could not be delivered.\n"))
    about, recipient = email.message.Message(), email.message.Message()
    about["Reporting-MTA"] = "dns; mx.example.net"
    recipient["Final-Recipient"] = f"rfc822; {sent['To']}"
    recipient["Action"], recipient["Status"] = action, status
    recipient["Diagnostic-Code"] = f"smtp; 550 {status} no such user"
    status_part = email.message.Message()
    status_part["Content-Type"] = "message/delivery-status"
    status_part.set_payload([about, recipient])
    mail.attach(status_part)
    if whole:
        mail.attach(email.mime.message.MIMEMessage(sent))
    else:
        mail.attach(email.mime.text.MIMEText("".join(f"{name}: {value}\n" for name, value in sent.items()), "rfc822-headers"))
    return mail


def check(scrip, authority, sink, smtp_url):
    """`sink` is the server that took the mails which are answered here."""
    dovecot = Dovecot(authority)
    dovecot.deliver(answer("<of-somebody-else@example.net>"))
    wrong = f"imaps://team%40example.com:wrong@localhost:{dovecot.always}"
    sender = scrip.sender(smtp_url=smtp_url, imap_url=wrong)
    scrip.advance(0)
    assert "AUTHENTICATIONFAILED" in mailbox(scrip, sender)["error"], mailbox(scrip, sender)
    sent = len(sink.mails)
    leads = scrip.leads(8)
    campaign = scrip.campaign(sender, leads, days=(0, 1))
    mails = {to[0]: mail for to, mail, _ in sink.mails[sent:]}
    mails = [mails[address] for _, address in leads]
    scrip.change(sender, imap_url=f"imap://{URL}@localhost:{dovecot.plain}?tls=required")
    scrip.advance(0)
    assert mailbox(scrip, sender)["error"] is None, mailbox(scrip, sender)
    forged = mails[7]["Message-ID"].replace("@", "0@")
    dovecot.deliver(
        answer(mails[0]["Message-ID"]), answer(mails[1]["Message-ID"], Auto_Submitted="auto-replied"),
        answer(mails[2]["Message-ID"], Precedence="bulk"), answer(mails[3]["Message-ID"], own=f"Team <{USER}>"),
        report(mails[4], "5.1.1"), report(mails[5], "5.7.1", whole=False), report(mails[6], "4.4.1", action="delayed"),
        answer(forged))
    scrip.advance(LOOK)
    assert states(scrip, leads) == [("replied", False)] + 3 * [("contacted", False)] + 2 * [("contacted", True)] + 2 * [("contacted", False)]
    assert dovecot.untouched() == 9
    dovecot.renumber()
    dovecot.deliver(answer(mails[6]["Message-ID"]))
    # From the first byte on, by another way into the same mailbox.
    scrip.change(sender, imap_url=f"imaps://{URL}@localhost:{dovecot.always}")
    scrip.advance(LOOK)
    assert mailbox(scrip, sender)["error"] is None, mailbox(scrip, sender)
    assert states(scrip, leads)[6] == ("replied", False)
    dovecot.renumber()
    dovecot.deliver(answer(mails[7]["Message-ID"]))
    scrip.advance(LOOK)
    assert states(scrip, leads)[7] == ("replied", False)
    scrip.advance(DAY)
    assert scrip.steps(campaign, 1) == {"sent": 3, "skipped": 2}, scrip.view(campaign)
    assert scrip.view(campaign)["leads"]["replied"] == 3 and scrip.view(campaign)["status"] == "completed"
    many(scrip, dovecot, sender, sink)
    return dovecot.untouched()


def many(scrip, dovecot, sender, sink):
    """More than one look takes, with large mails among them."""
    sent, leads = len(sink.mails), scrip.leads(300)
    scrip.campaign(sender, leads)
    large = answer(sink.mails[sent][1]["Message-ID"])
    large.add_attachment(b"x" * 3_000_000, maintype="application", subtype="octet-stream")
    dovecot.deliver(large, *(answer(mail["Message-ID"]) for _, mail, _ in sink.mails[sent + 1:]))
    scrip.advance(3 * LOOK)
    assert states(scrip, leads) == 300 * [("replied", False)]


def mailbox(scrip, sender):
    return next(one["mailbox"] for one in scrip.get(scrip.here("senders"))["items"] if one["id"] == sender)


def states(scrip, leads):
    found = (scrip.get(f"/v1/leads/{lead}") for lead, _ in leads)
    return [(lead["stage"], lead["email_bounced"]) for lead in found]
