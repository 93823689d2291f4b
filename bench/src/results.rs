//! `bench/RESULTS.md`: one section per command, replaced when that command runs again.

use anyhow::Result;
use std::fs;
use std::path::Path;

const INTRODUCTION: &str = "# Measured results\n\nWritten by the bench itself; every section names its command. \
Figures of different sections or machines do not compare; the ratios within one section do.\n";

/// Prints the section and stores it in the file: `bench/RESULTS.md`, unless another one is named.
pub(crate) fn publish(named: Option<&Path>, name: &str, body: &str) -> Result<()> {
    println!("\n{body}");
    let path = named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md"), Path::to_owned);
    let old = fs::read_to_string(&path).unwrap_or_else(|_| INTRODUCTION.into());
    Ok(fs::write(path, replace_section(&old, name, body))?)
}

/// The document with the section called `name` replaced where it stands, or appended; all others kept.
fn replace_section(document: &str, name: &str, body: &str) -> String {
    let heading = format!("## {name}");
    let mut kept = String::new();
    let mut inside = false;
    let mut found = false;
    let section = format!("{heading}\n\n{}\n", body.trim_end());
    for line in document.lines() {
        if line.starts_with("## ") {
            inside = line == heading;
            if inside && !found {
                kept.push_str(&section);
                kept.push('\n');
                found = true;
            }
        }
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if !found {
        kept = format!("{}\n\n{section}", kept.trim_end());
    }
    format!("{}\n", kept.trim_end())
}

/// Cores, memory and kernel in one line.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{cores} cores ({model}), {} GiB memory, Linux {kernel}", (kib + (1 << 19)) >> 20)
}

#[cfg(test)]
mod tests {
    use super::replace_section;

    #[test]
    fn a_section_is_replaced_where_it_stands_and_the_others_are_kept() {
        let one = replace_section("# Title\n\nIntro.\n", "kill", "first");
        assert_eq!(one, "# Title\n\nIntro.\n\n## kill\n\nfirst\n");
        let two = replace_section(&one, "charges", "table\n\n| a |\n");
        assert_eq!(two, "# Title\n\nIntro.\n\n## kill\n\nfirst\n\n## charges\n\ntable\n\n| a |\n");
        let again = replace_section(&two, "kill", "second");
        assert_eq!(again, "# Title\n\nIntro.\n\n## kill\n\nsecond\n\n## charges\n\ntable\n\n| a |\n");
        assert_eq!(replace_section(&again, "kill", "second"), again);
        assert!(replace_section(&again, "kill-campaigns", "x").contains("## kill\n\nsecond\n"));
    }
}
