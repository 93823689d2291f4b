"""A Scrip server with a clock that stands still, and an authority of its own for certificates. All of it goes with `end`."""

import datetime
import ipaddress
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY = "the-operator-of-the-mails"
DAY = 86_400
processes = []
home = pathlib.Path(tempfile.mkdtemp(prefix="scrip-mail-"))


def end():
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    shutil.rmtree(home, ignore_errors=True)


class Authority:
    """Signs certificates for this machine."""

    def __init__(self, name):
        self.folder = home / name
        self.folder.mkdir()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.signed(self.subject, self.key, [], True)
        self.file = self.written("ca.pem", self.certificate.public_bytes(serialization.Encoding.PEM))

    def signed(self, subject, key, names, authority):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def written(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def server(self, name="localhost"):
        """A certificate file and a key file for a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = self.signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, names, False)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return (self.written(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
                self.written(f"{name}.key", private))


class Scrip:
    """The server, and the API of a workspace in it."""

    def __init__(self, binary, authority):
        config = home / "scrip.toml"
        config.write_text(f'ca_file = "{authority.file}"\n[webhooks]\nallow = ["127.0.0.0/8", "::1"]\n')
        self.log = home / "scrip.log"
        # Mails have the day on which they came in, and only those of the last two weeks are looked for.
        start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=10)
        command = [binary, "serve", "--data", str(home / "data"), "--config", str(config), "--listen", "127.0.0.1:0",
                   "--clock", f"manual={start:%Y-%m-%dT%H:%M:%SZ}"]
        with open(self.log, "wb") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "SCRIP_OPERATOR_KEY": KEY}))
        self.url = self.said(r"listening on (http:\S+)")
        self.workspace = self.post("/v1/workspaces", {"name": "Sample"})["id"]
        self.post(self.here("grants"), {"credits": 1_000, "kind": "bonus", "reason": "for the mails"})
        self.leads_made = 0

    def said(self, pattern):
        for _ in range(300):
            match = re.search(pattern, self.log.read_text())
            if match:
                return match[1]
            time.sleep(0.1)
        raise AssertionError(f"the server did not start: {self.log.read_text()}")

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "idempotency-key": str(uuid.uuid4())}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def post(self, path, body=None):
        return self.call("POST", path, {} if body is None else body)

    def get(self, path):
        return self.call("GET", path)

    def here(self, path):
        return f"/v1/workspaces/{self.workspace}/{path}"

    def advance(self, seconds):
        self.post("/v1/clock/advance", {"seconds": seconds})

    def sender(self, **more):
        return self.post(self.here("senders"), {"kind": "email", "from": "Team <team@example.com>", "daily_limit": 1_000, **more})["id"]

    def change(self, sender, **more):
        return self.call("PATCH", self.here(f"senders/{sender}"), more)

    def leads(self, count):
        """New leads: their ids and addresses, in order."""
        numbers = range(self.leads_made + 1, self.leads_made + count + 1)
        self.leads_made += count
        rows = [{"external_id": f"lead-{n:04}", "name": f"Lead {n:04}", "email": f"lead{n:04}@example.com"} for n in numbers]
        self.post(self.here("leads"), {"leads": rows})
        newest = self.get(self.here(f"leads?limit={count}"))["items"]
        return [(lead["id"], lead["email"]) for lead in sorted(newest, key=lambda lead: lead["external_id"])]

    def campaign(self, sender, leads, days=(0,)):
        """Mails to leads, launched, and everything done that is due now."""
        steps = [{"channel": "email", "after_days": day, "generate": False, "subject": f"Step {index}",
                  "template": "Hello {{name}},\n.\nsee you."} for index, day in enumerate(days)]
        made = self.post(self.here("campaigns"), {"name": "Mails", "steps": steps, "senders": [sender]})["id"]
        self.post(f"/v1/campaigns/{made}/leads", {"leads": [lead for lead, _ in leads]})
        self.post(f"/v1/campaigns/{made}/launch")
        self.advance(0)
        return made

    def view(self, campaign):
        return self.get(f"/v1/campaigns/{campaign}")

    def steps(self, campaign, index=0):
        step = self.view(campaign)["steps"][index]
        return {name: step[name] for name in ("waiting", "sent", "skipped", "failed", "in_doubt") if step[name]}

    def balance(self):
        balance = self.get(self.here("balance"))
        return balance["available"], balance["held"]
