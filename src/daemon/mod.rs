//! The service: schedules, HTTP, metrics, signals.

pub mod calendar;
pub mod notify;
pub mod planner;
pub mod webhook;
