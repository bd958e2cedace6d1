//! The service: schedules, runs, HTTP, signals.

pub mod board;
pub mod calendar;
pub mod desk;
pub mod executor;
pub mod herald;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod order;
pub mod planner;
mod recall;
pub mod segments;
pub mod service;
pub mod start;
pub mod webhook;

pub use start::{Unstarted, serve};
