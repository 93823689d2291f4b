//! The local stand-ins for everything outside: real listeners on this machine with synthetic answers.
//!
//! They serve the demo, the tests and the bench. They never call anything and know nothing of credits.
//!
//! Invariant: the same question gets the same answer, in every process and on every machine.

mod answers;
pub mod http_fakes;
mod play;
pub mod smtp_sink;

pub use play::run;
