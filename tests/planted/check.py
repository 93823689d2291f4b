#!/usr/bin/env python3
"""Plants bugs, one after the other, in a copy of the sources: at least two suites must find each.

    tests/planted/check.py [NAME ...]    # all, or those whose name contains one of these words

A suite is a command of `cargo test`; it finds a bug when it compiles and fails. All suites must pass on the sources as they are.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "planted"
COPY = PLACE / "sources"

STORIES = ["-p", "billing", "--test", "it", "--", "story::"]
LAWS = ["-p", "billing", "--test", "it", "--", "laws::"]
POWER = ["-p", "disk", "--test", "it", "--", "power::"]
FAULTS = ["-p", "disk", "--test", "it", "--", "faults::"]


def suite(name):
    return ["-p", "scrip", "--test", "it", "--", f"{name}::"]


STORE = suite("store")
HOLDS = "crates/billing/src/ledger/holds.rs"
WORK = "crates/server/src/store/work.rs"

# What is planted, where, instead of what, and the suites that must find it.
BUGS = [
    ("more is held than is there", HOLDS,
     "if needed > account.available {", "if needed > account.available + 1 {", [LAWS, STORE]),
    ("a settle takes all that was held", HOLDS,
     "split(&hold.parts, amount)", "split(&hold.parts, hold.price.amount())", [LAWS, STORE]),
    ("the epoch of a hold is ignored", HOLDS,
     "if hold.epoch != epoch =>", "if hold.epoch != epoch && false =>", [STORIES, LAWS]),
    ("a hold settles late for ever", HOLDS,
     "if !may_settle_late(hold, now) =>", "if !may_settle_late(hold, now) && false =>", [LAWS, STORE]),
    ("what never expires is used first", "crates/billing/src/burn_down.rs",
     "unwrap_or(Time(i64::MAX))", "unwrap_or(Time(0))", [STORIES, LAWS]),
    ("credits can be spent at the moment in which they expire", "crates/billing/src/ledger.rs",
     "if credits == 0 || due_at > moment {", "if credits == 0 || due_at >= moment {", [LAWS, STORE]),
    ("a key of two is forgotten", "crates/server/src/store/keys.rs",
     "self.young.insert(place, (name, made));", "if made.1.0 % 2 == 0 {\nself.young.insert(place, (name, made));\n}",
     [STORE, suite("http")]),
    ("a key answers for another command", "crates/server/src/store/batch.rs",
     "if fingerprint == key.fingerprint =>", "if fingerprint == key.fingerprint || true =>", [STORE, suite("http")]),
    ("credit before dedupe", "crates/server/src/store/payments/apply.rs",
     "if said.stands == Stands::Paid && !payment.is_paid() {", "if said.stands == Stands::Paid {",
     [suite("payments"), suite("stripe")]),
    ("answered before the sync", "crates/server/src/store/syncer.rs",
     "if works { self.log.sync_data() }", "if works { Ok(()) }", [POWER, FAULTS]),
    ("whoever had a piece may end it", WORK,
     "Ok(epoch == Some(claim.epoch))", "Ok(epoch.is_some())", [suite("workers"), suite("pieces")]),
    ("a piece is leased to nobody", WORK,
     "now.plus_seconds(LEASE_SECONDS),", "now,", [suite("workers"), suite("runner")]),
    ("a call goes out without its commit", "crates/server/src/runner.rs",
     "if !app.store.dispatch_piece(&claim, hold.id).await? {", "if false {", [suite("runner"), suite("crash")]),
    ("a budget does not see what is held", "crates/server/src/store/budgets/gate.rs",
     "sight.held += amount;", "sight.held += amount.min(0);", [suite("budgets::model"), suite("budgets::work")]),
    ("a refund is counted as use", "crates/server/src/store/entry.rs",
     "Some(Usage { refunded: price.quantity, refunded_credits: entry.amount, ..Usage::default() })",
     "Some(Usage { quantity: price.quantity, refunded_credits: entry.amount, ..Usage::default() })",
     [suite("audit"), suite("traced")]),
]


def cargo(words):
    """Whether it went well, and the end of what was said."""
    command = ["timeout", "1800", "cargo", "test", "--locked", "--quiet", *words]
    environment = dict(os.environ, CARGO_TARGET_DIR=str(PLACE / "build"), CARGO_PROFILE_DEV_DEBUG="0")
    done = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True, check=False)
    return done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def build(words):
    """The same without running anything."""
    end = words.index("--") if "--" in words else len(words)
    good, said = cargo([*words[:end], "--no-run"])
    if not good:
        sys.exit(f"{' '.join(words)} does not compile:\n{said}")


def copy_sources():
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            # With the time of now, so that nothing is taken for built that was built with a bug.
            shutil.copy(ROOT / name, COPY / name)


def main():
    wanted = [bug for bug in BUGS if not sys.argv[1:] or any(word in bug[0] for word in sys.argv[1:])]
    copy_sources()
    begun, missed = time.monotonic(), []
    suites = {tuple(words) for bug in wanted for words in bug[4]}
    for words in sorted(suites):
        build(list(words))
        good, said = cargo(list(words))
        if not good:
            sys.exit(f"{' '.join(words)} fails without a planted bug:\n{said}")
    for name, file, old, new, finders in wanted:
        path = COPY / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"{name}: {file} has {text.count(old)} places for it")
        path.write_text(text.replace(old, new))
        found = []
        for words in finders:
            build(words)
            found.append(not cargo(words)[0])
        path.write_text(text)
        print(f"{'found' if all(found) else 'MISSED'}: {name} ({found.count(True)} of {len(found)} suites)", flush=True)
        if not all(found):
            missed.append(name)
    print(f"planted: {len(wanted) - len(missed)} of {len(wanted)} bugs found by two suites each,"
          f" {time.monotonic() - begun:.0f} s")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
