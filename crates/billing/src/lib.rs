//! The rules of prepaid credits: what a command does to an account, and why it may be refused.
//!
//! This crate owns every decision about credits: grants, holds, settlement, burn-down, expiry, debt, alerts, and when a
//! campaign runs or waits. It does *not* know the time, randomness, a database or a wire format: values in, values out.
//!
//! Invariant: for every grant, granted = scheduled + available + held + consumed + expired + revoked + repaid, all of them
//! zero or more; the balance of an account is available + held - debt; debt above zero means nothing is available.
//!
//! Reading order: `units`, `few`, `account`, `hold`, `ledger`, `burn_down`, `refusal`, `rate_card`, `alerts`, `budget`, `campaign`,
//! `subscription`.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod account;
pub mod alerts;
pub mod budget;
pub mod burn_down;
pub mod campaign;
pub mod few;
pub mod hold;
pub mod ledger;
pub mod rate_card;
pub mod refusal;
pub mod subscription;
pub mod units;

pub use account::{
    Account, Bucket, Entry, EntryKind, Grant, GrantKind, Hold, HoldStatus, Labels, Posting, ReleaseReason,
};
pub use ledger::{Command, GrantTerms, HoldTerms, Outcome, Posted};
pub use rate_card::{Price, RateCard};
pub use refusal::Refusal;
pub use units::{Amount, Quantity, Seq, Time};
