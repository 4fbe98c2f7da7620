//! Pressure stall information: the share of time in which work waited for a resource.
//!
//! The kernel provides it for the machine and for each group of version 2, whichever controllers are enabled.

use std::path::Path;

use super::{files, groups::Groups};
use crate::monitor::metrics::{Pressure, Source, Stall};

pub(super) fn read(root: &Path, groups: &Groups) -> Pressure {
    let own = groups.unified().and_then(|group| group.levels.into_iter().next());
    let stall = |resource: &str| {
        let of_group = || parse(&files::text(own.as_deref()?, &format!("{resource}.pressure"))?, Source::CgroupV2);
        let of_machine = || parse(&files::text(&root.join("proc/pressure"), resource)?, Source::Host);
        of_group().or_else(of_machine)
    };
    Pressure { cpu: stall("cpu"), memory: stall("memory"), io: stall("io") }
}

/// Parses `some avg10=0.12 avg60=…` and the optional line `full avg10=…`.
fn parse(text: &str, source: Source) -> Option<Stall> {
    let mean = |kind: &str| {
        let mut words =
            text.lines().map(str::split_whitespace).find_map(|mut words| (words.next()? == kind).then_some(words))?;
        let percent: f64 = words.find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(percent)
    };
    Some(Stall { some_avg10: mean("some")?, full_avg10: mean("full"), source })
}
