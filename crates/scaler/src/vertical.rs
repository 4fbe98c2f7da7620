//! Size of an instance: advice from averages over 15 minutes, and recommended requests and limits from days of use.

mod advice;
mod histogram;
mod usage;

pub use advice::{Action, Advice, Averages, Recommendation, Resource, Status, advise};
pub use histogram::{Histogram, InvalidCheckpoint, Scheme};
pub use usage::{Sizes, Sizing, Usage};
