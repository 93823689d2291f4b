//! The house's rules as a test: who may import whom, how long files and functions may be, and what nobody may call.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of the server and the rules, and of the disk and the Stripe that its tests fail.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/").to_owned();
    let mut files = Vec::new();
    for (prefix, name) in [
        ("server", "server/src"),
        ("billing", "billing/src"),
        ("disk", "disk/src"),
        ("fake-stripe", "fake-stripe/src"),
    ] {
        let folder = root.join(name);
        collect(&folder, &mut |path: &Path| {
            let name = format!("{prefix}/{}", path.strip_prefix(&folder).expect("inside").display());
            files.push((name, fs::read_to_string(path).expect("a source file")));
        });
    }
    assert!(files.len() > 50, "the walk found the sources");
    files
}

fn collect(folder: &Path, each: &mut impl FnMut(&Path)) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            each(&path);
        }
    }
}

/// What a part of the server may not mention. The tables are the arrows of ARCHITECTURE.md, said backwards.
const ARROWS: &[(&str, &[&str])] = &[
    ("server/api/", &["crate::pages", "rusqlite", "store::db", "values!["]),
    ("server/pages/", &["crate::api", "rusqlite", "store::db", "values!["]),
    (
        "server/store/",
        &[
            "crate::api",
            "crate::pages",
            "crate::app",
            "crate::runner",
            "crate::scheduler",
            "crate::delivery",
            "crate::providers",
            "crate::config",
        ],
    ),
    ("server/providers/", &["crate::store", "crate::app", "crate::api", "crate::pages", "billing::"]),
    (
        "server/payments/",
        &["crate::store", "crate::app", "crate::api", "crate::pages", "billing::ledger", "values!["],
    ),
    ("server/oidc", &["crate::store", "crate::app", "crate::api", "crate::pages"]),
    ("server/reconcile.rs", &["crate::api", "crate::pages", "rusqlite", "values!["]),
    ("server/money.rs", &["crate::api", "crate::pages", "rusqlite", "values!["]),
    ("server/app.rs", &["crate::api", "crate::pages", "crate::runner", "crate::scheduler"]),
    ("server/runner.rs", &["crate::api", "crate::pages", "rusqlite", "values!["]),
    ("server/scheduler.rs", &["crate::api", "crate::pages", "rusqlite", "values!["]),
    ("server/webhooks.rs", &["crate::api", "crate::pages", "rusqlite", "values!["]),
    ("server/delivery.rs", &["crate::api", "crate::pages", "rusqlite", "values!["]),
    // The auditor shares nothing with what it audits but the name of the place.
    ("server/audit", &["billing::", "crate::store", "crate::app", "crate::clock"]),
];

#[test]
fn imports_follow_the_arrows() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for (place, banned) in ARROWS {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let allowed = |line: &&str| name == "server/audit.rs" && *line == "use crate::store::Place;";
            let code = code.filter(|line| !allowed(line));
            let hits = code.flat_map(|line| banned.iter().filter(move |word| line.contains(**word)));
            broken.extend(
                hits.filter(|_| name.starts_with(place)).map(|word| format!("{name} mentions {word}")),
            );
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Calls with one home each.
const HOMES: &[(&str, &[&str])] = &[
    ("SystemTime::now", &["server/clock.rs", "fake-stripe/stripe.rs"]),
    ("Instant::now", &[]),
    ("Timestamp::now", &[]),
    ("getrandom::", &["server/clock.rs"]),
    ("std::env::var", &["server/config.rs", "server/config/providers.rs"]),
    (
        "rusqlite::",
        &[
            "server/store/db.rs",
            "server/store/mod.rs",
            "server/store/sqlite.rs",
            "server/store/sqlite/file.rs",
            "server/store/sqlite/writing.rs",
            "disk/vfs.rs",
        ],
    ),
];

#[test]
fn time_randomness_environment_and_engine_have_one_home() {
    let mut broken = Vec::new();
    for (name, text) in
        sources().into_iter().filter(|(name, _)| !name.contains("/tests") && !name.contains("/demo/"))
    {
        for (call, homes) in HOMES {
            let code = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(call));
            let at_home = homes.iter().any(|home| name == *home)
                || (*call == "rusqlite::" && name == "server/audit/reader.rs");
            if code && !at_home {
                broken.push(format!("{name} calls {call}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Files longer than the ratchet, with the length that they may not exceed. These numbers only shrink.
const LONG_FILES: &[(&str, usize)] = &[("billing/ledger.rs", 480), ("billing/account.rs", 450)];

#[test]
fn files_and_functions_stay_short() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let allowed = LONG_FILES.iter().find(|(file, _)| *file == name).map_or(400, |(_, lines)| *lines);
        let lines = text.lines().count();
        if lines > allowed {
            long.push(format!("{name} has {lines} lines, {allowed} are allowed"));
        }
        if !name.ends_with("tests.rs") {
            long.extend(long_functions(&name, &text));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

/// Functions of more than 70 lines: from `fn` to the closing brace at the same depth of indentation.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_function =
            ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(super) fn ", "pub(crate) fn "];
        if !is_function.iter().any(|begin| code.starts_with(begin)) || line.ends_with('}') {
            continue;
        }
        let indent = line.len() - code.len();
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| **line == closing).unwrap_or(0);
        if end + 1 > 70 {
            long.push(format!("{name}:{} is a function of {} lines", start + 1, end + 1));
        }
    }
    long
}

#[test]
fn the_rules_have_no_dependencies_and_no_std() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/").join("billing");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    assert!(!manifest.contains("[dependencies]"), "billing depends on nothing");
    assert!(fs::read_to_string(root.join("src/lib.rs")).expect("lib.rs").contains("#![no_std]"));
}
