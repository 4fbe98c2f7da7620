//! What threads share: the standard library's and `arc-swap`'s, or the model checker's with feature `loom`.

#[cfg(not(feature = "loom"))]
pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

#[cfg(not(feature = "loom"))]
pub(super) use arc_swap::ArcSwap;
#[cfg(feature = "loom")]
pub(super) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
#[cfg(feature = "loom")]
pub(super) use modelled::ArcSwap;

#[cfg(feature = "loom")]
mod modelled {
    use std::sync::{Arc, PoisonError};

    use super::Mutex;

    /// What `arc-swap` promises, in terms that the model checker knows.
    #[derive(Debug)]
    pub(in crate::balancer) struct ArcSwap<T>(Mutex<Arc<T>>);

    impl<T> ArcSwap<T> {
        pub(in crate::balancer) fn from_pointee(value: T) -> Self {
            Self(Mutex::new(Arc::new(value)))
        }

        pub(in crate::balancer) fn load(&self) -> Arc<T> {
            Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        pub(in crate::balancer) fn load_full(&self) -> Arc<T> {
            self.load()
        }

        pub(in crate::balancer) fn store(&self, value: Arc<T>) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
        }
    }
}
