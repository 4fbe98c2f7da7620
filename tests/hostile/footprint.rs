//! The resources of a process: memory, sockets, and open connections by its own metrics.

use std::{
    cell::Cell,
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::support::{LogFile, Service, eventually, holds_in_time, until};

/// How much memory may remain in use after an attack, in KiB.
const MEMORY_SLACK: u64 = 10 << 10;

/// How many more sockets there may be, for bystanders, metrics and health checks.
const SOCKETS_SLACK: usize = 16;

/// How many more descriptors there may be: the connection pools of embedded storage may have grown.
const DESCRIPTORS_SLACK: usize = 32;

/// How long memory must not have fallen, until it is taken for settled.
const SETTLED: Duration = Duration::from_secs(2);

/// A process of the service under attack.
pub struct Process {
    pub name: &'static str,
    pub service: Service,
    pub log: LogFile,
}

/// The resources that it has at one time.
#[derive(Clone, Copy)]
pub struct Footprint {
    /// Resident memory and its peak, in KiB.
    pub memory: u64,
    pub peak: u64,
    pub sockets: usize,
    pub descriptors: usize,
}

impl fmt::Display for Footprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, peak, sockets, descriptors } = self;
        let (memory, peak) = (*memory as f64 / 1024.0, *peak as f64 / 1024.0);
        write!(out, "{memory:.1} MiB (at most {peak:.1}), {sockets} sockets, {descriptors} descriptors")
    }
}

impl Process {
    pub fn footprint(&self) -> Footprint {
        let of = format!("/proc/{}", self.service.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(format!("{of}/status"));
        let status = status.unwrap_or_else(|error| panic!("the {} is gone: {error}", self.name));
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            value.unwrap_or_else(|| panic!("the {} has ended", self.name)).parse().expect("a number")
        };
        let descriptors = std::fs::read_dir(format!("{of}/fd")).expect("descriptors").flatten();
        let kinds: Vec<PathBuf> = descriptors.flat_map(|descriptor| std::fs::read_link(descriptor.path())).collect();
        Footprint {
            memory: value("VmRSS:"),
            peak: value("VmHWM:"),
            sockets: kinds.iter().filter(|kind| kind.to_string_lossy().starts_with("socket:")).count(),
            descriptors: kinds.len(),
        }
    }

    /// Waits until no client has a connection, stream or response, but for this test and a gateway.
    pub async fn until_no_client_is_left(&self) {
        eventually(&format!("clients of the {} are gone", self.name), async || {
            let metrics = self.service.metrics().await;
            let held = [("connections_open", 4.0), ("http2_streams", 0.0), ("responses_unsent_bytes", 0.0)]
                .map(|(name, max)| (name, value(&metrics, name), max));
            let is_idle = held.iter().all(|(_, value, max)| value <= max);
            is_idle.then_some(()).ok_or_else(|| format!("(metric, value, maximum): {held:?}"))
        })
        .await;
    }

    /// Its resources once its memory has not fallen for a while.
    pub async fn settled(&self) -> Footprint {
        let lowest = Cell::new((self.footprint(), Instant::now()));
        // The passing of time is what tells that memory does not fall any more.
        until("memory has settled", async || {
            let now = self.footprint();
            if now.memory < lowest.get().0.memory {
                lowest.set((now, Instant::now()));
            }
            lowest.get().1.elapsed() >= SETTLED
        })
        .await;
        lowest.get().0
    }

    /// Waits until it has hardly more resources than before; returns those that it has in the end.
    pub async fn returns_to(&self, before: Footprint) -> Result<Footprint, Footprint> {
        let is_back = holds_in_time(async || {
            let now = self.footprint();
            now.memory <= before.memory + MEMORY_SLACK
                && now.sockets <= before.sockets + SOCKETS_SLACK
                && now.descriptors <= before.descriptors + DESCRIPTORS_SLACK
        })
        .await;
        if is_back { Ok(self.footprint()) } else { Err(self.footprint()) }
    }

    /// Lines of the log that no client may cause.
    pub fn alarms(&self) -> Vec<String> {
        let log = self.log.text();
        let is_alarm = |line: &&str| ["panicked", " ERROR ", " h2::"].iter().any(|part| line.contains(part));
        log.lines().filter(is_alarm).map(|line| format!("{}: {line}", self.name)).collect()
    }

    pub fn log_lines(&self) -> usize {
        self.log.text().lines().count()
    }
}

/// The value of a metric of an instance or a gateway.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| {
        line.strip_prefix("symbolon_")
            .is_some_and(|line| line.trim_start_matches("gateway_").starts_with(&format!("{name} ")))
    });
    let line = line.unwrap_or_else(|| panic!("no metric {name}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}
