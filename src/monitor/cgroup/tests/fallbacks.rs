use proptest::{prelude::*, test_runner::TestRunner};

use crate::monitor::{
    cgroup::{
        cpu::Cpu,
        fixture::{Fixture, V1, V2},
        memory::Memory,
    },
    metrics::{Source, Stall},
};

const OWN: &str = "sys/fs/cgroup/own";

#[test]
fn without_groups_pressure_is_the_machines() {
    let pressure = "some avg10=0.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    let reading = Fixture::new(&[], &[]).file("proc/pressure/io", pressure).read();
    assert_eq!((reading.cpu, reading.memory), (Cpu::default(), Memory::default()));
    let io = Stall { some_avg10: 0.5, full_avg10: Some(0.0), source: Source::Host };
    assert_eq!((reading.pressure.io, reading.pressure.cpu), (Some(io), None));
}

#[test]
fn at_the_root_of_v2_there_are_no_limits_and_memory_is_the_machines() {
    let fixture = Fixture::new(&["0::/"], &[V2]).file("sys/fs/cgroup/cpu.stat", "usage_usec 42\n");
    let reading = fixture.read();
    assert_eq!((reading.cpu.source, reading.cpu.limit_cores), (Some(Source::CgroupV2), None));
    assert_eq!(reading.memory, Memory::default());
}

#[test]
fn malformed_files_of_one_version_fall_back_to_the_next_source() {
    let groups = ["3:memory:/own", "2:cpu:/own", "0::/own"];
    let mounts = [V1[0], V1[3], "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"];
    let fixture = Fixture::new(&groups, &mounts)
        .files("sys/fs/cgroup/cpu/own", &[("cpu.cfs_quota_us", "many"), ("cpu.cfs_period_us", "100000")])
        .files("sys/fs/cgroup/memory/own", &[("memory.limit_in_bytes", ""), ("memory.usage_in_bytes", "-5")])
        .files("sys/fs/cgroup/unified/own", &[("cpu.max", "50000 100000"), ("memory.current", "8192")])
        .files("sys/fs/cgroup/unified/own", &[("cpu.pressure", "some avg10=nan"), ("io.pressure", "full avg10=1.00")])
        .file("proc/pressure/cpu", "some avg10=3.00");
    let reading = fixture.read();
    assert_eq!((reading.cpu.source, reading.cpu.limit_cores), (Some(Source::CgroupV2), Some(0.5)));
    assert_eq!((reading.memory.source, reading.memory.used), (Some(Source::CgroupV2), Some(8192)));
    assert_eq!(reading.pressure.cpu.map(|cpu| (cpu.some_avg10, cpu.source)), Some((3.0, Source::Host)));
    assert_eq!(reading.pressure.io, None);
}

#[test]
fn malformed_quotas_are_ignored() {
    for text in ["", "max", "100000", "0 100000", "50000 0", "-1 100000", "50000 x", "99999999999999999999 100000"] {
        let fixture = Fixture::new(&["0::/own"], &[V2])
            .files(OWN, &[("cpu.max", text), ("cpu.stat", "nr_periods x\nnr_throttled 1\n")])
            .file("sys/fs/cgroup/cpu.max", "150000 100000")
            .file("sys/fs/cgroup/cpu.stat", "nr_periods 1\nnr_throttled\n");
        let cpu = fixture.read().cpu;
        assert_eq!((cpu.limit_cores, cpu.usage, cpu.throttling), (Some(1.5), None, None), "{text:?}");
    }
}

#[test]
fn a_limit_counts_even_if_the_use_is_unknown() {
    let fixture = Fixture::new(&["0::/own"], &[V2]).files(OWN, &[("memory.max", "4096"), ("cpu.max", "50000 100000")]);
    let reading = fixture.read();
    assert_eq!((reading.memory.limit, reading.memory.used), (Some(4096), None));
    assert_eq!((reading.memory.fullest, reading.memory.oom_kills), (None, None));
    assert_eq!((reading.cpu.limit_cores, reading.cpu.usage), (Some(0.5), None));
}

const FILES: [&str; 18] = [
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/pressure/cpu",
    "sys/fs/cgroup/own/cpu.max",
    "sys/fs/cgroup/own/cpu.stat",
    "sys/fs/cgroup/own/cpuset.cpus.effective",
    "sys/fs/cgroup/own/memory.max",
    "sys/fs/cgroup/own/memory.high",
    "sys/fs/cgroup/own/memory.current",
    "sys/fs/cgroup/own/memory.stat",
    "sys/fs/cgroup/own/memory.events",
    "sys/fs/cgroup/own/cpu.pressure",
    "sys/fs/cgroup/cpu/own/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu/own/cpu.cfs_period_us",
    "sys/fs/cgroup/cpu/own/cpu.stat",
    "sys/fs/cgroup/memory/own/memory.limit_in_bytes",
    "sys/fs/cgroup/memory/own/memory.usage_in_bytes",
    "sys/fs/cgroup/memory/own/memory.stat",
];

/// Generates random bytes, and text similar to what the kernel writes.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let close = "(max|[0-9]{1,22}|-1|some|full|avg10=[0-9.eE+-]{0,9}|usage_usec|nr_periods|nr_throttled|inactive_file|oom_kill\
        |[0-9]{1,3}-[0-9]{1,20}|0::/own|2:cpu:/own|0::/\\.\\./é|\\\\[0-7]{1,3}|\\\\é| - cgroup2 x rw|[ ,:\n]){0,16}";
    prop_oneof![prop::collection::vec(any::<u8>(), 0..64), close.prop_map(String::into_bytes)]
}

#[test]
fn no_content_panics() {
    let groups = ["2:cpu:/own", "1:memory:/own", "0::/own"];
    let mut fixture = Fixture::new(&groups, &[V1[0], V1[3], V2]);
    for file in FILES.iter().skip(2) {
        fixture = fixture.file(file, "");
    }
    let usual = FILES.map(|file| std::fs::read(fixture.path(file)).expect("a file"));
    let contents = prop::collection::vec(prop::option::of(content()), FILES.len());
    let run = TestRunner::default().run(&contents, |contents| {
        for ((file, usual), content) in FILES.iter().zip(&usual).zip(contents) {
            std::fs::write(fixture.path(file), content.as_ref().unwrap_or(usual)).expect("a file");
        }
        let reading = fixture.read();
        let stalls = [reading.pressure.cpu, reading.pressure.memory, reading.pressure.io];
        prop_assert!(stalls.iter().flatten().all(|stall| (0.0..=100.0).contains(&stall.some_avg10)));
        prop_assert!(reading.cpu.limit_cores.is_none_or(|cores| cores > 0.0 && cores < 8.0));
        prop_assert!(reading.memory.limit.is_none_or(|limit| limit < 16 << 30));
        prop_assert!(reading.memory.fullest.is_none_or(f64::is_finite));
        Ok(())
    });
    run.expect("no panic, and values within their ranges");
}
