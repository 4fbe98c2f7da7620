//! The upstream and the load of `python3 -m bench gateway`. Both share a core that must not be busy before the proxy's is, so
//! they are bare loops over epoll: one `recv` and one `send` for a small message; large bodies are never copied.
//!
//! `proxied upstream ADDRESS [--delay-ms N]` prints the address that it got and answers `/small` with 200 bytes of JSON,
//! `/large` with 1 MiB, `/upload` with 200 bytes once it has the request's body, each after the delay; `/count` at once,
//! with how many of these there were.
//!
//! `proxied load ADDRESS CONNECTIONS SECONDS PATH [--warm-up SECONDS]` keeps so many connections busy: each asks again
//! once it has its answer; `/upload` is sent 1 MiB each time. It prints `begun` and `ended` when what is counted begins and ends,
//! and then, as JSON, requests, errors (what and how often), bytes of bodies, and p50, p99, p99.9 and the slowest in ms.

mod load;
mod message;
mod upstream;

use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["upstream", address] => upstream::run(address, Duration::ZERO),
        ["upstream", address, "--delay-ms", delay] => upstream::run(address, Duration::from_millis(delay.parse()?)),
        ["load", address, connections, seconds, path] => load(address, connections, seconds, path, "0"),
        ["load", address, connections, seconds, path, "--warm-up", warm_up] => {
            load(address, connections, seconds, path, warm_up)
        }
        _ => Err("see the head of main.rs".into()),
    }
}

fn load(address: &str, connections: &str, seconds: &str, path: &str, warm_up: &str) -> Result<(), Failure> {
    let times = [warm_up, seconds].map(|time| time.parse().map(Duration::from_secs_f64));
    let [warm_up, seconds] = times;
    load::run(address.parse()?, connections.parse()?, path, warm_up?, seconds?)
}
