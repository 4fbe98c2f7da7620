//! How large an instance should be: advice from the last quarter of an hour, and requests and limits to set from days.

mod advice;
mod histogram;
mod usage;

pub use advice::{Action, Advice, Averages, Recommendation, Resource, Status, advise};
pub use histogram::{Histogram, InvalidCheckpoint, Scheme};
pub use usage::{Sizes, Sizing, Usage};
