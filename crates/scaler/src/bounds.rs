//! Bounds of the number of instances.

use serde::Serialize;

/// Bounds of the number of instances, both inclusive. The lower bound is at least 1 and not above the upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Bounds {
    min: u32,
    max: u32,
}

/// The lower bound is 0 or above the upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the minimum number of instances must be at least 1 and at most the maximum")]
pub struct InvalidBounds;

impl Bounds {
    /// Makes bounds from `min` to `max` instances, both inclusive.
    ///
    /// # Errors
    /// [`InvalidBounds`] if `min` is 0 or above `max`.
    pub fn new(min: u32, max: u32) -> Result<Self, InvalidBounds> {
        if min == 0 || min > max { Err(InvalidBounds) } else { Ok(Self { min, max }) }
    }

    /// Returns the lower bound.
    pub fn min(self) -> u32 {
        self.min
    }

    /// Returns the upper bound.
    pub fn max(self) -> u32 {
        self.max
    }

    /// Returns the number within the bounds that is closest to `count`.
    pub fn clamp(self, count: u32) -> u32 {
        count.clamp(self.min, self.max)
    }
}

impl Default for Bounds {
    /// From 2 to 10 instances, as in the reference design.
    fn default() -> Self {
        Self { min: 2, max: 10 }
    }
}
