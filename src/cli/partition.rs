//! `symbolon partition` prints the owner of each key from standard input, as NDJSON.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufWriter, Write},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use symbolon_partitioner::{Node, Partition, PartitionId, Partitioner, PartitionerSpec, Strategy, plan};

use super::is_reader_open;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Partitioning strategy: consistent_hash, hash, range or directory
    #[arg(long, value_name = "STRATEGY", default_value = "consistent_hash")]
    strategy: Strategy,
    /// Nodes, separated by commas; node=weight sets a weight other than 1
    #[arg(long, value_name = "NODES")]
    nodes: String,
    /// Split points of strategy range, separated by commas: the first key of the second and each further node [default: equal parts of 0 to 1,000,000]
    #[arg(long, value_name = "KEYS", default_value = "", hide_default_value = true)]
    split_points: String,
    /// Pin of strategy directory, KEY=NODE; may be repeated
    #[arg(long = "pin", value_name = "KEY=NODE")]
    pins: Vec<String>,
    /// Also show which of these nodes would own each key, and which keys would move
    #[arg(long, value_name = "NODES")]
    to: Option<String>,
    /// Strategy with --to [default: the value of --strategy]
    #[arg(long, value_name = "STRATEGY", requires = "to")]
    to_strategy: Option<Strategy>,
    /// Split points with --to
    #[arg(long, value_name = "KEYS", requires = "to", default_value = "", hide_default_value = true)]
    to_split_points: String,
}

#[derive(Serialize)]
struct Owner<'a> {
    partition_id: PartitionId<'a>,
    node_id: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    #[serde(flatten)]
    owner: Owner<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Owner<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moves: Option<bool>,
}

impl<'a> From<Partition<'a>> for Owner<'a> {
    fn from(partition: Partition<'a>) -> Self {
        Self { partition_id: partition.partition_id, node_id: partition.node_id }
    }
}

/// Reads one key per line and prints a JSON object for each. With `--to`, a summary follows on standard error.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let old = arguments.current_partitioner()?;
    let new = arguments.target_partitioner()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut counts = Counts::default();
    for (number, line) in io::stdin().lock().split(b'\n').enumerate() {
        let line = line.context("cannot read standard input")?;
        let line =
            String::from_utf8(line).with_context(|| format!("line {}: the key is not valid UTF-8", number + 1))?;
        let key = line.strip_suffix('\r').unwrap_or(&line);
        let from = old.partition(key);
        let to = new.as_ref().map(|new| new.partition(key));
        counts.add(from.node_id, to.map(|to| to.node_id));
        let moves = to.map(|to| to.node_id != from.node_id);
        let line = Line { key, owner: from.into(), to: to.map(Owner::from), moves };
        if !is_reader_open(write_line(&mut out, &line))? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    is_reader_open(out.flush())?;
    if let Some(new) = &new {
        counts.summarize(&old, new);
    }
    Ok(ExitCode::SUCCESS)
}

fn write_line(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

impl Arguments {
    fn current_partitioner(&self) -> anyhow::Result<Partitioner> {
        self.build("--nodes", self.strategy, &self.nodes, &self.split_points)
    }

    fn target_partitioner(&self) -> anyhow::Result<Option<Partitioner>> {
        let strategy = self.to_strategy.unwrap_or(self.strategy);
        self.to.as_ref().map(|nodes| self.build("--to", strategy, nodes, &self.to_split_points)).transpose()
    }

    fn build(&self, flag: &str, strategy: Strategy, nodes: &str, splits: &str) -> anyhow::Result<Partitioner> {
        let spec = PartitionerSpec {
            strategy,
            nodes: parse_nodes(nodes).with_context(|| flag.to_owned())?,
            splits: if splits.is_empty() { Vec::new() } else { splits.split(',').map(str::to_owned).collect() },
            pins: if strategy == Strategy::Directory || flag == "--nodes" {
                parse_pins(&self.pins)?
            } else {
                BTreeMap::new()
            },
        };
        Partitioner::new(&spec).with_context(|| flag.to_owned())
    }
}

fn parse_nodes(text: &str) -> anyhow::Result<Vec<Node>> {
    let node = |item: &str| match item.split_once('=') {
        None => Ok(Node::new(item)),
        Some((id, weight)) => match weight.parse() {
            Ok(weight) => Ok(Node { id: id.to_owned(), weight }),
            Err(_) => bail!("the weight {weight:?} of node {id:?} is not a whole number"),
        },
    };
    text.split(',').map(str::trim).map(node).collect()
}

fn parse_pins(pins: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pin = |text: &String| match text.rsplit_once('=') {
        Some((key, node)) => Ok((key.to_owned(), node.to_owned())),
        None => bail!("--pin: {text:?} must have the form KEY=NODE"),
    };
    pins.iter().map(pin).collect()
}

/// Number of keys, and of those that move between each pair of nodes.
#[derive(Default)]
struct Counts {
    keys: u64,
    moved: BTreeMap<(String, String), u64>,
}

impl Counts {
    fn add(&mut self, from: &str, to: Option<&str>) {
        self.keys += 1;
        if let Some(to) = to.filter(|to| *to != from) {
            *self.moved.entry((from.to_owned(), to.to_owned())).or_default() += 1;
        }
    }

    /// Prints to standard error, so that standard output stays NDJSON.
    fn summarize(&self, old: &Partitioner, new: &Partitioner) {
        let moved: u64 = self.moved.values().sum();
        eprintln!("{moved} of {} keys move ({:.1} %)", self.keys, percent(moved, self.keys));
        let planned = plan(old, new).ok();
        let mut rows = self.moved.clone();
        for step in planned.iter().flat_map(|plan| &plan.moves) {
            rows.entry((step.from.clone(), step.to.clone())).or_default();
        }
        let width = rows.keys().flat_map(|(from, to)| [from.len(), to.len()]).max().unwrap_or(0);
        for ((from, to), count) in rows {
            let share = planned.iter().flat_map(|plan| &plan.moves).find(|step| step.from == from && step.to == to);
            let share = share.map_or(String::new(), |step| format!("  {:>5.1} % of the key space", 100.0 * step.share));
            eprintln!("  {from:<width$} -> {to:<width$}  {count:>9} keys{share}");
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}
