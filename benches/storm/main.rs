//! The load of `python3 -m bench attack`, `overload` and others, and what logins are compared with.
//!
//! `storm hash THREADS SECONDS kept|fresh` computes argon2id with the service's parameters on threads of the service's
//! priority and prints how many a second; each thread keeps its memory, or allocates it for each hash.
//!
//! `storm load ADDRESS SECONDS PATIENCE KIND=RATE=FILE…` sends so many requests a second of each kind, whether or not the ones
//! before were answered, on kept connections. A file holds requests as they go over the wire, separated by NUL, sent in turn;
//! `{address}` in one becomes an address of its own each time. Each answer is a line: kind, status, when it was asked for and how
//! long it took, in milliseconds. Where none comes within PATIENCE seconds the connection is closed; the status is 0. Other
//! failures are 0 too, and how many there were of each is told on standard error.
//!
//! `storm reads-own-writes ADDRESS,ADDRESS… COUNT FILE` changes the preferences of the users whose tokens are in the file, line by
//! line, at one address, and reads them at another one, so many times in all, each user's one after the other and all users' at
//! once; prints how many reads there were, how many did not show what was acknowledged before, and how many requests were
//! answered with 503, which acknowledges nothing.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    error::Error,
    io::Write,
    rc::Rc,
    time::{Duration, Instant},
};

use argon2::{Argon2, Block, Params};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

type Failure = Box<dyn Error + Send + Sync>;

/// How long to wait before a request that a store did not answer is made again.
const RETRY: Duration = Duration::from_millis(100);
/// As the service's hashing threads.
const NICE: i32 = 5;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["hash", threads, seconds, memory] => {
            let rate = hash(threads.parse()?, Duration::from_secs_f64(seconds.parse()?), memory == "kept")?;
            println!("{rate:.3}");
            Ok(())
        }
        ["load", address, seconds, patience, ref loads @ ..] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let [time, patience] = [seconds, patience].map(|seconds| seconds.parse().map(Duration::from_secs_f64));
            let load = load(address, time?, patience?, loads);
            tokio::task::LocalSet::new().block_on(&runtime, load)
        }
        ["reads-own-writes", addresses, count, file] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let tokens = std::fs::read_to_string(file)?;
            let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
            let work = read_own_writes(addresses, count.parse()?, tokens.lines().map(str::to_owned).collect());
            tokio::task::LocalSet::new().block_on(&runtime, work)
        }
        _ => Err("see the head of main.rs".into()),
    }
}

/// Hashes a second.
fn hash(threads: usize, time: Duration, keep: bool) -> Result<f64, Failure> {
    let begun = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            std::thread::spawn(move || -> Result<u32, argon2::Error> {
                let _ = rustix::process::nice(NICE);
                let params = Params::new(19456, 2, 1, None)?;
                let mut memory = vec![Block::default(); params.block_count()];
                let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
                let (mut output, mut count) = ([0; 32], 0);
                while begun.elapsed() < time {
                    let (password, salt) = (b"correct horse battery", b"sixteen bytes of");
                    match keep {
                        true => argon2.hash_password_into_with_memory(password, salt, &mut output, &mut memory)?,
                        false => argon2.hash_password_into(password, salt, &mut output)?,
                    }
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let mut total = 0;
    for worker in workers {
        total += worker.join().map_err(|_| "a thread panicked")??;
    }
    Ok(f64::from(total) / begun.elapsed().as_secs_f64())
}

struct Load {
    kind: String,
    rate: f64,
    requests: Vec<String>,
    sent: usize,
}

impl Load {
    fn read(text: &str) -> Result<Self, Failure> {
        let mut parts = text.splitn(3, '=');
        let (Some(kind), Some(rate), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("a load is KIND=RATE=FILE".into());
        };
        let requests: Vec<String> = std::fs::read_to_string(file)?.split('\0').map(str::to_owned).collect();
        Ok(Self { kind: kind.to_owned(), rate: rate.parse()?, requests, sent: 0 })
    }

    fn next(&mut self) -> String {
        let sent = self.sent;
        self.sent += 1;
        let address = format!("10.{}.{}.{}", sent >> 16 & 255, sent >> 8 & 255, sent & 255);
        self.requests[sent % self.requests.len()].replace("{address}", &address)
    }
}

async fn load(address: &str, time: Duration, patience: Duration, loads: &[&str]) -> Result<(), Failure> {
    let mut loads = loads.iter().map(|load| Load::read(load)).collect::<Result<Vec<_>, _>>()?;
    let idle: Rc<RefCell<VecDeque<TcpStream>>> = Rc::default();
    let answers: Rc<RefCell<Vec<String>>> = Rc::default();
    let failures: Rc<RefCell<BTreeMap<String, usize>>> = Rc::default();
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut under_way = Vec::new();
    while begun.elapsed() < time {
        tick.tick().await;
        for load in &mut loads {
            while (load.sent as f64) < begun.elapsed().as_secs_f64() * load.rate {
                let (request, kind, address) = (load.next(), load.kind.clone(), address.to_owned());
                let (idle, answers, failures) = (Rc::clone(&idle), Rc::clone(&answers), Rc::clone(&failures));
                under_way.push(tokio::task::spawn_local(async move {
                    let sent = Instant::now();
                    let answer = tokio::time::timeout(patience, exchange(&idle, &address, &request)).await;
                    let status = answer.map_or(0, |status| {
                        status.unwrap_or_else(|error| {
                            *failures.borrow_mut().entry(error.to_string()).or_default() += 1;
                            0
                        })
                    });
                    let (at, took) = (sent - begun, sent.elapsed());
                    let line = format!("{kind} {status} {:.3} {:.3}", milliseconds(at), milliseconds(took));
                    answers.borrow_mut().push(line);
                }));
            }
        }
    }
    for request in under_way {
        request.await?;
    }
    for (failure, count) in failures.borrow().iter() {
        eprintln!("{count} failed: {failure}");
    }
    let mut out = std::io::stdout().lock();
    for line in answers.borrow().iter() {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

async fn read_own_writes(addresses: Vec<String>, count: usize, tokens: Vec<String>) -> Result<(), Failure> {
    let addresses = Rc::new(addresses);
    let turns = count.div_ceil(tokens.len());
    let users = tokens.into_iter().enumerate().map(|(user, token)| {
        let addresses = Rc::clone(&addresses);
        tokio::task::spawn_local(async move {
            let idle: Vec<RefCell<VecDeque<TcpStream>>> = addresses.iter().map(|_| RefCell::default()).collect();
            let (mut reads, mut stale, mut unanswered) = (0, 0, 0);
            while reads < turns {
                let turn = reads + unanswered;
                let body = format!("{{\"turn\":{turn}}}");
                let change = format!(
                    "PATCH /v1/users/me/preferences HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let read = format!("GET /v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
                let (here, there) = ((user + turn) % addresses.len(), (user + turn + 1) % addresses.len());
                if acknowledged(&idle[here], &addresses[here], &change).await?.is_none() {
                    unanswered += 1;
                    continue;
                }
                let Some(answer) = acknowledged(&idle[there], &addresses[there], &read).await? else {
                    unanswered += 1;
                    continue;
                };
                reads += 1;
                stale += usize::from(!answer.contains(&format!("\"turn\":{turn}}}")));
            }
            Ok::<_, Failure>((reads, stale, unanswered))
        })
    });
    let users: Vec<_> = users.collect();
    let (mut reads, mut stale, mut unanswered) = (0, 0, 0);
    for user in users {
        let own = user.await??;
        (reads, stale, unanswered) = (reads + own.0, stale + own.1, unanswered + own.2);
    }
    println!("{reads} {stale} {unanswered}");
    Ok(())
}

/// The body of the answer; after a while none if a store did not answer, which acknowledges nothing.
async fn acknowledged(
    idle: &RefCell<VecDeque<TcpStream>>,
    address: &str,
    request: &str,
) -> Result<Option<String>, Failure> {
    match converse(idle, address, request).await? {
        (200, answer) => Ok(Some(answer)),
        (503, _) => {
            tokio::time::sleep(RETRY).await;
            Ok(None)
        }
        (status, answer) => Err(format!("it was answered with {status}: {answer}").into()),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Whether the server has not closed an idle connection.
fn is_open(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Sends a request on an idle connection or a new one; returns the status of the answer, once it is all there.
async fn exchange(idle: &RefCell<VecDeque<TcpStream>>, address: &str, request: &str) -> Result<u16, Failure> {
    Ok(converse(idle, address, request).await?.0)
}

/// As [`exchange`]; the body of the answer too.
async fn converse(idle: &RefCell<VecDeque<TcpStream>>, address: &str, request: &str) -> Result<(u16, String), Failure> {
    let kept = std::iter::from_fn(|| idle.borrow_mut().pop_front()).find(is_open);
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect(address).await?,
    };
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(2048);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the connection was closed".into());
        }
        let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
        if answer.len() >= end + 4 + length {
            idle.borrow_mut().push_front(stream);
            let body = String::from_utf8_lossy(&answer[end + 4..]).into_owned();
            return Ok((head.get(9..12).ok_or("no status")?.parse()?, body));
        }
    }
}
