//! `symbolon simulate scaling` runs the scaler's policies and other autoscalers over a trace of requests.

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

/// Target utilizations of a sweep.
const SWEEP: [f64; 14] = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0];
/// Ratio of the thresholds for scaling in and out in the threshold policy, which by default are 0.3 and 0.8.
const SCALE_IN_RATIO: f64 = 0.3 / 0.8;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Trace file: CSV lines of timestamp,value with the number of requests in each time bucket
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Run only this policy: demand, threshold, hpa (Kubernetes) or kpa (Knative); may be repeated
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<ContenderName>,
    /// Start-up time of an instance
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    startup_delay: Duration,
    /// Age of the measurements that policies receive
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    metric_lag: Duration,
    /// Requests per second that one instance can serve
    #[arg(long, value_name = "NUMBER", default_value_t = 100.0, value_parser = positive)]
    capacity: f64,
    /// Scale the trace so that its mean load equals the capacity of this number of instances
    #[arg(long, value_name = "NUMBER", default_value_t = 5.0, value_parser = positive, conflicts_with = "scale")]
    mean_instances: f64,
    /// Scale the trace by this factor
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    scale: Option<f64>,
    /// Target utilization of an instance; may be repeated [default: demand, threshold and hpa 0.8, kpa 0.7]
    #[arg(long = "target", value_name = "PART", value_parser = positive)]
    targets: Vec<f64>,
    /// Lower bound of the number of instances
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    min: u32,
    /// Upper bound of the number of instances
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    max: u32,
    /// Cooldown of policy threshold after a scaling change
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = humantime::parse_duration)]
    cooldown: Duration,
    /// Share of time in which the load may exceed what policy demand provides
    #[arg(long, value_name = "PART", default_value_t = 0.01, value_parser = positive)]
    risk: f64,
    /// Relative deviation from the target that policy hpa tolerates
    #[arg(long, value_name = "PART", default_value_t = 0.1)]
    hpa_tolerance: f64,
    /// Scale-in stabilization window of policy hpa
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = humantime::parse_duration)]
    hpa_stabilization: Duration,
    /// Stable window of policy kpa; its panic window is a tenth of it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    kpa_window: Duration,
    /// Panic threshold of policy kpa: ratio of needed to ready instances
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0, value_parser = positive)]
    kpa_panic_threshold: f64,
    /// Price of an instance per hour
    #[arg(long, value_name = "NUMBER", default_value_t = 0.1)]
    price: f64,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run each policy at many targets and compare the policies at equal cost
    #[arg(long)]
    sweep: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// Write an SVG chart to this file: instances over time, or with --sweep violations over cost
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// A line of JSON output.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Run {
        #[serde(flatten)]
        report: &'a Report,
        #[serde(rename = "over_least")]
        over_minimum: f64,
        cost: f64,
    },
    Comparison(&'a Comparison),
}

/// Runs the simulation and prints a table.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.settings()?;
    let trace = Trace::read(&arguments.trace).with_context(|| arguments.trace.display().to_string())?;
    let scale = match arguments.scale {
        Some(scale) => scale,
        None if trace.mean() > 0.0 => {
            arguments.mean_instances * arguments.capacity * trace.bucket.as_secs_f64() / trace.mean()
        }
        None => bail!("{}: the trace contains no requests", arguments.trace.display()),
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
            bail!("--startup-delay and --metric-lag must be whole seconds");
        }
        if !(0.0..1.0).contains(&self.risk) {
            bail!("--risk must be at least 0 and less than 1");
        }
        Ok(Settings {
            capacity: self.capacity,
            startup_delay: self.startup_delay,
            metric_lag: self.metric_lag,
            bounds: Bounds::new(self.min, self.max)?,
        })
    }

    /// Returns the policy once for each of its targets.
    fn contenders(&self, policy: ContenderName) -> Vec<Contender> {
        let default = if policy == ContenderName::Kpa { 0.7 } else { 0.8 };
        let targets = match &self.targets[..] {
            [] if self.sweep => &SWEEP[..],
            [] => &[default][..],
            targets => targets,
        };
        // Utilization never exceeds 1, so the threshold policy would never scale out at a target of 1.
        let usable = targets.iter().filter(|target| policy != ContenderName::Threshold || **target < 1.0);
        usable.map(|target| self.contender(policy, *target)).collect()
    }

    fn contender(&self, policy: ContenderName, target: f64) -> Contender {
        // `settings` has already validated the bounds.
        let bounds = Bounds::new(self.min, self.max).unwrap_or_default();
        match policy {
            ContenderName::Demand => {
                let look_ahead = self.startup_delay + self.metric_lag + simulation::DECIDE_EVERY;
                Contender::ours(Policy::Demand(Demand { look_ahead, risk: self.risk, ..Demand::new(bounds) }), target)
            }
            ContenderName::Threshold => {
                let (scale_up_above, scale_down_below, cooldown) = (target, target * SCALE_IN_RATIO, self.cooldown);
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
                let (over_minimum, cost) = (report.over_minimum(), self.cost(report.node_seconds));
                print(&(serde_json::to_string(&Line::Run { report, over_minimum, cost })? + "\n"))?;
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
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value > 0.0)
        .ok_or("must be a number greater than 0".to_owned())
}

/// Returns a progress bar on standard error. It is hidden if standard error is not a terminal.
fn progress(runs: usize) -> ProgressBar {
    // The template is constant and valid.
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:32}] {pos} of {len} runs  {msg}  {eta} left");
    ProgressBar::new(runs as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
