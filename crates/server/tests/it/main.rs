//! The server from outside: over HTTP, with a manual clock and a database of its own.

mod pages;
