//! File descriptors: how many the process may have, and how many it needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The default cap on connections where descriptors allow more.
const MOST_BY_DEFAULT: usize = 10_000;

/// Descriptors besides connections and stores: listeners, logs, timers, the runtime's own, and some that just close.
const SPARE: usize = 64;

/// An explicit cap that the limit on descriptors has no room for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "max_open_connections: {wanted} connections take {needed} file descriptors, and the limit is {limit}: raise it \
     (ulimit -n) or lower the setting"
)]
pub struct TooFewDescriptors {
    wanted: usize,
    needed: usize,
    limit: usize,
}

/// What a process needs descriptors for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// How many the stores take.
    pub(crate) stores: usize,
    /// How many a connection takes, with what is opened on its behalf.
    pub(crate) per_connection: usize,
}

/// Raises the soft limit to the hard one; returns the limit.
pub(crate) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit on file descriptors could not be raised");
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many connections there may be, those kept for operators left out: `wanted`, or as many as `limit` has room for.
///
/// # Errors
/// [`TooFewDescriptors`] if `wanted` does not fit.
pub(crate) fn max_connections(
    wanted: Option<usize>,
    limit: usize,
    needs: Needs,
    kept: impl Fn(usize) -> usize,
) -> Result<usize, TooFewDescriptors> {
    let needed = |connections: usize| {
        (connections + kept(connections)).saturating_mul(needs.per_connection) + needs.stores + SPARE
    };
    match wanted {
        Some(wanted) if needed(wanted) > limit => Err(TooFewDescriptors { wanted, needed: needed(wanted), limit }),
        Some(wanted) => Ok(wanted),
        None => {
            let room = limit.saturating_sub(needs.stores + SPARE) / needs.per_connection;
            let mut most = room.min(MOST_BY_DEFAULT);
            while most > 1 && needed(most) > limit {
                most -= (most / 32).max(1);
            }
            Ok(most.max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { stores: 36, per_connection: 2 };

    fn most(wanted: Option<usize>, limit: usize) -> Result<usize, String> {
        max_connections(wanted, limit, NEEDS, |most| most / 10).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_cap_fits_the_limit() {
        for limit in [120, 256, 1024, 4096, 20_000] {
            let connections = most(None, limit).expect("a default always fits");
            assert!((connections + connections / 10) * 2 + 100 <= limit, "{limit}: {connections}");
            assert!((connections + connections / 10) * 2 + 100 > limit * 9 / 10 - 10, "{limit}: {connections}");
        }
        assert_eq!(most(None, usize::MAX), Ok(MOST_BY_DEFAULT));
        assert_eq!(most(None, 10), Ok(1));
    }

    #[test]
    fn an_explicit_cap_that_does_not_fit_says_how_many_are_needed() {
        assert_eq!(most(Some(400), 980), Ok(400));
        let error = most(Some(401), 981).expect_err("it does not fit");
        assert!(error.contains("982 file descriptors") && error.starts_with("max_open_connections"), "{error}");
    }
}
