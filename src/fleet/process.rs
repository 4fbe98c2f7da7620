//! Process identity. Two processes with the same instance id by mistake must not hold a lock together.

use uuid::Uuid;

/// An instance id, and a random nonce that distinguishes its process from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessId {
    instance_id: String,
    nonce: Uuid,
}

impl ProcessId {
    /// Returns the id of a new process, with a random nonce.
    pub fn new(instance_id: String) -> Self {
        Self { instance_id, nonce: Uuid::new_v4() }
    }

    pub fn nonce(&self) -> Uuid {
        self.nonce
    }

    /// Returns the name under which the process holds locks.
    pub fn holder(&self) -> String {
        format!("{}/{}", self.instance_id, self.nonce)
    }
}

/// Returns the instance id of a lock holder.
pub fn instance_of(holder: &str) -> &str {
    match holder.rsplit_once('/') {
        Some((instance_id, nonce)) if nonce.parse::<Uuid>().is_ok() => instance_id,
        // Older versions hold locks under the instance id alone.
        _ => holder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holder_names_its_instance() {
        for id in ["a", "http://a/b", ""] {
            let process = ProcessId::new(id.to_owned());
            assert_eq!(instance_of(&process.holder()), id);
            assert_eq!(instance_of(id), id);
            assert_ne!(process.holder(), ProcessId::new(id.to_owned()).holder());
        }
    }
}
