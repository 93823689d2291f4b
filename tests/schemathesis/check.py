"""Schemathesis against a running server: `check.py SCRIP`, where SCRIP is its binary.

Every operation of the OpenAPI document is called with what the document allows and with what it forbids. No answer may be a
server error or differ from the document, and what it forbids must be refused. Seed and number of examples are fixed, so two runs send the same; SCRIP_EXAMPLES
raises the number.
"""

import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

KEY = "the-operator-of-schemathesis"
SEED = "2027"
EXAMPLES = os.environ.get("SCRIP_EXAMPLES", "25")


class Provider(http.server.BaseHTTPRequestHandler):
    """Finds one lead for every search, and writes one message for every prompt."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        lead = {"external_id": "1", "name": "Lead 0001", "email": "lead-0001@example.com"}
        text = {"role": "assistant", "content": '{"subject": "Hello", "text": "Hello"}'}
        answers = {
            "preview": {"results": [lead], "next_cursor": None},
            "search": {"results": [lead], "next_cursor": None},
            "contact": {"found": False},
            "field": {"found": False},
        }
        written = {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": text, "finish_reason": "stop"}]}
        body = json.dumps(answers.get(asked.get("do"), written)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Scrip:
    def __init__(self, binary, directory):
        provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{provider.server_port}"
        config = directory / "scrip.toml"
        config.write_text(
            f'[payments]\nkind = "sandbox"\n'
            f'[providers.discovery]\nkind = "http"\nurl = "{url}"\ntoken = "x"\nidempotent = true\nquery = false\n'
            f'[[providers.enrichment]]\nname = "x"\nkind = "http"\nurl = "{url}"\ntoken = "x"\nidempotent = true\n'
            f'[providers.messages]\nkind = "openai"\nbase_url = "{url}"\nmodel = "x"\ntoken = "x"\n'
        )
        command = [binary, "serve", "--config", config, "--data", directory / "data", "--listen", "127.0.0.1:0"]
        command += ["--clock", "manual=2027-01-31T10:00:00Z"]
        environment = {**os.environ, "SCRIP_OPERATOR_KEY": KEY}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        for line in self.process.stderr:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                break
        # Whatever it says later is not kept waiting for.
        self.log = []
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.calls = 0

    def post(self, path, body=None):
        self.calls += 1
        headers = {"authorization": f"Bearer {KEY}", "idempotency-key": f"made-{self.calls}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers, method="POST")) as answer:
            return json.load(answer)

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def things(scrip):
    """One of each kind, so that ids in paths name something."""
    ws = scrip.post("/v1/workspaces", {"name": "Schemas", "plan": "growth", "admin_email": "admin@example.com"})["id"]
    at = f"/v1/workspaces/{ws}"
    grant = scrip.post(f"{at}/grants", {"credits": 1_000_000_000, "kind": "promo", "reason": "Tests"})["id"]
    hold = scrip.post(f"{at}/holds", {"operation": "email_send", "quantity": 5, "expires_in_seconds": 604_800})["id"]
    leads = scrip.post(f"{at}/leads", {"leads": [{"name": "Lead 0002", "email": "lead-0002@example.com"}]})
    assert leads["created"] == 1, leads
    lead = scrip.get(f"{at}/leads")["items"][0]["id"]
    step = {"channel": "email", "after_days": 0, "condition": "always", "subject": "Hello", "template": "Hello {{name}}", "generate": True}
    campaign = scrip.post(f"{at}/campaigns", {"name": "Schemas", "steps": [step]})["id"]
    scrip.post(f"/v1/campaigns/{campaign}/leads", {"leads": [lead]})
    message = scrip.post(f"{at}/messages", {"lead": lead, "campaign": campaign, "step": 0})["id"]
    search = scrip.post(f"{at}/searches", {"query": {"title": "founder"}, "limit": 5})["id"]
    enrichment = scrip.post(f"{at}/enrichments", {"leads": [lead], "fields": ["contact"]})["id"]
    topup = scrip.post(f"{at}/topups", {"credits": 5_000})["id"]
    endpoint = scrip.post(f"{at}/webhook_endpoints", {"url": "https://hooks.invalid/scrip"})["id"]
    sender = scrip.post(f"{at}/senders", {"kind": "linkedin", "from": "Ana", "account": "ana", "daily_limit": 5})["id"]
    key = scrip.post(f"{at}/keys", {})["id"]
    scrip.post(f"{at}/portal_sessions", {"role": "admin"})
    ids = {
        "/v1/grants/": grant, "/v1/holds/": hold, "/v1/leads/": lead, "/v1/campaigns/": campaign,
        "/v1/messages/": message, "/v1/searches/": search, "/v1/enrichments/": enrichment,
        "/v1/topups/": topup, "/v1/sandbox/topups/": topup,
    }
    return {"ws": ws, "endpoint": endpoint, "sender": sender, "key": key}, ids


def configuration(named, ids, directory):
    """What `st` is told beside the document: ids that exist, and how the streams end."""
    lines = ["[parameters]"]
    lines += [f'"path.{name}" = "{value}"' for name, value in named.items()]
    for prefix, value in ids.items():
        lines += ["[[operations]]", f'include-path-regex = "^{prefix}"', f'parameters = {{ "path.id" = "{value}" }}']
    # Each command of a batch and each lead of an import is answered on its own, in an answer that is a success as a whole.
    lines += ["[[operations]]", 'include-path-regex = "^/v1/batch$|/leads$"', 'include-method = "POST"']
    lines += ["checks = { negative_data_rejection = { enabled = false } }"]
    # Payments are a sandbox's here, so there is nothing at this address.
    lines += ["[[operations]]", 'include-path = "/v1/payments/stripe/events"']
    lines += ["checks = { missing_required_header = { enabled = false } }"]
    # A stream says the balance at once; the next event would be a matter of waiting.
    lines += ["[[operations]]", 'include-path-regex = "/events$"', "max-stream-events = 1"]
    # Days that pass while others are tested would be work for the loops; each second is as good.
    lines += ["[[operations]]", 'include-path = "/v1/clock/advance"', "enabled = false"]
    file = directory / "schemathesis.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="scrip-schemas-"))
    scrip = Scrip(sys.argv[1], directory)
    begun = time.monotonic()
    try:
        file = configuration(*things(scrip), directory)
        st = pathlib.Path(sys.executable).with_name("st")
        command = [st, "--config-file", file, "run", f"{scrip.url}/openapi.json", "--seed", SEED, "--max-examples", EXAMPLES]
        command += ["--phases", "examples,coverage,fuzzing", "--header", f"Authorization: Bearer {KEY}"]
        command += ["--continue-on-failure", "--warnings", "off", "--exclude-checks", "positive_data_acceptance"]
        command += sys.argv[2:]
        code = subprocess.run(command, cwd=directory).returncode
    finally:
        scrip.process.terminate()
        scrip.process.wait(timeout=60)
        shutil.rmtree(directory, ignore_errors=True)
    assert scrip.process.returncode == 0, "the server ended badly"
    failed = [line for line in scrip.log if " ERROR " in line]
    assert not failed, failed
    print(f"seed {SEED}, {EXAMPLES} examples of each operation, {time.monotonic() - begun:.0f} seconds")
    sys.exit(code)


main()
