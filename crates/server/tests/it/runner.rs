//! Stories of work in the background: what it costs, what leaves the house, and what stops it. Every story holds the credits
//! against what the stand-ins logged, and ends with an audit.

mod answers;
mod credits;
mod drafts;
mod limits;
mod providers;
mod rogue;
mod senders;
mod sending;
mod waterfall;
