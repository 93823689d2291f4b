//! The store on a disk that fails: power cuts, kills at every change of a file, and every change and sync failing once.

mod faults;
mod kill;
mod power;
mod proof;
mod scenario;

#[path = "../../../billing/tests/it/chance.rs"]
mod chance;
#[path = "../../../server/tests/it/store/history.rs"]
#[allow(dead_code, reason = "the server's tests use the rest")]
mod history;
#[path = "../../../server/tests/it/sample.rs"]
#[allow(dead_code, reason = "the server's tests use the rest")]
mod sample;
#[path = "../../../server/tests/it/temp.rs"]
#[allow(dead_code, reason = "the server's tests use the rest")]
mod temp;
