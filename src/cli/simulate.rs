//! `symbolon simulate` runs simulations without servers.

mod scaling;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use symbolon_balancer::Algorithm;
use symbolon_simulator::balancing::{self, Report, Scenario, Settings};

use super::print;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    simulation: Simulation,
}

#[derive(Debug, Subcommand)]
enum Simulation {
    /// Compare load-balancing algorithms on nodes that fail in typical ways
    Balancer(BalancerArguments),
    /// Compare autoscaling policies on a trace of requests, by cost and violations
    Scaling(Box<scaling::Arguments>),
}

#[derive(Debug, Args)]
struct BalancerArguments {
    /// Run only this algorithm
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// Run only this scenario: healthy, failing, slow, flapping, new, half_a_zone
    #[arg(long)]
    scenario: Option<Scenario>,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of nodes
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..=1000))]
    nodes: u16,
    /// Simulated time in seconds; faults begin after ten
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(11..=3600))]
    seconds: u16,
    /// Arrival rate, in percent of the capacity of all nodes
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    load: u16,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Runs the simulation and prints a table.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.simulation {
        Simulation::Balancer(arguments) => run_balancer(arguments),
        Simulation::Scaling(arguments) => scaling::run(arguments),
    }
}

fn run_balancer(arguments: &BalancerArguments) -> anyhow::Result<ExitCode> {
    let settings = Settings {
        seed: arguments.seed,
        nodes: usize::from(arguments.nodes),
        time: Duration::from_secs(u64::from(arguments.seconds)),
        load: f64::from(arguments.load) / 100.0,
    };
    if !arguments.json {
        print(&format!(
            "{:<13}{:<22}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}\n",
            "scenario", "algorithm", "requests", "share", "errors", "p50 ms", "p99 ms", "p99.9 ms"
        ))?;
    }
    for scenario in Scenario::ALL.iter().copied().filter(|one| arguments.scenario.is_none_or(|only| only == *one)) {
        for algorithm in
            Algorithm::ALL.iter().copied().filter(|one| arguments.algorithm.is_none_or(|only| only == *one))
        {
            let report = balancing::run(algorithm, scenario, settings);
            print(&if arguments.json { serde_json::to_string(&report)? + "\n" } else { row(&report) })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(report: &Report) -> String {
    format!(
        "{:<13}{:<22}{:>9}{:>8.2}%{:>8.3}%{:>10.1}{:>10.1}{:>10.1}\n",
        report.scenario.name(),
        report.algorithm.name(),
        report.requests,
        100.0 * report.share,
        100.0 * report.errors,
        report.p50_ms,
        report.p99_ms,
        report.p999_ms
    )
}
