//! The anchor file: a ledger that was exchanged as a whole, set back or robbed of a workspace is found, and named.

use billing::Command;
use scrip::audit::{Report, audit, audit_anchored};
use scrip::store::Store;
use scrip::store::committer::Post;

use crate::sample::{self, START};
use crate::temp::{self, Directory};

const LOST: &str = "I26 anchored heads are still there";

struct Anchored {
    folder: Directory,
    file: std::path::PathBuf,
}

impl Anchored {
    fn audit(&self, ledger: &Directory) -> Report {
        audit_anchored(&ledger.place(), &self.file, "2027-01-31T10:00:00Z").expect("it finishes")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).expect("an anchor file")
    }

    /// Only the file is there, and none that was being written.
    fn is_alone(&self) -> bool {
        std::fs::read_dir(self.folder.path()).expect("a folder").count() == 1
    }
}

/// Charges so much, one credit at a time.
async fn charge(store: &Store, workspace: i64, charges: usize) {
    for _ in 0..charges {
        let charge = Command::Charge(sample::hold("work", 1, 1, 900));
        store.post(Post::new(workspace, charge, "key_1")).await.expect("there are credits");
    }
}

async fn grow(ledger: &Directory, workspace: i64, charges: usize) {
    let store = Store::open(&ledger.place(), Some(START)).expect("it opens");
    charge(&store, workspace, charges).await;
    temp::close(store).await;
}

#[tokio::test]
async fn a_ledger_that_was_exchanged_or_set_back_is_found() {
    let origin = Directory::new("origin");
    let (main, _) = sample::make(&origin).await;
    let (ledger, copy) = (origin.crashed(), origin.crashed());
    let folder = Directory::local("anchor");
    let anchored = Anchored { file: folder.path().join("heads"), folder };

    let first = anchored.audit(&ledger);
    assert!(first.clean && first.anchored == 0, "{:#?}", first.broken);
    grow(&ledger, main, 3).await;
    let before = anchored.text();
    let grown = anchored.audit(&ledger);
    assert!(grown.clean && grown.anchored == 2, "{:#?}", grown.broken);
    assert_ne!(anchored.text(), before, "the heads have moved");

    // A head may be in the journal alone, at either time.
    let store = Store::open(&ledger.place(), Some(START)).expect("it opens");
    charge(&store, main, 2).await;
    let ahead = anchored.audit(&ledger);
    assert!(ahead.clean && ahead.anchored == 2, "{:#?}", ahead.broken);
    charge(&store, main, 1).await;
    let again = anchored.audit(&ledger);
    assert!(again.clean && again.anchored == 2, "{:#?}", again.broken);
    temp::close(store).await;
    let kept = anchored.text();

    // Nothing in an older copy is wrong but that it is old; and nothing in another continuation but that it is another.
    for (charges, found) in [(0, "is gone, the ledger ends at"), (6, "another hash"), (3, "another hash")] {
        grow(&copy, main, charges).await;
        assert!(audit(&copy.place()).expect("it finishes").clean);
        let report = anchored.audit(&copy);
        assert_eq!(
            (report.clean, report.broken_total, report.anchored),
            (false, 1, 2),
            "{:#?}",
            report.broken
        );
        assert_eq!(report.broken[0].invariant, LOST);
        assert_eq!(report.broken[0].workspace, scrip::id::workspace(main));
        assert!(report.broken[0].detail.contains(found), "{found} in {}", report.broken[0].detail);
        assert_eq!(anchored.text(), kept, "a broken audit replaces nothing");
    }
    assert!(anchored.audit(&ledger).clean && anchored.is_alone());
}

#[tokio::test]
async fn a_workspace_that_is_gone_is_found() {
    let origin = Directory::new("gone");
    sample::make(&origin).await;
    let (ledger, copy) = (origin.crashed(), origin.crashed());
    let store = Store::open(&ledger.place(), Some(START)).expect("it opens");
    // More than one, so that some are after others in whatever order partitions have.
    let mut new = [0; 4];
    for workspace in &mut new {
        *workspace = sample::workspace(&store, None).await;
    }
    temp::close(store).await;
    let folder = Directory::local("anchor");
    let anchored = Anchored { file: folder.path().join("heads"), folder };
    assert!(anchored.audit(&ledger).clean);
    let report = anchored.audit(&copy);
    let mut found: Vec<_> = report.broken.iter().map(|broken| broken.workspace.clone()).collect();
    let mut expected = new.map(scrip::id::workspace);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(report.broken.iter().all(|broken| broken.invariant == LOST && broken.detail.contains("gone")));
    let report = anchored.audit(&ledger);
    assert!(report.clean && report.anchored == 6, "{:#?}", report.broken);
}

#[tokio::test]
async fn an_anchor_file_that_cannot_be_believed_is_never_clean() {
    let ledger = Directory::new("believed");
    let (main, _) = sample::make(&ledger).await;
    let folder = Directory::local("anchor");
    let anchored = Anchored { file: folder.path().join("heads"), folder };
    assert!(anchored.audit(&ledger).clean);
    let good = anchored.text();
    let lines: Vec<&str> = good.lines().collect();
    let head = lines.iter().find(|line| line.starts_with(&scrip::id::workspace(main))).expect("a head");
    let bad = [
        String::new(),
        "\n".to_owned(),
        "scrip".to_owned(),
        "x".repeat(100_000),
        good.replace("anchor 1", "anchor 2"),
        good.replace(" partitions ", " partitions 1"),
        // A digit of a hash, a number, an order, a repetition, a line that is missing.
        good.replace(
            head,
            &format!("{}{}", &head[..head.len() - 1], if head.ends_with('0') { '1' } else { '0' }),
        ),
        good.replace(head, &head.replacen(' ', " 1", 1)),
        good.replace(head, &head.to_uppercase()),
        format!("{}\n{}\n{}\n{}\n", lines[0], lines[2], lines[1], lines[3]),
        good.replace(head, &format!("{head}\n{head}")),
        good.replace(&format!("{head}\n"), ""),
        good.replace(lines[3], &lines[3].replace("end 2", "end 3")),
        good.replace('\n', "\r\n"),
        format!("{good}\n"),
        format!("{good}{good}"),
    ];
    let cuts = (0..good.len()).step_by(7).map(|end| good[..end].to_owned());
    for text in bad.into_iter().chain(cuts).chain([good[..good.len() - 1].to_owned()]) {
        std::fs::write(&anchored.file, &text).expect("written");
        let said = audit_anchored(&ledger.place(), &anchored.file, "now").expect_err(&text);
        assert!(said.contains("--anchor") && said.lines().count() == 1, "{said}");
        assert_eq!(anchored.text(), text, "it is left as it is");
    }
    std::fs::write(&anchored.file, b"scrip \xff\n").expect("written");
    assert!(audit_anchored(&ledger.place(), &anchored.file, "now").is_err(), "no text");
    assert!(anchored.is_alone());
    std::fs::remove_file(&anchored.file).expect("removed");
    std::fs::create_dir(&anchored.file).expect("a folder");
    assert!(audit_anchored(&ledger.place(), &anchored.file, "now").is_err(), "a folder");
    let nowhere = anchored.file.join("no").join("where");
    assert!(audit_anchored(&ledger.place(), &nowhere, "now").is_err(), "no folder");
    assert!(anchored.is_alone());
}
