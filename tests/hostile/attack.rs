//! Makes hostile connections, many at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, tcp::ReadHalf},
    sync::watch,
    task::JoinSet,
};

use super::{
    answer::Answer,
    generator,
    requests::Targets,
    script::{Ending, Reading, Script, Step},
};

/// The longest time that a connection lasts.
const MAX_DURATION: Duration = Duration::from_secs(10);

/// How long a client of [`Reading::Slowly`] waits between two reads, of this many bytes.
const SLOW_PAUSE: Duration = Duration::from_millis(20);
const SLOW_BYTES: usize = 512;

/// The results of the connections.
#[derive(Debug, Default)]
pub struct Tally {
    pub kinds: BTreeMap<&'static str, usize>,
    pub answers: BTreeMap<String, usize>,
    /// Connections that were ended after [`MAX_DURATION`].
    pub cut_off: usize,
}

/// The seeds of open connections.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Mutex<BTreeSet<u64>>>);

impl UnderWay {
    /// The lowest and the highest of them.
    pub fn range(&self) -> Option<(u64, u64)> {
        let seeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seeds.first().copied().zip(seeds.last().copied())
    }

    fn set(&self, seed: u64, is_under_way: bool) {
        let mut seeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_under_way {
            seeds.insert(seed)
        } else {
            seeds.remove(&seed)
        };
    }
}

/// Makes the connections of all seeds, `at_a_time` of them concurrently.
pub async fn run(
    to: SocketAddr,
    seeds: Range<u64>,
    at_a_time: usize,
    targets: &Arc<Targets>,
    under_way: &UnderWay,
) -> Tally {
    let (mut tasks, mut tally) = (JoinSet::new(), Tally::default());
    for seed in seeds {
        while tasks.len() >= at_a_time {
            join(&mut tasks, &mut tally).await;
        }
        let (targets, under_way) = (Arc::clone(targets), under_way.clone());
        tasks.spawn(async move {
            under_way.set(seed, true);
            let script = generator::script(seed, &targets);
            let answer = tokio::time::timeout(MAX_DURATION, perform(&script, to)).await;
            under_way.set(seed, false);
            (script.kind, answer.ok())
        });
    }
    while !tasks.is_empty() {
        join(&mut tasks, &mut tally).await;
    }
    tally
}

async fn join(tasks: &mut JoinSet<(&'static str, Option<Answer>)>, tally: &mut Tally) {
    let (kind, answer) = tasks.join_next().await.expect("a task").expect("the connection's task does not panic");
    *tally.kinds.entry(kind).or_default() += 1;
    match answer {
        Some(answer) => *tally.answers.entry(answer.to_string()).or_default() += 1,
        None => tally.cut_off += 1,
    }
}

/// Performs a script; returns the answer.
async fn perform(script: &Script, to: SocketAddr) -> Answer {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::new(127, 0, 1, script.source), 0).into()).expect("an address of this machine");
    if script.reading != Reading::All {
        // Unread bytes soon fill a small buffer, so that the service has to wait.
        socket.set_recv_buffer_size(4096).expect("an option");
    }
    let Ok(mut stream) = socket.connect(to).await else { return Answer::refused() };
    stream.set_nodelay(true).expect("an option");
    let mut answer = Answer::default();
    let (received, seen) = watch::channel(0);
    let (mut reader, mut writer) = stream.split();
    let steps = async {
        for step in &script.steps {
            // The server has closed the connection or stopped reading.
            if take(step, &mut writer, seen.clone()).await.is_err() {
                break;
            }
        }
        if let Ending::Await(patience) = script.ending {
            let ended = async { while seen.clone().changed().await.is_ok() {} };
            let _ = tokio::time::timeout(patience, ended).await;
        }
    };
    tokio::select! {
        () = steps => {}
        () = async {
            read(&mut reader, script.reading, &mut answer, received).await;
            std::future::pending::<()>().await;
        } => {}
    }
    leave(stream, script.ending);
    answer
}

/// Performs one step. The pauses are what the script does, not a wait for anything.
async fn take<W: AsyncWriteExt + Unpin>(
    step: &Step,
    writer: &mut W,
    mut seen: watch::Receiver<usize>,
) -> std::io::Result<()> {
    match step {
        Step::Send(bytes) => writer.write_all(bytes).await?,
        Step::Trickle(bytes, piece, pause) => {
            for piece in bytes.chunks(*piece) {
                writer.write_all(piece).await?;
                tokio::time::sleep(*pause).await;
            }
        }
        Step::AwaitAnswer(patience) => {
            seen.mark_unchanged();
            let _ = tokio::time::timeout(*patience, seen.changed()).await;
        }
        Step::Pause(pause) => tokio::time::sleep(*pause).await,
        Step::HalfClose => writer.shutdown().await?,
    }
    Ok(())
}

/// Reads until the end, which drops `received`.
async fn read(reader: &mut ReadHalf<'_>, reading: Reading, answer: &mut Answer, received: watch::Sender<usize>) {
    let mut buffer = vec![0; if reading == Reading::All { 65_536 } else { SLOW_BYTES }];
    if reading == Reading::Nothing {
        return std::future::pending().await;
    }
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        answer.add(&buffer[..count]);
        received.send_modify(|received| *received += count);
        if reading == Reading::Slowly {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
    }
}

fn leave(stream: TcpStream, ending: Ending) {
    if matches!(ending, Ending::Reset) {
        // The other end may have closed the connection.
        let _ = stream.set_zero_linger();
    }
}
