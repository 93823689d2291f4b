//! What a workspace says of itself in the messages that are written for it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::db::Tx;
use super::{Error, Store, logbook};
use crate::{id, values};

/// The strategy of a workspace: each a short text, empty where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Strategy {
    /// Who writes.
    pub sender: String,
    /// What is offered.
    pub offer: String,
    /// What shows that it is worth something.
    pub proof: String,
    /// How it sounds.
    pub tone: String,
    /// What the recipient is asked to do.
    pub call_to_action: String,
}

impl Strategy {
    /// The most characters of one of its texts.
    pub const MAX: usize = 1_000;

    /// Its texts with their names.
    pub fn texts(&self) -> [(&'static str, &str); 5] {
        [
            ("sender", &self.sender),
            ("offer", &self.offer),
            ("proof", &self.proof),
            ("tone", &self.tone),
            ("call_to_action", &self.call_to_action),
        ]
    }
}

impl Store {
    /// The strategy of a workspace.
    pub async fn strategy(&self, workspace: i64) -> Result<Strategy, Error> {
        self.read(move |tx| find(tx, workspace)).await
    }

    /// Changes it: every message that is written from now on is told so.
    pub async fn set_strategy(&self, workspace: i64, strategy: Strategy, actor: String) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            let known = find(&batch.tx, workspace)?;
            if known == strategy {
                return Ok(());
            }
            let text = serde_json::to_string(&strategy).unwrap_or_default();
            let change = "update workspace set strategy = ?2 where workspace = ?1";
            batch.tx.execute(change, values![workspace, &text])?;
            let (name, before, after) = (id::workspace(workspace), in_words(&known), in_words(&strategy));
            let words = (Some(&*before), Some(&*after));
            logbook::note(batch, workspace, &actor, ("workspace.strategy", &name), words)
        })
        .await
    }
}

fn find(tx: &Tx<'_>, workspace: i64) -> Result<Strategy, Error> {
    let text = "select strategy from workspace where workspace = ?1";
    let text = tx.one(text, values![workspace], |row| row.opt_text(0))?.ok_or(Error::NotFound)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

fn in_words(strategy: &Strategy) -> String {
    let mut words = String::new();
    for (name, text) in strategy.texts().into_iter().filter(|(_, text)| !text.is_empty()) {
        let _ = write!(words, "{name}: {text}; ");
    }
    words
}
