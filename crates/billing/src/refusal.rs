//! Every lawful no, in order of precedence. A refusal is an answer, not an error: nothing was written for it.

use crate::account::HoldStatus;

/// Why a command was not carried out. Declared in the order in which the rules look for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A field is outside its range; the reason says which range.
    InvalidField {
        /// The field's name as callers write it.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The idempotency key was used before for a different command.
    IdempotencyKeyReused,
    /// The workspace has no such grant.
    GrantNotFound,
    /// The workspace has no such hold.
    HoldNotFound,
    /// The hold has already ended in another way.
    HoldNotOpen {
        /// How the hold stands.
        status: HoldStatus,
    },
    /// The caller's lease was taken over by another runner.
    StaleEpoch,
    /// More was to be settled than the hold covers.
    SettleExceedsHold {
        /// Units that the hold covers.
        held: i64,
    },
    /// More was to be refunded than is still charged.
    RefundExceedsSettled {
        /// Units that are still charged.
        refundable: i64,
    },
    /// The account already has [`crate::ledger::MAX_GRANTS`] grants with credits in them: no more are given for nothing.
    TooManyGrants,
    /// The account already has [`crate::ledger::MAX_OPEN_HOLDS`] open holds.
    TooManyOpenHolds,
    /// The whole amount is not available, so nothing was taken.
    InsufficientCredits {
        /// Credits the command needs.
        needed: i64,
        /// Credits that could be spent.
        available: i64,
        /// Credits that are owed: whatever comes in repays them first.
        debt: i64,
    },
}

impl Refusal {
    /// More than [`crate::units::MAX_SUM`].
    pub const TOO_MUCH: Refusal = Refusal::InvalidField {
        field: "credits",
        reason: "an account has, and owes, at most 1,000,000,000,000,000,000 credits",
    };

    /// The stable name that callers match on.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::InvalidField { .. } => "invalid_field",
            Refusal::IdempotencyKeyReused => "idempotency_key_reused",
            Refusal::GrantNotFound | Refusal::HoldNotFound => "not_found",
            Refusal::HoldNotOpen { .. } => "hold_not_open",
            Refusal::StaleEpoch => "stale_epoch",
            Refusal::SettleExceedsHold { .. } => "settle_exceeds_hold",
            Refusal::RefundExceedsSettled { .. } => "refund_exceeds_settled",
            Refusal::TooManyGrants => "too_many_grants",
            Refusal::TooManyOpenHolds => "too_many_open_holds",
            Refusal::InsufficientCredits { .. } => "insufficient_credits",
        }
    }

    /// Whether the same command may succeed later without being changed.
    pub fn transient(self) -> bool {
        match self {
            Refusal::TooManyGrants | Refusal::TooManyOpenHolds | Refusal::InsufficientCredits { .. } => true,
            Refusal::InvalidField { .. }
            | Refusal::IdempotencyKeyReused
            | Refusal::GrantNotFound
            | Refusal::HoldNotFound
            | Refusal::HoldNotOpen { .. }
            | Refusal::StaleEpoch
            | Refusal::SettleExceedsHold { .. }
            | Refusal::RefundExceedsSettled { .. } => false,
        }
    }
}
