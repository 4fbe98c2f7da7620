//! Which process an instance is: two that are given one id by mistake must not hold a lock together.

use uuid::Uuid;

/// An instance's id, and what tells its process from any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessId {
    instance_id: String,
    nonce: Uuid,
}

impl ProcessId {
    /// A process that was not there before.
    pub fn new(instance_id: String) -> Self {
        Self { instance_id, nonce: Uuid::new_v4() }
    }

    /// What tells it from other processes.
    pub fn nonce(&self) -> Uuid {
        self.nonce
    }

    /// What it holds locks as.
    pub fn holder(&self) -> String {
        format!("{}/{}", self.instance_id, self.nonce)
    }
}

/// The instance that a lock's holder is.
pub fn instance_of(holder: &str) -> &str {
    match holder.rsplit_once('/') {
        Some((instance_id, nonce)) if nonce.parse::<Uuid>().is_ok() => instance_id,
        // Older versions hold locks by their instance's id.
        _ => holder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_names_its_instance() {
        for id in ["a", "http://a/b", ""] {
            let process = ProcessId::new(id.to_owned());
            assert_eq!(instance_of(&process.holder()), id);
            assert_eq!(instance_of(id), id);
            assert_ne!(process.holder(), ProcessId::new(id.to_owned()).holder());
        }
    }
}
