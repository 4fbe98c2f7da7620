//! File descriptors: the limit of the process, and how many connections fit in it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The default connection limit, if descriptors allow more.
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// Descriptors besides connections and stores: listeners, logs, timers, the runtime, and connections that are closing.
const RESERVED: usize = 64;

/// `max_open_connections` does not fit in the limit on file descriptors.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "max_open_connections: {wanted} connections need {needed} file descriptors, but the limit is {limit}: raise it \
     (ulimit -n) or lower the setting"
)]
pub struct TooFewDescriptors {
    wanted: usize,
    needed: usize,
    limit: usize,
}

/// Descriptors that a process needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) stores: usize,
    /// Of one client connection, including what is opened on its behalf.
    pub(crate) per_connection: usize,
}

/// Raises the soft limit to the hard one, and returns the limit in force.
pub(crate) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "limit on file descriptors not raised");
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Returns how many client connections fit in `limit`: `wanted`, or as many as possible. `reserved` is how many more are kept
/// for operators, by the number of client connections.
///
/// # Errors
/// Returns [`TooFewDescriptors`] if `wanted` does not fit.
pub(crate) fn max_connections(
    wanted: Option<usize>,
    limit: usize,
    needs: Needs,
    reserved: impl Fn(usize) -> usize,
) -> Result<usize, TooFewDescriptors> {
    let needed = |connections: usize| {
        (connections + reserved(connections)).saturating_mul(needs.per_connection) + needs.stores + RESERVED
    };
    match wanted {
        Some(wanted) if needed(wanted) > limit => Err(TooFewDescriptors { wanted, needed: needed(wanted), limit }),
        Some(wanted) => Ok(wanted),
        None => {
            let room = limit.saturating_sub(needs.stores + RESERVED) / needs.per_connection;
            let mut max = room.min(DEFAULT_MAX_CONNECTIONS);
            while max > 1 && needed(max) > limit {
                max -= (max / 32).max(1);
            }
            Ok(max.max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { stores: 36, per_connection: 2 };

    fn max(wanted: Option<usize>, limit: usize) -> Result<usize, String> {
        max_connections(wanted, limit, NEEDS, |connections| connections / 10).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_limit_fits_the_descriptors() {
        for limit in [120, 256, 1024, 4096, 20_000] {
            let connections = max(None, limit).expect("a default always fits");
            assert!((connections + connections / 10) * 2 + 100 <= limit, "{limit}: {connections}");
            assert!((connections + connections / 10) * 2 + 100 > limit * 9 / 10 - 10, "{limit}: {connections}");
        }
        assert_eq!(max(None, usize::MAX), Ok(DEFAULT_MAX_CONNECTIONS));
        assert_eq!(max(None, 10), Ok(1));
    }

    #[test]
    fn a_configured_limit_that_does_not_fit_is_rejected_with_the_number_needed() {
        assert_eq!(max(Some(400), 980), Ok(400));
        let error = max(Some(401), 981).expect_err("it does not fit");
        assert!(error.contains("982 file descriptors") && error.starts_with("max_open_connections"), "{error}");
    }
}
