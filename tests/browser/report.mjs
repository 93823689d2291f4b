// Counts what holds and what does not, and ends the run in time whatever happens.

let passed = 0;
const failures = [];

/** Notes one check; `detail` says what was there instead. */
export function check(what, holds, detail = "") {
  if (holds) {
    passed += 1;
    return;
  }
  failures.push(what);
  console.log(`FAILED  ${what}${detail === "" ? "" : `: ${detail}`}`);
}

/** Runs a part of the walk; what it throws is one failure, and the next part goes on. */
export async function part(name, run) {
  const start = Date.now();
  try {
    await run();
  } catch (error) {
    check(name, false, error.message.split("\n").slice(0, 6).join("\n        "));
  }
  console.log(`${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
}

/** The closing line; the exit code of the run. */
export function close() {
  console.log(`${passed} passed, ${failures.length} failed`);
  return failures.length === 0 && passed > 0 ? 0 : 1;
}
