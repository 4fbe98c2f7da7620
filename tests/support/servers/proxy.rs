//! A proxy in front of a server that can break connections, or lead them to another server.

mod tests;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread::JoinHandle,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
};

use super::free_port;
use crate::support::{block_until, eventually};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// All bytes pass.
    Whole,
    /// Connections stay open and new ones are accepted, but no byte passes.
    Silent,
    /// Connections are broken, and new ones are refused.
    Broken,
}

/// Forwards connections to a server, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    server: Arc<AtomicU16>,
    line: Option<watch::Sender<Line>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub fn to(server: u16) -> Self {
        let (port, (line, watched)) = (free_port(), watch::channel(Line::Whole));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let server = Arc::new(AtomicU16::new(server));
        let target = Arc::clone(&server);
        let thread = std::thread::spawn(move || runtime.block_on(serve(port, target, watched)));
        let proxy = Self { port, server, line: Some(line), thread: Some(thread) };
        proxy.wait_for(true);
        proxy
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to another server; open ones stay.
    pub fn redirect(&self, server: u16) {
        self.server.store(server, Ordering::Relaxed);
    }

    /// Breaks every connection and leads new ones to another server.
    pub fn switch(&self, server: u16) {
        self.redirect(server);
        self.cut();
        self.mend();
    }

    /// Lets no byte pass, as a network that drops all packets.
    pub fn silence(&self) {
        self.set_line(Line::Silent);
    }

    /// Breaks every connection and refuses new ones.
    pub fn cut(&self) {
        self.set_line(Line::Broken);
        self.wait_for(false);
    }

    /// Lets all bytes pass again, those of silenced connections too.
    pub fn mend(&self) {
        self.set_line(Line::Whole);
        self.wait_for(true);
    }

    fn set_line(&self, state: Line) {
        self.line.as_ref().expect("it lives").send_replace(state);
    }

    fn wait_for(&self, listening: bool) {
        block_until("the line changes", || std::net::TcpStream::connect(address(self.port)).is_ok() == listening);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.line.take());
        let _ = self.thread.take().expect("it lives").join();
    }
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Listens at a port that connections of a broken line may still occupy.
async fn listen(port: u16) -> TcpListener {
    let bind = async || TcpListener::bind(address(port)).await.map_err(|error| error.to_string());
    eventually("the port is free", bind).await
}

/// Ends when the line's owner is gone, and all connections with it.
async fn serve(port: u16, server: Arc<AtomicU16>, mut line: watch::Receiver<Line>) {
    while line.wait_for(|line| *line != Line::Broken).await.is_ok() {
        let listener = listen(port).await;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, _) = accepted.expect("a connection");
                    tokio::spawn(pass(client, server.load(Ordering::Relaxed), line.clone()));
                }
                broken = broken(line.clone()) => match broken {
                    true => break,
                    false => return,
                }
            }
        }
    }
}

/// Whether the line broke; false if its owner is gone.
async fn broken(mut line: watch::Receiver<Line>) -> bool {
    line.wait_for(|line| *line == Line::Broken).await.is_ok()
}

async fn pass(client: TcpStream, server: u16, line: watch::Receiver<Line>) {
    let passing = async {
        whole(line.clone()).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = TcpStream::connect(address(server)).await.ok()?.into_split();
        let there = copy(from_client, to_server, line.clone());
        let back = copy(from_server, to_client, line.clone());
        tokio::select! { end = there => end, end = back => end }
    };
    tokio::select! {
        _ = passing => {}
        _ = broken(line.clone()) => {}
    }
}

async fn whole(mut line: watch::Receiver<Line>) -> Option<()> {
    line.wait_for(|line| *line == Line::Whole).await.ok().map(drop)
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: watch::Receiver<Line>) -> Option<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        whole(line.clone()).await?;
        to.write_all(&buffer[..read]).await.ok()?;
    }
}
