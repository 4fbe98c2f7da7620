//! `symbolon users import`: a thread reads and checks lines, and batches of them go to the shards, two at a time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use super::progress;
use crate::{
    server::CommandShards,
    users::transfer::{Import, ImportCandidate, ImportOutcome, Rejection},
};

/// The exit code of an import of which lines were rejected.
const SOME_REJECTED: u8 = 3;
/// The longest line, in bytes.
const MAX_LINE: u64 = 1024 * 1024;
/// How many batches are under way at a time: one claims names while the other inserts users.
const AT_A_TIME: usize = 2;
/// How many lines a batch has at first, at least and at most.
const BATCH: usize = 1000;
const BATCHES: std::ops::RangeInclusive<usize> = 50..=8000;
/// How long a batch should take at most. It makes two transactions, and each must be shorter than a second.
const BATCH_TIME: Duration = Duration::from_millis(600);

/// What to import.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file of users, one JSON object a line; - for standard input
    file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What came of an import.
#[derive(Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    imported: u64,
    already_there: u64,
    rejected: u64,
    seconds: f64,
    imported_per_second: f64,
}

/// Lines that were read, checked.
#[derive(Default)]
struct Batch {
    candidates: Vec<ImportCandidate>,
    rejected: Vec<Rejection>,
    lines: u64,
    bytes: u64,
}

/// Imports a file; exit code 3 if lines were rejected.
pub(super) async fn run(arguments: Arguments, stores: &CommandShards) -> anyhow::Result<ExitCode> {
    let (input, bytes) = open(&arguments.file)?;
    let bar = progress::bar(bytes);
    let size = Arc::new(AtomicUsize::new(BATCH));
    let batches = read(input, Arc::clone(&size));
    let import = Import::new(stores.shards.clone());
    let outcomes = batches.map(async |batch| {
        let batch = batch.context("cannot read the file")?;
        let begun = Instant::now();
        let outcome =
            import.add(&batch.candidates).await.context("the stores failed: import again to go on from here")?;
        adapt(&size, begun.elapsed());
        anyhow::Ok((batch, outcome))
    });
    let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(AT_A_TIME));
    let mut summary = Summary::default();
    while let Some(done) = outcomes.next().await {
        let (batch, outcome) = done?;
        bar.suspend(|| report(&batch.rejected, &outcome.rejected));
        bar.inc(batch.bytes);
        summary.add(&batch, &outcome);
        bar.set_message(format!("{} users, {:.0}/s", summary.lines, progress::rate(summary.lines, &bar)));
    }
    summary.finish(bar.elapsed());
    bar.finish_and_clear();
    super::super::print(&if arguments.json { serde_json::to_string(&summary)? + "\n" } else { summary.table() })?;
    Ok(if summary.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_REJECTED) })
}

fn open(path: &Path) -> anyhow::Result<(Box<dyn BufRead + Send>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bytes = file.metadata().ok().map(|metadata| metadata.len());
    Ok((Box::new(BufReader::with_capacity(1 << 20, file)), bytes))
}

/// Reads and checks lines in a thread of its own, in batches of `size`.
fn read(mut input: Box<dyn BufRead + Send>, size: Arc<AtomicUsize>) -> impl stream::Stream<Item = io::Result<Batch>> {
    let (sender, receiver) = mpsc::channel(AT_A_TIME);
    std::thread::spawn(move || {
        let mut number = 0;
        loop {
            let batch = read_batch(&mut input, &mut number, size.load(Ordering::Relaxed));
            let is_last = batch.as_ref().map_or(true, |batch| batch.lines == 0);
            // An import that failed takes no more.
            if sender.blocking_send(batch).is_err() || is_last {
                return;
            }
        }
    });
    stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|batch| (batch, receiver)))
}

fn read_batch(input: &mut dyn BufRead, number: &mut u64, size: usize) -> io::Result<Batch> {
    let mut batch = Batch::default();
    let mut line = Vec::new();
    while batch.lines < size as u64 {
        line.clear();
        let read = io::Read::take(&mut *input, MAX_LINE).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            break;
        }
        *number += 1;
        batch.lines += 1;
        batch.bytes += read;
        if read == MAX_LINE && line.last() != Some(&b'\n') {
            batch.bytes += skip_line(input)?;
            batch.rejected.push(Rejection::new(*number, "", format!("is longer than {MAX_LINE} bytes")));
        } else if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        } else {
            match ImportCandidate::parse(*number, line.trim_ascii_end()) {
                Ok(candidate) => batch.candidates.push(candidate),
                Err(rejection) => batch.rejected.push(rejection),
            }
        }
    }
    Ok(batch)
}

/// Passes over the rest of a line, whatever its length.
fn skip_line(input: &mut dyn BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf()?;
        let (length, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(length);
        skipped += length as u64;
        if is_end {
            return Ok(skipped);
        }
    }
}

/// Batches as large as their time allows: large ones cost less a row, and transactions must end within a second.
fn adapt(size: &AtomicUsize, took: Duration) {
    let now = size.load(Ordering::Relaxed);
    let next = if took > BATCH_TIME {
        now / 2
    } else if took < BATCH_TIME / 3 {
        now * 2
    } else {
        now
    };
    size.store(next.clamp(*BATCHES.start(), *BATCHES.end()), Ordering::Relaxed);
}

fn report(of_reading: &[Rejection], of_stores: &[Rejection]) {
    let mut all: Vec<&Rejection> = of_reading.iter().chain(of_stores).collect();
    all.sort_by_key(|rejection| rejection.line);
    for rejection in all {
        eprintln!("{rejection}");
    }
}

impl Summary {
    fn add(&mut self, batch: &Batch, outcome: &ImportOutcome) {
        self.lines += batch.lines;
        self.imported += outcome.imported;
        self.already_there += outcome.already_there;
        self.rejected += (batch.rejected.len() + outcome.rejected.len()) as u64;
    }

    fn finish(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        self.imported_per_second = self.imported as f64 / self.seconds.max(0.001);
    }

    fn table(&self) -> String {
        let rows = [
            ("lines", self.lines.to_string()),
            ("imported", self.imported.to_string()),
            ("already there", self.already_there.to_string()),
            ("rejected", self.rejected.to_string()),
            ("seconds", format!("{:.1}", self.seconds)),
            ("imported a second", format!("{:.0}", self.imported_per_second)),
        ];
        rows.iter().map(|(name, value)| format!("{name:<18}{value:>12}\n")).collect()
    }
}
