//! What an instance reports of its load.

use serde::{Deserialize, Serialize};

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadClass {
    /// It hashes a password.
    Login,
    /// It changes nothing.
    Read,
    /// It may change something.
    Change,
}

/// Something for each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ByClass<T> {
    /// Of what hashes passwords.
    pub login: T,
    /// Of what changes nothing.
    pub read: T,
    /// Of all else.
    pub change: T,
}

impl<T> ByClass<T> {
    /// The same of two for each class.
    pub fn zip<U>(self, other: ByClass<U>) -> ByClass<(T, U)> {
        ByClass { login: (self.login, other.login), read: (self.read, other.read), change: (self.change, other.change) }
    }

    /// Of each class what `function` makes of it.
    pub fn map<U>(self, mut function: impl FnMut(T) -> U) -> ByClass<U> {
        ByClass { login: function(self.login), read: function(self.read), change: function(self.change) }
    }

    /// All three.
    pub fn into_array(self) -> [T; 3] {
        [self.login, self.read, self.change]
    }
}

/// What an instance says of its load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Requests that came in a second, those included that were refused.
    pub offered: ByClass<f64>,
    /// Processor time that a request costs, in seconds; none where that is not known yet.
    pub cost: ByClass<Option<f64>>,
    /// The processor time that the instance is meant to use, in cores.
    pub usable_cores: f64,
    /// The processor time that it uses, in cores.
    pub used_cores: f64,
    /// The memory that it uses, in bytes; none if that can't be read.
    pub memory_bytes: Option<u64>,
    /// How much of the container's or machine's processor time is used, in percent.
    pub cpu_percent: Option<f64>,
    /// How much of its memory is used, in percent.
    pub memory_percent: Option<f64>,
    /// Stores that hold it up.
    pub slow_stores: Vec<String>,
}
