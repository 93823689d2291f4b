//! The server's tests, in one binary.

mod audit;
mod pieces;
mod sample;
mod store;
mod temp;

#[path = "../../../billing/tests/it/chance.rs"]
mod chance;
