//! `symbolon simulate scaling`: a trace of requests through the scaler's policies and through others' autoscalers.

mod table;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use symbolon_scaler::{Bounds, Demand, Policy, Threshold};
use symbolon_simulator::scaling::{
    self as simulation, Arrivals, Comparison, Contender, ContenderName, Hpa, Kpa, Report, Run, Settings, Trace, chart,
};

use crate::cli::print;

/// The targets of a sweep.
const SWEEP: [f64; 14] = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0];
/// Where the seed's policy shrinks, relative to where it grows: 0.3 to 0.8.
const SHRINK: f64 = 0.3 / 0.8;

/// What to simulate.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Lines timestamp,value: how many requests came in each bucket of time
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// One only: demand, threshold (the scaler's), hpa (Kubernetes) or kpa (Knative); may be repeated
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<ContenderName>,
    /// How long an instance takes from its start until it takes requests
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    startup_delay: Duration,
    /// How old is what a policy sees
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    metric_lag: Duration,
    /// How many requests an instance serves in a second, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100.0, value_parser = positive)]
    capacity: f64,
    /// Scale the trace such that on average so many instances would be in full use
    #[arg(long, value_name = "NUMBER", default_value_t = 5.0, value_parser = positive, conflicts_with = "scale")]
    mean_instances: f64,
    /// Scale the trace by this
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    scale: Option<f64>,
    /// Which part of an instance's capacity policies aim at; may be repeated [default: demand, threshold and hpa 0.8, kpa 0.7]
    #[arg(long = "target", value_name = "PART", value_parser = positive)]
    targets: Vec<f64>,
    /// The least number of instances
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    min: u32,
    /// The greatest number of instances
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    max: u32,
    /// How long threshold does nothing after it did something
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = humantime::parse_duration)]
    cooldown: Duration,
    /// In which part of the time demand may turn out higher than what demand's policy keeps for it
    #[arg(long, value_name = "PART", default_value_t = 0.01, value_parser = positive)]
    risk: f64,
    /// By which part hpa lets use differ from its target
    #[arg(long, value_name = "PART", default_value_t = 0.1)]
    hpa_tolerance: f64,
    /// For how long hpa keeps to its greatest recommendation
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = humantime::parse_duration)]
    hpa_stabilization: Duration,
    /// The stable window of kpa; its panic window is a tenth
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    kpa_window: Duration,
    /// How many times the ready instances kpa must want to panic
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0, value_parser = positive)]
    kpa_panic_threshold: f64,
    /// What an instance costs in an hour
    #[arg(long, value_name = "NUMBER", default_value_t = 0.1)]
    price: f64,
    /// How chance falls
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run each policy at many targets, and compare them at equal cost
    #[arg(long)]
    sweep: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Draw the course of instances to this file, or with --sweep violations over cost
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Run {
        #[serde(flatten)]
        report: &'a Report,
        over_least: f64,
        cost: f64,
    },
    Comparison(&'a Comparison),
}

/// Simulates, and prints a table.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.settings()?;
    let trace = Trace::read(&arguments.trace).with_context(|| arguments.trace.display().to_string())?;
    let scale = match arguments.scale {
        Some(scale) => scale,
        None if trace.mean() > 0.0 => {
            arguments.mean_instances * arguments.capacity * trace.bucket.as_secs_f64() / trace.mean()
        }
        None => bail!("{}: no requests at all", arguments.trace.display()),
    };
    let arrivals = Arrivals::new(&trace, scale, arguments.seed);
    let policies = if arguments.policies.is_empty() { ContenderName::ALL } else { &arguments.policies };
    let contenders: Vec<Contender> = policies.iter().flat_map(|policy| arguments.contenders(*policy)).collect();
    let bar = progress(contenders.len());
    let mut runs: Vec<Run> = Vec::with_capacity(contenders.len());
    for contender in contenders {
        bar.set_message(contender.name().name());
        let mut run = simulation::run(contender, &arrivals, &settings);
        if arguments.sweep || arguments.svg.is_none() {
            run.counts = Vec::new();
        }
        runs.push(run);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let reports: Vec<Report> = runs.iter().map(|run| run.report).collect();
    arguments.show(&reports)?;
    if let Some(file) = &arguments.svg {
        let drawn =
            if arguments.sweep { chart::frontiers(&reports) } else { chart::course(&runs, &arrivals, &settings) };
        fs::write(file, drawn?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn settings(&self) -> anyhow::Result<Settings> {
        if [self.startup_delay, self.metric_lag].iter().any(|time| time.subsec_nanos() != 0) {
            bail!("the start-up delay and the metric lag are whole seconds");
        }
        if !(0.0..1.0).contains(&self.risk) {
            bail!("the risk is a part of the time, less than 1");
        }
        Ok(Settings {
            capacity: self.capacity,
            startup_delay: self.startup_delay,
            metric_lag: self.metric_lag,
            bounds: Bounds::new(self.min, self.max)?,
        })
    }

    /// A policy at each of its targets.
    fn contenders(&self, policy: ContenderName) -> Vec<Contender> {
        let usual = if policy == ContenderName::Kpa { 0.7 } else { 0.8 };
        let targets = match &self.targets[..] {
            [] if self.sweep => &SWEEP[..],
            [] => &[usual][..],
            targets => targets,
        };
        // More than all places are never taken: at 1 threshold would never grow.
        let possible = targets.iter().filter(|target| policy != ContenderName::Threshold || **target < 1.0);
        possible.map(|target| self.contender(policy, *target)).collect()
    }

    fn contender(&self, policy: ContenderName, target: f64) -> Contender {
        // settings() has checked them.
        let bounds = Bounds::new(self.min, self.max).unwrap_or_default();
        match policy {
            ContenderName::Demand => {
                let look_ahead = self.startup_delay + self.metric_lag + simulation::DECIDE_EVERY;
                Contender::ours(Policy::Demand(Demand { look_ahead, risk: self.risk, ..Demand::new(bounds) }), target)
            }
            ContenderName::Threshold => {
                let (scale_up_above, scale_down_below, cooldown) = (target, target * SHRINK, self.cooldown);
                let threshold = Threshold { cooldown, scale_up_above, scale_down_below, ..Threshold::new(bounds) };
                Contender::ours(Policy::Threshold(threshold), target)
            }
            ContenderName::Hpa => {
                let mut hpa = Hpa::new(target);
                hpa.tolerance = self.hpa_tolerance;
                hpa.scale_down_stabilization = self.hpa_stabilization.as_secs() as usize;
                Contender::Hpa(hpa)
            }
            ContenderName::Kpa => {
                let mut kpa = Kpa::new(target);
                kpa.stable_window = self.kpa_window.as_secs().max(1) as usize;
                kpa.panic_threshold = self.kpa_panic_threshold;
                Contender::Kpa(kpa)
            }
        }
    }

    fn show(&self, reports: &[Report]) -> anyhow::Result<()> {
        let of = |policy| reports.iter().filter(|report| report.policy == policy).copied().collect::<Vec<_>>();
        let ours = of(ContenderName::Demand);
        let others = if self.sweep && !ours.is_empty() { &ContenderName::ALL[1..] } else { &[] };
        let comparisons: Vec<Vec<Comparison>> = others
            .iter()
            .map(|policy| simulation::compare(&ours, &of(*policy)))
            .filter(|comparisons| !comparisons.is_empty())
            .collect();
        if self.json {
            for report in reports {
                let (over_least, cost) = (report.over_least(), self.cost(report.node_seconds));
                print(&(serde_json::to_string(&Line::Run { report, over_least, cost })? + "\n"))?;
            }
            for comparison in comparisons.iter().flatten() {
                print(&(serde_json::to_string(&Line::Comparison(comparison))? + "\n"))?;
            }
            return Ok(());
        }
        print(&table::of_runs(reports, |node_seconds| self.cost(node_seconds)))?;
        if !comparisons.is_empty() {
            print(&table::of_comparisons(&ours, &comparisons))?;
        }
        Ok(())
    }

    fn cost(&self, node_seconds: u64) -> f64 {
        node_seconds as f64 / 3600.0 * self.price
    }
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0).ok_or("not a number above 0".to_owned())
}

/// A bar over the runs, on standard error; nothing where that is no terminal.
fn progress(runs: usize) -> ProgressBar {
    // The template is a constant; a wrong one would show the default bar.
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:32}] {pos} of {len} runs  {msg}  {eta} left");
    ProgressBar::new(runs as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
