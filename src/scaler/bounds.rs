//! How few and how many instances there may be.

use serde::Serialize;

/// From how many to how many instances; at least one, and the lower bound is not above the upper one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Bounds {
    min: u32,
    max: u32,
}

/// Bounds between which there is nothing, or that allow no instance at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the least number of instances must be at least 1 and at most the greatest")]
pub struct InvalidBounds;

impl Bounds {
    /// From `min` to `max` instances, both included.
    pub fn new(min: u32, max: u32) -> Result<Self, InvalidBounds> {
        if min == 0 || min > max { Err(InvalidBounds) } else { Ok(Self { min, max }) }
    }

    /// The least number.
    pub fn min(self) -> u32 {
        self.min
    }

    /// The greatest number.
    pub fn max(self) -> u32 {
        self.max
    }

    /// The number within that is closest.
    pub fn clamp(self, count: u32) -> u32 {
        count.clamp(self.min, self.max)
    }
}

impl Default for Bounds {
    /// From 2 to 10, as in the seed.
    fn default() -> Self {
        Self { min: 2, max: 10 }
    }
}
