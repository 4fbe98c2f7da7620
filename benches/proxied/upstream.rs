//! The upstream.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    net::{TcpListener, TcpStream},
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

const LISTENER: u64 = 0;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n";

/// Which answer.
#[derive(Clone, Copy)]
enum Answer {
    Small,
    Large,
    NotFound,
}

struct Connection {
    stream: TcpStream,
    /// What has come of a request.
    request: Vec<u8>,
    /// What is yet to come of its body.
    body: u64,
    /// The answer that is owed, and how much of it is sent.
    answer: Option<(Answer, u64)>,
}

struct Upstream {
    delay: Duration,
    epoll: OwnedFd,
    connections: HashMap<u64, Connection>,
    next: u64,
    /// When who is to be answered; in order, as the delay is always the same.
    waiting: VecDeque<(Instant, u64)>,
    small: Message,
    large: Message,
    not_found: Message,
    file: File,
    waste: Vec<u8>,
    count: u64,
}

/// Answers until it is killed.
pub fn run(address: &str, delay: Duration) -> Result<(), Failure> {
    let listener = TcpListener::bind(address)?;
    // Hundreds of connections may come at once.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let body = format!(r#"{{"text":"{:-<189}"}}"#, "");
    let mut upstream = Upstream {
        delay,
        epoll,
        connections: HashMap::new(),
        next: LISTENER + 1,
        waiting: VecDeque::new(),
        small: Message::small(HEAD, &body),
        large: Message::large(HEAD),
        not_found: Message::small("HTTP/1.1 404 Not Found\r\n", ""),
        file: large_body()?,
        waste: vec![0; LARGE as usize],
        count: 0,
    };
    let mut events = Vec::with_capacity(1024);
    loop {
        let left = upstream.waiting.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose()?;
        match epoll::wait(&upstream.epoll, spare_capacity(&mut events), left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => upstream.accept(&listener)?,
                id => upstream.go_on(id),
            }
        }
        upstream.answer_due();
    }
}

impl Upstream {
    fn accept(&mut self, listener: &TcpListener) -> Result<(), Failure> {
        use epoll::EventFlags;
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            // Told of once, and not again and again while nothing changes.
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(self.next), flags)?;
            self.connections.insert(self.next, Connection { stream, request: Vec::new(), body: 0, answer: None });
            self.next += 1;
        }
    }

    /// Connections that break off or send invalid HTTP are dropped.
    fn go_on(&mut self, id: u64) {
        if !self.proceed(id).unwrap_or(false) {
            self.connections.remove(&id);
        }
    }

    /// Whether the connection stays.
    fn proceed(&mut self, id: u64) -> io::Result<bool> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(true) };
        if connection.answer.is_some() {
            // With a delay, the answer is begun when it is due.
            return if connection.answer.is_some_and(|(_, sent)| sent > 0) { self.answer(id) } else { Ok(true) };
        }
        if connection.body == 0 {
            match receive_head(&connection.stream, &mut connection.request)? {
                Received::Head { body, .. } => connection.body = body,
                Received::Pending => return Ok(true),
                Received::Closed => return Ok(false),
            }
        }
        connection.body -= skip(&connection.stream, &mut self.waste, connection.body)?;
        if connection.body > 0 {
            return Ok(true);
        }
        let request = std::mem::take(&mut connection.request);
        let answer = match request.split(|byte| *byte == b' ').nth(1) {
            Some(b"/small" | b"/upload") => Answer::Small,
            Some(b"/large") => Answer::Large,
            Some(b"/count") => {
                let count = Message::small(HEAD, &self.count.to_string());
                return count.send(&connection.stream, &self.file, &mut 0);
            }
            _ => Answer::NotFound,
        };
        connection.answer = Some((answer, 0));
        // Its memory, for the next one.
        connection.request = request;
        connection.request.clear();
        self.count += 1;
        if self.delay.is_zero() {
            return self.answer(id);
        }
        self.waiting.push_back((Instant::now() + self.delay, id));
        Ok(true)
    }

    fn answer(&mut self, id: u64) -> io::Result<bool> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(true) };
        let Some((answer, sent)) = &mut connection.answer else { return Ok(true) };
        let message = match answer {
            Answer::Small => &self.small,
            Answer::Large => &self.large,
            Answer::NotFound => &self.not_found,
        };
        if message.send(&connection.stream, &self.file, sent)? {
            connection.answer = None;
        }
        Ok(true)
    }

    fn answer_due(&mut self) {
        let now = Instant::now();
        while let Some((due, id)) = self.waiting.front().copied() {
            if due > now {
                return;
            }
            self.waiting.pop_front();
            if self.answer(id).is_err() {
                self.connections.remove(&id);
            }
        }
    }
}
