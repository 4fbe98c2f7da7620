//! What a process holds: memory, sockets, and what its own metrics count as open.

use std::{fmt, path::PathBuf, time::Duration};

use crate::service::harness::{DEADLINE, Service};

/// How much more memory an attack may leave behind, in KiB.
const MEMORY_SLACK: u64 = 10 << 10;

/// How many more sockets there may be: those of calm users, of metrics scrapes and of health checks come and go.
const SOCKETS_SLACK: usize = 16;

/// How many more descriptors in all: pools of embedded storage may have grown.
const DESCRIPTORS_SLACK: usize = 32;

/// Memory that has not fallen for so long does not fall any more.
const SETTLED: Duration = Duration::from_secs(2);

/// A process of the service under attack.
pub struct Process {
    pub name: &'static str,
    pub service: Service,
    pub log: PathBuf,
}

/// What it holds at one time.
#[derive(Clone, Copy)]
pub struct Footprint {
    /// Resident memory, and its greatest yet, in KiB.
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
        let of = format!("/proc/{}", self.service.pid());
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

    /// Waits until clients hold nothing: no connection but those of this test and of a gateway, no stream, no response.
    pub async fn is_left_alone(&self) {
        let mut seen = String::new();
        let wait = async {
            loop {
                let metrics = self.service.get("/metrics").bearer(&self.service.operator_token()).send().await.text;
                let held = [("connections_open", 4.0), ("http2_streams", 0.0), ("responses_unsent_bytes", 0.0)]
                    .map(|(name, max)| (name, value(&metrics, name), max));
                if held.iter().all(|(_, value, max)| value <= max) {
                    break;
                }
                seen = format!("{held:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(DEADLINE, wait).await;
        ended.unwrap_or_else(|_| {
            panic!("clients of the {} that are gone still hold (value, permitted): {seen}", self.name)
        });
    }

    /// What it holds once that does not fall any more.
    pub async fn settled(&self) -> Footprint {
        let mut least = self.footprint();
        let mut fell = tokio::time::Instant::now();
        while fell.elapsed() < SETTLED {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.footprint();
            if now.memory < least.memory {
                (least, fell) = (now, tokio::time::Instant::now());
            }
        }
        least
    }

    /// Waits until it holds hardly more than before; the last that it held, and whether it came back.
    pub async fn returns_to(&self, before: Footprint) -> (Footprint, bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let now = self.footprint();
            let is_back = now.memory <= before.memory + MEMORY_SLACK
                && now.sockets <= before.sockets + SOCKETS_SLACK
                && now.descriptors <= before.descriptors + DESCRIPTORS_SLACK;
            if is_back || tokio::time::Instant::now() >= deadline {
                return (now, is_back);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lines of the log that no client may cause.
    pub fn alarms(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).expect("a log");
        let is_alarm = |line: &&str| ["panicked", " ERROR ", " h2::"].iter().any(|part| line.contains(part));
        log.lines().filter(is_alarm).map(|line| format!("{}: {line}", self.name)).collect()
    }

    pub fn log_lines(&self) -> usize {
        std::fs::read_to_string(&self.log).expect("a log").lines().count()
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
