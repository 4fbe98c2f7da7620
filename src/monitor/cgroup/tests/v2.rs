use std::time::Duration;

use crate::monitor::{
    cgroup::{
        cpu::{Throttling, Usage},
        fixture::{Fixture, V2},
    },
    metrics::{Source, Stall},
};

const OWN: &str = "sys/fs/cgroup/symbolon.slice/own";

fn nested() -> Fixture {
    Fixture::new(&["0::/symbolon.slice/own"], &[V2])
        .files(
            OWN,
            &[
                ("cpu.max", "200000 100000\n"),
                ("cpu.stat", "usage_usec 2500000\nuser_usec 1\nnr_periods 7\nnr_throttled 3\nthrottled_usec 90\n"),
                ("memory.max", "1073741824\n"),
                ("memory.high", "max\n"),
                ("memory.current", "104857600\n"),
                ("memory.stat", "anon 1\nfile 2\ninactive_file 41943040\n"),
                ("memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"),
                (
                    "cpu.pressure",
                    "some avg10=1.53 avg60=1.00 avg300=0.10 total=5\nfull avg10=0.25 avg60=0 avg300=0 total=0\n",
                ),
            ],
        )
        .files(
            "sys/fs/cgroup/symbolon.slice",
            &[
                ("cpu.max", "max 100000\n"),
                ("memory.max", "max\n"),
                ("memory.high", "943718400\n"),
                ("memory.current", "209715200\n"),
                ("memory.stat", "inactive_file 0\n"),
                ("cpuset.cpus.effective", "0-3\n"),
            ],
        )
}

#[test]
fn limits_use_and_statistics_of_the_own_group_are_read() {
    let fixture = nested();
    let reading = fixture.read();
    assert_eq!((reading.cpu.source, reading.cpu.limit_cores), (Some(Source::CgroupV2), Some(2.0)));
    let own = fixture.path(OWN);
    assert_eq!(reading.cpu.usage, Some(Usage { group: own.clone(), time: Duration::from_millis(2500) }));
    let time = Some(Duration::from_micros(90));
    assert_eq!(reading.cpu.throttling, Some(Throttling { group: own, periods: 7, throttled: 3, time }));

    let memory = reading.memory;
    assert_eq!((memory.source, memory.limit, memory.high), (Some(Source::CgroupV2), Some(1 << 30), Some(900 << 20)));
    assert_eq!((memory.used, memory.room), (Some(60 << 20), Some(964 << 20)));
    assert_eq!((memory.fullest, memory.oom_kills), (Some(60.0 / 1024.0), Some(1)));
    let cpu = Stall { some_avg10: 1.53, full_avg10: Some(0.25), source: Source::CgroupV2 };
    assert_eq!((reading.pressure.cpu, reading.pressure.memory), (Some(cpu), None));
}

#[test]
fn a_tighter_limit_of_an_ancestor_counts() {
    let fixture = nested().files(
        "sys/fs/cgroup/symbolon.slice",
        &[
            ("cpu.max", "50000 100000\n"),
            ("cpu.stat", "usage_usec 9\nnr_periods 100\nnr_throttled 40\nthrottled_usec 1000\n"),
            ("memory.max", "268435456\n"),
        ],
    );
    let reading = fixture.read();
    assert_eq!(reading.cpu.limit_cores, Some(0.5));
    assert_eq!(reading.cpu.usage.map(|usage| usage.time), Some(Duration::from_millis(2500)));
    let throttling = reading.cpu.throttling.expect("throttling of the tighter quota");
    assert_eq!((throttling.group, throttling.throttled), (fixture.path("sys/fs/cgroup/symbolon.slice"), 40));
    // Neighbours use most of the ancestor's memory: 200 of 256 MiB.
    let memory = reading.memory;
    assert_eq!((memory.limit, memory.used), (Some(256 << 20), Some(60 << 20)));
    assert_eq!((memory.fullest, memory.room), (Some(200.0 / 256.0), Some(56 << 20)));
}

#[test]
fn a_cpuset_is_a_limit() {
    let reading = nested().file(&format!("{OWN}/cpu.max"), "max 100000\n").read();
    assert_eq!((reading.cpu.limit_cores, reading.cpu.throttling), (Some(4.0), None));
}

#[test]
fn a_limit_above_the_machines_resources_is_ignored() {
    let reading = nested()
        .files(OWN, &[("cpu.max", "900000 100000"), ("memory.max", "18446744073709551615")])
        .file("sys/fs/cgroup/symbolon.slice/cpuset.cpus.effective", "0-7\n")
        .read();
    assert_eq!((reading.cpu.limit_cores, reading.memory.limit, reading.memory.room), (None, None, None));
    assert_eq!(reading.memory.used, Some(60 << 20));
}

#[test]
fn in_a_namespace_the_root_of_the_mount_is_the_group() {
    let files = [("cpu.max", "50000 100000"), ("memory.max", "268435456"), ("memory.current", "4096")];
    for (path, mounted) in [
        ("/", "/"),
        ("/../..", "/"),
        ("/", "/kubepods/pod/own"),
        ("/kubepods/pod/own", "/kubepods/pod/own"),
        ("/a/b", "/c"),
    ] {
        let mount = format!("30 23 0:26 {mounted} /sys/fs/cgroup ro - cgroup2 cgroup ro");
        let reading = Fixture::new(&[&format!("0::{path}")], &[&mount]).files("sys/fs/cgroup", &files).read();
        assert_eq!(
            (reading.cpu.limit_cores, reading.memory.limit),
            (Some(0.5), Some(256 << 20)),
            "{path} in {mounted}"
        );
        assert_eq!(reading.memory.used, Some(4096), "{path} in {mounted}");
    }
}

#[test]
fn a_removed_group_falls_back_to_its_parent() {
    let reading = Fixture::new(&["0::/slice/own (deleted)"], &[V2])
        .files("sys/fs/cgroup/slice", &[("cpu.max", "50000 100000"), ("cpu.stat", "usage_usec 7")])
        .read();
    assert_eq!((reading.cpu.limit_cores, reading.cpu.source), (Some(0.5), Some(Source::CgroupV2)));
}

#[test]
fn of_several_mounts_the_one_with_the_most_ancestors_is_used() {
    let part = "31 23 0:26 /slice/own /mnt/with\\040space ro - cgroup2 cgroup2 ro";
    for mounts in [[part, V2], [V2, part]] {
        let fixture = Fixture::new(&["0::/slice/own"], &mounts)
            .file("sys/fs/cgroup/slice/cpu.max", "50000 100000")
            .file("sys/fs/cgroup/slice/own/cpu.max", "max 100000")
            .file("mnt/with space/cpu.max", "max 100000");
        assert_eq!(fixture.read().cpu.limit_cores, Some(0.5));
    }
    let alone = Fixture::new(&["0::/slice/own"], &[part]).file("mnt/with space/cpu.max", "150000 100000");
    assert_eq!(alone.read().cpu.limit_cores, Some(1.5));
}
