//! A small day of a server: everything that moves credits once, read as a page reads it, with checkpoints and a restart.
//!
//! A step that is refused is noted, and the next one is tried: a client does not know what became of it either.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use billing::{Command, GrantKind, Time};
use disk::Disk;
use rusqlite::Connection;
use scrip::store::committer::{Answer, Key, KeyKind, Post};
use scrip::store::jobs::{Act, JobKind};
use scrip::store::queries::EntryFilter;
use scrip::store::work::{Ending, Held};
use scrip::store::workspaces::NewWorkspace;
use scrip::store::{Error, Place, Store, database_file};

use crate::proof::{Acknowledged, What};
use crate::sample::{self, START};
use crate::temp;

/// What a store does when the disk fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// It goes on: a full disk is freed.
    GoOn,
    /// It stops: what the disk says can no longer be believed.
    Stop,
}

/// What the client knows when the day is over.
#[derive(Default)]
pub struct Day {
    pub acknowledged: Vec<Acknowledged>,
    /// Every post with a key, whatever became of it.
    pub asked: Vec<Post>,
    /// How many steps were refused.
    pub refused: usize,
    /// Where the recording stood when each step ended.
    pub steps: Vec<(&'static str, usize)>,
    workspace: i64,
    keys: i64,
}

/// Lives through the day, and leaves the store open unless it could not be opened. A store that must stop when the disk fails
/// ends the day there.
pub async fn live(directory: &Path, disk: &Disk, policy: Policy) -> (Day, Option<Store>) {
    let mut day = Day::default();
    let Some(mut store) = day.open(directory, disk) else { return (day, None) };
    let steps =
        ["workspace", "charges", "holds", "checkpoint", "pages", "campaign", "top-up", "the log anew"];
    for name in steps.into_iter().chain(["tomorrow", "close", "after a restart"]) {
        let done = match name {
            "workspace" => day.make_workspace(&store, disk).await,
            "holds" => day.hold(&store, disk).await,
            "pages" => day.look(&store).await,
            "campaign" => day.campaign(&store, disk).await,
            "top-up" => day.pay(&store, disk).await,
            "tomorrow" => day.tomorrow(&store, disk).await,
            "close" => {
                temp::close(store).await;
                disk.closed();
                day.steps.push(("close", disk.position()));
                let Some(again) = day.open(directory, disk) else { return (day, None) };
                store = again;
                Ok(())
            }
            "checkpoint" => match checkpoint(directory) {
                Err(_) if policy == Policy::Stop => {
                    day.refused += 1;
                    return (day, Some(store));
                }
                _ => Ok(()),
            },
            _ => day.spend(&store, disk).await,
        };
        if name != "close" {
            day.steps.push((name, disk.position()));
        }
        let Err(error) = done else { continue };
        refused(name, &error);
        day.refused += 1;
        if policy == Policy::Stop {
            day.stopped(&store, disk).await;
        }
        if policy == Policy::Stop || day.workspace == 0 {
            break;
        }
    }
    (day, Some(store))
}

/// A disk that fails is answered as such, and never as a lawful no.
fn refused(what: &str, error: &Error) {
    assert!(matches!(error, Error::Unavailable(_) | Error::Engine(_)), "{what}: {error}");
}

/// What the store's own checkpointer does, at a moment of our choice: it moves the log into the database, and the next commit
/// begins the log anew. When it fails, the store stops.
pub fn checkpoint(directory: &Path) -> Result<(), Error> {
    let connection = Connection::open(database_file(directory))?;
    let checkpoint = "pragma busy_timeout = 0; pragma wal_autocheckpoint = 0; pragma wal_checkpoint(passive)";
    Ok(connection.execute_batch(checkpoint)?)
}

fn new() -> NewWorkspace {
    NewWorkspace {
        name: "Day".into(),
        terms: Some(sample::terms(1_000)),
        collection: "none".into(),
        time_zone: "UTC".into(),
        admin_email: Some("admin@example.com".into()),
        external_id: None,
        request: String::new(),
    }
}

/// A workspace on a disk that works.
pub async fn workspace(store: &Store) -> i64 {
    store.create_workspace(new()).await.expect("a workspace").0.id
}

/// What is charged again and again.
pub fn charge() -> Command {
    Command::Charge(sample::hold("work", 2, 3, 900))
}

impl Day {
    fn open(&mut self, directory: &Path, disk: &Disk) -> Option<Store> {
        match Store::open(&Place::Directory(directory.to_owned()), Some(START)) {
            Ok(store) => {
                self.steps.push(("open", disk.position()));
                Some(store)
            }
            Err(why) => {
                assert_eq!(why.lines().count(), 1, "one line for the operator: {why}");
                self.refused += 1;
                disk.closed();
                None
            }
        }
    }

    /// After a write that the disk did not take, the writer stops, and whoever comes later is told so.
    async fn stopped(&mut self, store: &Store, disk: &Disk) {
        let died = tokio::time::timeout(Duration::from_secs(60), store.died()).await;
        died.expect("the writer stops when the disk fails");
        if self.workspace != 0 {
            refused("a write after the end", &self.spend(store, disk).await.expect_err("it has stopped"));
            let _ = self.look(store).await.inspect_err(|error| refused("a read after the end", error));
        }
    }

    /// There is room again: everything goes on without a restart.
    pub async fn goes_on(&mut self, store: &Store, disk: &Disk) -> Result<(), Error> {
        if self.workspace == 0 {
            self.make_workspace(store, disk).await?;
        }
        self.look(store).await?;
        self.spend(store, disk).await
    }

    fn promise(&mut self, disk: &Disk, what: What) {
        self.acknowledged.push(Acknowledged { position: disk.position(), what });
    }

    /// What was promised when the recording was so long.
    pub fn by(&self, position: usize) -> Vec<&What> {
        let so_far = self.acknowledged.iter().take_while(|promise| promise.position <= position);
        so_far.map(|promise| &promise.what).collect()
    }

    fn key(&mut self, kind: KeyKind) -> Key {
        self.keys += 1;
        Key { kind, key: format!("key-{}", self.keys).into(), fingerprint: [7; 16] }
    }

    /// Posts a command, with a key if it has a kind.
    async fn post(
        &mut self,
        store: &Store,
        disk: &Disk,
        kind: Option<KeyKind>,
        command: Command,
    ) -> Result<Answer, Error> {
        let mut post = Post::new(self.workspace, command, "key_1");
        post.reason = Some("because".into());
        post.key = kind.map(|kind| self.key(kind));
        self.asked.extend(post.key.is_some().then(|| post.clone()));
        let answer = store.post(post.clone()).await?;
        What::entry(&post, &answer).into_iter().for_each(|what| self.promise(disk, what));
        Ok(answer)
    }

    async fn make_workspace(&mut self, store: &Store, disk: &Disk) -> Result<(), Error> {
        self.workspace = store.create_workspace(new()).await?.0.id;
        self.promise(disk, What::Workspace(self.workspace));
        let grant = sample::grant(100, GrantKind::Promo, START, Some(START.plus_seconds(sample::DAY)));
        self.post(store, disk, Some(KeyKind::Grant), Command::Grant(grant)).await?;
        Ok(())
    }

    /// Charges one after the other, and some in one commit.
    pub async fn spend(&mut self, store: &Store, disk: &Disk) -> Result<(), Error> {
        for _ in 0..2 {
            self.post(store, disk, Some(KeyKind::Charge), charge()).await?;
        }
        let mut posts = Vec::new();
        for _ in 0..3 {
            let mut post = Post::new(self.workspace, charge(), "key_1");
            post.key = Some(self.key(KeyKind::Charge));
            posts.push(post);
        }
        // A batch of this size is written by a thread of its own.
        posts[0].reason = Some("x".repeat(17_000).into());
        self.asked.extend(posts.clone());
        let mut failed = Ok(());
        for (post, answer) in posts.iter().zip(store.post_all(posts.clone()).await) {
            match answer {
                Ok(answer) => {
                    What::entry(post, &answer).into_iter().for_each(|what| self.promise(disk, what));
                }
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    async fn hold(&mut self, store: &Store, disk: &Disk) -> Result<(), Error> {
        let hold = || Command::Hold(sample::hold("work", 4, 3, 900));
        let made = self.post(store, disk, Some(KeyKind::Hold), hold()).await?;
        let hold_id = made.hold.expect("a hold").id;
        self.post(store, disk, None, Command::Dispatch { hold: hold_id, epoch: 0 }).await?;
        let settle = Command::Settle { hold: hold_id, quantity: 3, attempted: None };
        self.post(store, disk, None, settle).await?;
        let refund = Command::Refund { hold: hold_id, quantity: Some(1) };
        self.post(store, disk, Some(KeyKind::Refund), refund).await?;
        let made = self.post(store, disk, Some(KeyKind::Hold), hold()).await?;
        self.post(store, disk, None, Command::Release(made.hold.expect("a hold").id)).await?;
        self.post(store, disk, Some(KeyKind::Hold), hold()).await?;
        Ok(())
    }

    /// What the pages read.
    async fn look(&self, store: &Store) -> Result<(), Error> {
        store.balance(self.workspace).await?;
        store.entries(self.workspace, EntryFilter::default(), 20).await?;
        store.holds(self.workspace, None, None, 20).await?;
        store.usage(self.workspace, START, Time(START.0 + 1_000_000)).await?;
        Ok(())
    }

    /// A campaign of one e-mail to one lead.
    async fn campaign(&mut self, store: &Store, disk: &Disk) -> Result<(), Error> {
        let workspace = self.workspace;
        store.import_leads(workspace, vec![sample::lead("ada")]).await?;
        let leads = store.leads(workspace, None, 10).await?.iter().map(|lead| lead.id).collect();
        let job = store.create_job(workspace, sample::one_mail()).await?.id;
        store.add_leads(workspace, job, leads).await?;
        store.act_on_job(workspace, job, JobKind::Campaign, Act::Launch { by: None }).await?;
        for claim in store.claim(10).await? {
            let Held::Yes(hold) = store.hold_piece(&claim, sample::piece(&claim)).await? else {
                panic!("there are credits")
            };
            assert!(store.dispatch_piece(&claim, hold.id).await?, "nobody else has it");
            assert!(store.finish_piece(&claim, Some(hold.id), Ending::Sent).await?, "nobody else has it");
            self.promise(disk, What::Sent { workspace, job });
        }
        Ok(())
    }

    async fn pay(&mut self, store: &Store, disk: &Disk) -> Result<(), Error> {
        let workspace = self.workspace;
        let key = Key { kind: KeyKind::TopUp, key: Arc::from("order"), fingerprint: [7; 16] };
        let topup = store.create_payment(sample::topup(workspace, 500), key).await?.0.id;
        store.apply_payment(workspace, topup, sample::paid(topup)).await?;
        self.promise(disk, What::Paid { workspace, topup });
        Ok(())
    }

    /// A grant and a hold run out.
    async fn tomorrow(&mut self, store: &Store, disk: &Disk) -> Result<(), Error> {
        store.advance_clock(START.plus_seconds(2 * sample::DAY)).await?;
        self.post(store, disk, None, Command::Sweep).await?;
        Ok(())
    }
}
