//! Outreach as the API, the pages and the runner share it: what a lead and a campaign must look like, what a message says,
//! and the paid calls that a person waits for.
//!
//! Owns the words and the checks, not the routes, the loop or the tables.

mod calls;
mod campaign;
mod import;
mod launch;
mod lead;
mod mailbox;
mod message;
mod noted;
mod sending;
mod template;

pub use calls::{Failure, edited, preview, usable, write_message};
pub use campaign::{
    MAX_ENRICH, MAX_STEPS, campaign, campaign_change, check_fields, cost_left, enrich_operation, estimate,
    expected, send_operation, senders,
};
pub use import::{Import, KEPT_AS_FIELD, MAX_LEADS, Rejected, from_csv, from_json};
pub use launch::check_launch;
pub use lead::{address, block_entry, fits, lead_from_json, lead_json, link, tidy};
pub use mailbox::{mail_name, mailbox, named_lead};
pub use message::check_text;
pub use noted::Asked;
pub use sending::{
    DAYS, HoursText, NewSender, SenderChange, hours_text, mail_server, new_sender, sender_change,
};
pub use template::{check_template, prompt, render, subject};

/// What is wrong with which field of something that a person wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The field as callers write it, such as `steps[1].subject`.
    pub field: String,
    /// What it must be.
    pub reason: String,
}

impl Fault {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Fault {
        Fault { field: field.into(), reason: reason.into() }
    }
}

/// One line of text of a bounded length; the error says what it must be.
fn line(text: &str, max: usize) -> Result<(), String> {
    if text.chars().count() > max {
        return Err(format!("has at most {max} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must be one line without control characters".to_owned());
    }
    Ok(())
}
