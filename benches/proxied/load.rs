//! The load.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use crate::{
    Failure,
    message::{LARGE, Message, Received, large_body, receive_head, skip},
};

/// How long requests under way may take once the time is over.
const DRAIN: Duration = Duration::from_secs(10);

struct Connection {
    stream: TcpStream,
    begun: Instant,
    sent: u64,
    /// The head of the response, once it is all there, and the bytes that came with it.
    response: Vec<u8>,
    /// What is yet to come of the response's body.
    body: Option<u64>,
    busy: bool,
}

struct Load {
    address: SocketAddr,
    request: Message,
    /// Of request and response, apart from heads.
    file: File,
    waste: Vec<u8>,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    counts: Counts,
    counting: bool,
    stopping: bool,
}

#[derive(Default)]
struct Counts {
    /// How long each request took, in nanoseconds.
    took: Vec<u64>,
    errors: BTreeMap<String, u64>,
    bytes: u64,
}

/// Asks for so long, and prints what came of it.
pub fn run(
    address: SocketAddr,
    connections: usize,
    path: &str,
    warm_up: Duration,
    time: Duration,
) -> Result<(), Failure> {
    let head = |method| format!("{method} {path} HTTP/1.1\r\nHost: login.example.com\r\nAccept: */*\r\n");
    let request = if path == "/upload" { Message::large(&head("POST")) } else { Message::bare(&head("GET")) };
    let mut load = Load {
        address,
        request,
        file: large_body()?,
        waste: vec![0; LARGE as usize],
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        connections: Vec::with_capacity(connections),
        counts: Counts::default(),
        counting: false,
        stopping: false,
    };
    for index in 0..connections {
        let connection = load.connect(index)?;
        load.connections.push(connection);
        load.ask(index);
    }
    load.proceed(Instant::now() + warm_up)?;
    let warm = std::mem::take(&mut load.counts);
    load.counting = true;
    say("begun")?;
    let begun = Instant::now();
    load.proceed(begun + time)?;
    let elapsed = begun.elapsed();
    say("ended")?;
    let mut counts = std::mem::take(&mut load.counts);
    (load.counting, load.stopping) = (false, true);
    load.proceed(Instant::now() + DRAIN)?;
    let stuck = load.connections.iter().filter(|connection| connection.busy).count() as u64;
    let stuck = (stuck > 0).then(|| ("no answer".to_owned(), stuck));
    // Errors are never left out, whenever they come.
    for (error, count) in warm.errors.into_iter().chain(load.counts.errors).chain(stuck) {
        *counts.errors.entry(error).or_default() += count;
    }
    counts.print(elapsed);
    Ok(())
}

fn say(word: &str) -> io::Result<()> {
    println!("{word}");
    io::stdout().flush()
}

impl Counts {
    fn print(mut self, elapsed: Duration) {
        self.took.sort_unstable();
        let quantile = |part: f64| {
            let index = (self.took.len() as f64 * part) as usize;
            self.took.get(index.min(self.took.len().wrapping_sub(1))).map_or(0.0, |took| *took as f64 / 1e6)
        };
        let errors: Vec<String> = self.errors.iter().map(|(error, count)| format!("{error:?}: {count}")).collect();
        println!(
            r#"{{"seconds": {}, "requests": {}, "errors": {{{}}}, "bytes": {}, "p50": {}, "p99": {}, "p99.9": {}, "max": {}}}"#,
            elapsed.as_secs_f64(),
            self.took.len(),
            errors.join(", "),
            self.bytes,
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            quantile(1.0),
        );
    }
}

impl Load {
    fn connect(&self, index: usize) -> io::Result<Connection> {
        use epoll::EventFlags;
        let stream = TcpStream::connect(self.address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // Told of once, and not again and again while nothing changes.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(index as u64), flags)?;
        let (begun, response) = (Instant::now(), Vec::new());
        Ok(Connection { stream, begun, sent: 0, response, body: None, busy: false })
    }

    /// Goes on until a moment, or until nothing is under way any more.
    fn proceed(&mut self, until: Instant) -> Result<(), Failure> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.connections.iter().any(|connection| connection.busy) {
                return Ok(());
            }
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::try_from(left)?)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let index = event.data.u64() as usize;
                match self.advance(index) {
                    Ok(true) if self.stopping => self.connections[index].busy = false,
                    Ok(true) => self.ask(index),
                    Ok(false) => {}
                    Err(error) => self.replace(index, error.to_string())?,
                }
            }
        }
    }

    /// What can't be sent is seen when the answer is read.
    fn ask(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.begun = Instant::now();
        (connection.sent, connection.body, connection.busy) = (0, None, true);
        connection.response.clear();
        let _ = self.request.send(&connection.stream, &self.file, &mut connection.sent);
    }

    /// Whether a request has come to its end.
    fn advance(&mut self, index: usize) -> io::Result<bool> {
        let connection = &mut self.connections[index];
        if !connection.busy {
            return Ok(false);
        }
        let body = match connection.body {
            Some(body) => body,
            None => {
                self.request.send(&connection.stream, &self.file, &mut connection.sent)?;
                match receive_head(&connection.stream, &mut connection.response)? {
                    Received::Head { head, body } => {
                        let status = connection.response.get(9..12).unwrap_or_default();
                        if status != b"200" {
                            return Err(io::Error::other(format!("status {}", String::from_utf8_lossy(status))));
                        }
                        self.counts.bytes += (connection.response.len() - head) as u64;
                        body
                    }
                    Received::Pending => return Ok(false),
                    Received::Closed => return Err(io::Error::other("closed before an answer")),
                }
            }
        };
        let skipped = skip(&connection.stream, &mut self.waste, body)?;
        self.counts.bytes += skipped;
        connection.body = Some(body - skipped);
        if body > skipped {
            return Ok(false);
        }
        if self.counting {
            self.counts.took.push(connection.begun.elapsed().as_nanos() as u64);
        }
        Ok(true)
    }

    /// A connection that failed is an error, and another takes its place.
    fn replace(&mut self, index: usize, error: String) -> Result<(), Failure> {
        *self.counts.errors.entry(error).or_default() += 1;
        self.connections[index] = self.connect(index)?;
        if !self.stopping {
            self.ask(index);
        }
        Ok(())
    }
}
