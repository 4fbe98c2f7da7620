//! The script of a hostile connection: a sequence of steps.

use std::time::Duration;

use fastrand::Rng;

use super::requests::{Request, Targets};

/// One action of a client.
#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// Sends so many bytes at a time, with a pause after each piece.
    Trickle(Vec<u8>, usize, Duration),
    /// Waits until more is received, at most this long.
    AwaitAnswer(Duration),
    Pause(Duration),
    /// Closes its own direction of the connection.
    HalfClose,
}

/// How much a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    All,
    /// A few bytes at a time.
    Slowly,
    Nothing,
}

/// How a client ends the connection.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    Close,
    /// With a reset (`SO_LINGER` of 0).
    Reset,
    /// Waits for the other end to close it, at most this long.
    Await(Duration),
}

/// A generated connection.
#[derive(Debug)]
pub struct Script {
    pub kind: &'static str,
    pub steps: Vec<Step>,
    pub reading: Reading,
    pub ending: Ending,
    /// The last byte of its own address.
    pub source: u8,
}

/// A script that is being written.
pub struct Draft<'a> {
    pub rng: Rng,
    pub targets: &'a Targets,
    pub steps: Vec<Step>,
    pub reading: Reading,
}

impl Draft<'_> {
    pub fn send(&mut self, bytes: impl Into<Vec<u8>>) {
        self.steps.push(Step::Send(bytes.into()));
    }

    pub fn trickle(&mut self, bytes: impl Into<Vec<u8>>, piece: usize, pause: u64) {
        self.steps.push(Step::Trickle(bytes.into(), piece, Duration::from_millis(pause)));
    }

    pub fn await_answer(&mut self) {
        self.steps.push(Step::AwaitAnswer(Duration::from_millis(500)));
    }

    /// A pause of at most so many milliseconds.
    pub fn pause(&mut self, max: u64) {
        let pause = Duration::from_millis(self.rng.u64(1..=max));
        self.steps.push(Step::Pause(pause));
    }

    pub fn half_close(&mut self) {
        self.steps.push(Step::HalfClose);
    }

    /// A request as one of the API's users could make it.
    pub fn request(&mut self) -> Request {
        self.targets.request(&mut self.rng)
    }

    /// A request with a body.
    pub fn upload(&mut self) -> Request {
        self.targets.upload(&mut self.rng)
    }

    /// A request with a large response.
    pub fn download(&mut self) -> Request {
        self.targets.download(&mut self.rng)
    }

    pub fn choice<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.rng.usize(..among.len())].clone()
    }

    pub fn noise(&mut self, max: usize) -> Vec<u8> {
        let length = self.rng.usize(1..=max);
        (0..length).map(|_| self.rng.u8(..)).collect()
    }
}
