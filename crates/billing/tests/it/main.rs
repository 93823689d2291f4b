//! What the rules of credits promise, shown in five ways: stories a person can read, an auditor that predicts every
//! answer, laws over random histories, every small world there is, and walks for alerts and campaigns.
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod alerts;
mod answer;
mod budget;
mod campaign;
mod chance;
mod laws;
mod model;
mod small_world;
mod story;
mod subscription;
mod witness;
