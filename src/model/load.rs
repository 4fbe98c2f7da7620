//! The load that an instance reports to the fleet.

use serde::{Deserialize, Serialize};

/// Class of a request by its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadClass {
    /// Hashes a password.
    Login,
    /// Only reads.
    Read,
    /// May write.
    Change,
}

/// One value for each [`LoadClass`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ByClass<T> {
    /// For requests that hash passwords.
    pub login: T,
    /// For requests that only read.
    pub read: T,
    /// For all other requests.
    pub change: T,
}

impl<T> ByClass<T> {
    /// Pairs the values of two.
    pub fn zip<U>(self, other: ByClass<U>) -> ByClass<(T, U)> {
        ByClass { login: (self.login, other.login), read: (self.read, other.read), change: (self.change, other.change) }
    }

    /// Applies `function` to each value.
    pub fn map<U>(self, mut function: impl FnMut(T) -> U) -> ByClass<U> {
        ByClass { login: function(self.login), read: function(self.read), change: function(self.change) }
    }

    pub fn into_array(self) -> [T; 3] {
        [self.login, self.read, self.change]
    }
}

/// Load of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Requests a second, including refused ones.
    pub offered: ByClass<f64>,
    /// CPU time of a request in seconds, or `None` while it is unknown.
    pub cost: ByClass<Option<f64>>,
    /// CPU time that the instance may use, in cores.
    pub usable_cores: f64,
    /// CPU time that it uses, in cores.
    pub used_cores: f64,
    /// Memory that it uses, in bytes, or `None` if it can't be read.
    pub memory_bytes: Option<u64>,
    /// CPU utilisation of its container or machine, in percent.
    pub cpu_percent: Option<f64>,
    /// Memory utilisation of its container or machine, in percent.
    pub memory_percent: Option<f64>,
    /// Names of stores whose latency limits it.
    pub slow_stores: Vec<String>,
}
