"""Mail servers that are not ours: `check.py SCRIP`, where SCRIP is its binary.

Senders' mail goes through aiosmtpd, and what comes back is read from Dovecot. Both have certificates of an authority that is made
here, so that encryption is checked as it is elsewhere.
"""

import subprocess
import sys

import imap
import smtp
import world


def main():
    binary = sys.argv[1]
    try:
        authority, stranger = world.Authority("authority"), world.Authority("stranger")
        scrip = world.Scrip(binary, authority)
        sent = smtp.check(scrip, authority, stranger)
        print(f"aiosmtpd: {sent} mails, each once, over STARTTLS and from the first byte")
        with smtp.Server(authority.server()) as sink:
            read = imap.check(scrip, authority, sink, sink.url())
        print(f"dovecot: {read} mails read and none of them marked")
    finally:
        if world.processes:
            world.processes[0].terminate()
            world.processes[0].wait(20)
        data = world.home / "data"
        audit = subprocess.run([binary, "audit", "--data", str(data)], capture_output=True, text=True) if data.exists() else None
        world.end()
    assert audit.returncode == 0, audit.stdout + audit.stderr


main()
