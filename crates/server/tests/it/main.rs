//! The server from outside and from inside: over HTTP and through its store, with a manual clock and a database of its own.

mod audit;
mod disk;
mod http;
mod pages;
mod pieces;
mod sample;
mod store;
mod temp;
mod tenants;
mod wrong;

#[path = "../../../billing/tests/it/chance.rs"]
mod chance;
