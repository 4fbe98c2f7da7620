//! `symbolon users import`. A thread reads and checks lines; batches of them go to the shards, two at a time.

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

/// Exit code if lines were rejected.
const EXIT_REJECTED: u8 = 3;
/// Maximum length of a line in bytes.
const MAX_LINE: u64 = 1024 * 1024;
/// Batches in progress at a time. One claims names while the other inserts users.
const CONCURRENT_BATCHES: usize = 2;
/// Lines in the first batch, and the bounds that later batches are adapted within.
const INITIAL_BATCH_SIZE: usize = 1000;
const BATCH_SIZES: std::ops::RangeInclusive<usize> = 50..=8000;
/// Target upper bound of the time per batch. A batch makes two transactions, and each must take less than a second.
const MAX_BATCH_TIME: Duration = Duration::from_millis(600);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// File with one JSON object per line; - for standard input
    file: PathBuf,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    imported: u64,
    already_there: u64,
    rejected: u64,
    seconds: f64,
    imported_per_second: f64,
}

/// Lines read from the input, parsed and checked.
#[derive(Default)]
struct Batch {
    candidates: Vec<ImportCandidate>,
    rejected: Vec<Rejection>,
    lines: u64,
    bytes: u64,
}

/// Imports a file. The exit code is 3 if lines were rejected.
pub(super) async fn run(arguments: Arguments, stores: &CommandShards) -> anyhow::Result<ExitCode> {
    let (input, bytes) = open(&arguments.file)?;
    let bar = progress::bar(bytes);
    let size = Arc::new(AtomicUsize::new(INITIAL_BATCH_SIZE));
    let batches = read(input, Arc::clone(&size));
    let import = Import::new(stores.shards.clone());
    let outcomes = batches.map(async |batch| {
        let batch = batch.context("cannot read the input")?;
        let started = Instant::now();
        let outcome =
            import.add(&batch.candidates).await.context("the stores failed; run the import again to continue")?;
        adapt_batch_size(&size, started.elapsed());
        anyhow::Ok((batch, outcome))
    });
    let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(CONCURRENT_BATCHES));
    let mut summary = Summary::default();
    while let Some(result) = outcomes.next().await {
        let (batch, outcome) = result?;
        bar.suspend(|| report(&batch.rejected, &outcome.rejected));
        bar.inc(batch.bytes);
        summary.add(&batch, &outcome);
        bar.set_message(format!("{} users, {:.0}/s", summary.lines, progress::rate(summary.lines, &bar)));
    }
    summary.finish(bar.elapsed());
    bar.finish_and_clear();
    super::super::print(&if arguments.json { serde_json::to_string(&summary)? + "\n" } else { summary.table() })?;
    Ok(if summary.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_REJECTED) })
}

fn open(path: &Path) -> anyhow::Result<(Box<dyn BufRead + Send>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bytes = file.metadata().ok().map(|metadata| metadata.len());
    Ok((Box::new(BufReader::with_capacity(1 << 20, file)), bytes))
}

/// Reads and checks lines in a separate thread, in batches of `size`.
fn read(mut input: Box<dyn BufRead + Send>, size: Arc<AtomicUsize>) -> impl stream::Stream<Item = io::Result<Batch>> {
    let (sender, receiver) = mpsc::channel(CONCURRENT_BATCHES);
    std::thread::spawn(move || {
        let mut number = 0;
        loop {
            let batch = read_batch(&mut input, &mut number, size.load(Ordering::Relaxed));
            let is_last = batch.as_ref().map_or(true, |batch| batch.lines == 0);
            // The receiver is gone if the import failed.
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

/// Skips the rest of a line and returns its length in bytes.
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

/// Doubles or halves the batch size to stay below [`MAX_BATCH_TIME`]. Large batches cost less per row.
fn adapt_batch_size(size: &AtomicUsize, elapsed: Duration) {
    let current = size.load(Ordering::Relaxed);
    let next = if elapsed > MAX_BATCH_TIME {
        current / 2
    } else if elapsed < MAX_BATCH_TIME / 3 {
        current * 2
    } else {
        current
    };
    size.store(next.clamp(*BATCH_SIZES.start(), *BATCH_SIZES.end()), Ordering::Relaxed);
}

fn report(from_parser: &[Rejection], from_stores: &[Rejection]) {
    let mut all: Vec<&Rejection> = from_parser.iter().chain(from_stores).collect();
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

    fn finish(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_secs_f64();
        self.imported_per_second = self.imported as f64 / self.seconds.max(0.001);
    }

    fn table(&self) -> String {
        let rows = [
            ("lines", self.lines.to_string()),
            ("imported", self.imported.to_string()),
            ("already present", self.already_there.to_string()),
            ("rejected", self.rejected.to_string()),
            ("seconds", format!("{:.1}", self.seconds)),
            ("imported/s", format!("{:.0}", self.imported_per_second)),
        ];
        rows.iter().map(|(name, value)| format!("{name:<18}{value:>12}\n")).collect()
    }
}
