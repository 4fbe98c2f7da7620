use std::time::Duration;

use crate::monitor::{
    cgroup::fixture::{Fixture, V1, V2},
    metrics::Source,
};

const GROUPS: [&str; 5] = ["5:memory:/own", "4:cpuset:/own", "3:cpuacct:/own", "2:cpu:/slice/own", "1:name=systemd:/x"];
/// The content of memory.limit_in_bytes without a limit.
const NO_LIMIT: &str = "9223372036854771712\n";

fn files(fixture: Fixture) -> Fixture {
    fixture
        .files(
            "sys/fs/cgroup/cpu/slice/own",
            &[
                ("cpu.cfs_quota_us", "-1\n"),
                ("cpu.cfs_period_us", "100000\n"),
                ("cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"),
            ],
        )
        .files(
            "sys/fs/cgroup/cpu/slice",
            &[
                ("cpu.cfs_quota_us", "75000\n"),
                ("cpu.cfs_period_us", "50000\n"),
                ("cpu.stat", "nr_periods 12\nnr_throttled 4\nthrottled_time 5000\n"),
            ],
        )
        .file("sys/fs/cgroup/cpuacct/own/cpuacct.usage", "1500000000\n")
        .file("sys/fs/cgroup/cpuset/own/cpuset.effective_cpus", "0-1\n")
        .files(
            "sys/fs/cgroup/memory/own",
            &[
                ("memory.limit_in_bytes", NO_LIMIT),
                ("memory.usage_in_bytes", "104857600\n"),
                (
                    "memory.stat",
                    "inactive_file 1\nhierarchical_memory_limit 9223372036854771712\ntotal_inactive_file 41943040\n",
                ),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            ],
        )
        .files(
            "sys/fs/cgroup/memory",
            &[("memory.limit_in_bytes", NO_LIMIT), ("memory.usage_in_bytes", "1073741824\n")],
        )
}

#[test]
fn each_controller_is_read_in_its_own_hierarchy() {
    let fixture = files(Fixture::new(&GROUPS, &V1));
    let reading = fixture.read();
    assert_eq!((reading.cpu.source, reading.cpu.limit_cores), (Some(Source::CgroupV1), Some(1.5)));
    assert_eq!(reading.cpu.usage.map(|usage| usage.time), Some(Duration::from_millis(1500)));
    let throttling = reading.cpu.throttling.expect("throttling");
    assert_eq!((throttling.group, throttling.periods), (fixture.path("sys/fs/cgroup/cpu/slice"), 12));
    assert_eq!((throttling.throttled, throttling.time), (4, Some(Duration::from_micros(5))));
    let memory = reading.memory;
    assert_eq!((memory.source, memory.limit, memory.high), (Some(Source::CgroupV1), None, None));
    assert_eq!((memory.used, memory.room, memory.oom_kills), (Some(60 << 20), None, Some(3)));
}

#[test]
fn a_memory_limit_of_an_invisible_ancestor_counts() {
    let stat = "hierarchical_memory_limit 134217728\ntotal_inactive_file 41943040\n";
    let memory = files(Fixture::new(&GROUPS, &V1)).file("sys/fs/cgroup/memory/own/memory.stat", stat).read().memory;
    assert_eq!((memory.limit, memory.room), (Some(128 << 20), Some(68 << 20)));
}

#[test]
fn controllers_may_share_a_hierarchy() {
    let mounts = ["32 31 0:29 /docker/id /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct"];
    let files = [("cpu.cfs_quota_us", "50000"), ("cpu.cfs_period_us", "100000"), ("cpuacct.usage", "7")];
    let cpu =
        Fixture::new(&["4:cpu,cpuacct:/docker/id"], &mounts).files("sys/fs/cgroup/cpu,cpuacct", &files).read().cpu;
    assert_eq!((cpu.limit_cores, cpu.usage.map(|usage| usage.time)), (Some(0.5), Some(Duration::from_nanos(7))));
}

#[test]
fn in_a_hybrid_hierarchy_each_controller_is_read_in_its_own_version() {
    let mounts = [V1[0], "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"];
    let fixture = Fixture::new(&["2:cpu:/own", "0::/own"], &mounts)
        .files("sys/fs/cgroup/cpu/own", &[("cpu.cfs_quota_us", "50000"), ("cpu.cfs_period_us", "100000")])
        .files(
            "sys/fs/cgroup/unified/own",
            &[
                ("cpu.stat", "usage_usec 42\n"),
                ("memory.max", "268435456\n"),
                ("memory.current", "4096\n"),
                ("memory.pressure", "some avg10=2.00 avg60=0.00 avg300=0.00 total=1\n"),
            ],
        );
    let reading = fixture.read();
    assert_eq!((reading.cpu.source, reading.cpu.limit_cores), (Some(Source::CgroupV1), Some(0.5)));
    assert_eq!(reading.cpu.usage.map(|usage| usage.time), Some(Duration::from_micros(42)));
    assert_eq!((reading.memory.source, reading.memory.limit), (Some(Source::CgroupV2), Some(256 << 20)));
    let memory = reading.pressure.memory.expect("pressure");
    assert_eq!((memory.some_avg10, memory.full_avg10, memory.source), (2.0, None, Source::CgroupV2));
}

#[test]
fn an_unmounted_v1_controller_falls_back_to_v2_statistics() {
    let fixture = Fixture::new(&["2:cpu:/own", "1:memory:/own", "0::/own"], &[V2])
        .file("sys/fs/cgroup/own/cpu.stat", "usage_usec 42\n");
    let reading = fixture.read();
    assert_eq!((reading.cpu.source, reading.cpu.limit_cores), (Some(Source::CgroupV2), None));
    assert_eq!(reading.memory.source, None);
}
