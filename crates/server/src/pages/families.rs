//! The kinds of operations as people think of them: six lines of a table and six colours of a chart.
//!
//! Only words and order. An operation of no family is a line of its own, so nothing is ever left out of a sum.

use std::collections::BTreeMap;

use super::history::Asked;
use super::usage::{self, Total};
use super::view::UsageRow;
use super::view::format::thousands;
use crate::app::App;

/// Operations that are one line.
#[derive(Debug)]
pub struct Family {
    /// The line of the table.
    label: &'static str,
    /// The colour of the chart.
    pub series: &'static str,
    /// The operations, each with its word in the note beside the line, if it gets one.
    operations: &'static [(&'static str, Option<&'static str>)],
}

/// In the order of the table.
const FAMILIES: [Family; 6] = [
    Family { label: "Discovery previews", series: "Previews", operations: &[("discovery_preview", None)] },
    Family {
        label: "Saved results (discovery and Clues)",
        series: "Saved results",
        operations: &[("discovery_result", None), ("clue_result", Some("Clues"))],
    },
    Family {
        label: "E-mail/contact enrichment",
        series: "Contacts",
        operations: &[("contact_enrichment", None)],
    },
    Family { label: "Other fields", series: "Fields", operations: &[("field_enrichment", None)] },
    Family {
        label: "AI messages",
        series: "Messages",
        operations: &[("message_generation", None), ("message_regeneration", Some("written again"))],
    },
    Family {
        label: "Sends",
        series: "Sends",
        operations: &[("email_send", Some("e-mail")), ("linkedin_send", Some("LinkedIn"))],
    },
];

/// The family of an operation.
pub fn of(operation: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.operations.iter().any(|(name, _)| *name == operation))
}

/// What lines of these operations are called; several have commas between them.
pub fn name(app: &App, operations: &str) -> String {
    let family = FAMILIES.iter().find(|family| family.key() == operations);
    family.map_or_else(|| usage::operation(app, operations), |family| family.label.to_owned())
}

impl Family {
    /// Its operations with commas between them.
    fn key(&self) -> String {
        self.operations.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",")
    }
}

/// The table: the families in their order, then what is of none.
pub fn rows(app: &App, totals: &BTreeMap<String, Total>) -> Vec<UsageRow> {
    let mut rows: Vec<UsageRow> = FAMILIES
        .iter()
        .map(|family| {
            let mut sum = Total::default();
            let mut notes = Vec::new();
            for (name, word) in family.operations {
                let Some(total) = totals.get(*name) else { continue };
                sum.add(total);
                let word = word.filter(|_| total.count > 0);
                notes.extend(word.map(|word| format!("{word} {}", thousands(total.count))));
            }
            row(
                family.key(),
                family.label.to_owned(),
                Some(notes.join(" · ")).filter(|note| !note.is_empty()),
                &sum,
            )
        })
        .collect();
    let others = totals.iter().filter(|(name, _)| of(name).is_none());
    rows.extend(others.map(|(name, total)| row(name.clone(), usage::operation(app, name), None, total)));
    rows.retain(|row| row.count != 0 || row.credits != 0);
    rows
}

fn row(operations: String, label: String, note: Option<String>, total: &Total) -> UsageRow {
    let entries = Asked { operation: operations, ..Asked::default() };
    UsageRow {
        entries: entries.query(),
        label,
        note,
        count: total.count,
        price: total.price(),
        credits: total.credits,
    }
}
