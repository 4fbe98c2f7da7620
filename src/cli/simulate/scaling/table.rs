//! The tables of `symbolon simulate scaling`.

use symbolon_simulator::scaling::{Comparison, Report};

/// Returns a table with one row per run, and the cost with full knowledge of the future.
pub(super) fn of_runs(reports: &[Report], cost: impl Fn(u64) -> f64) -> String {
    let mut table = format!(
        "{:<11}{:>7}{:>12}{:>10}{:>14}{:>11}{:>12}{:>9}{:>11}{:>10}\n",
        "policy",
        "target",
        "violation s",
        "% of time",
        "node-seconds",
        "cost",
        "over min",
        "changes",
        "reversals",
        "shed"
    );
    for report in reports {
        table += &format!(
            "{:<11}{:>7.2}{:>12}{:>10.3}{:>14}{:>11.2}{:>12.3}{:>9}{:>11}{:>9.3}%\n",
            report.policy.name(),
            report.target,
            report.violation_seconds,
            100.0 * report.violation_seconds as f64 / report.seconds.max(1) as f64,
            report.node_seconds,
            cost(report.node_seconds),
            report.over_minimum(),
            report.changes,
            report.reversals,
            100.0 * report.shed_share
        );
    }
    if let Some(minimum) = reports.first().map(|report| report.min_node_seconds) {
        table += &format!(
            "Minimum without violations, with full knowledge of the future: {minimum} node-seconds, {:.2}.\n",
            cost(minimum)
        );
    }
    table
}

/// Returns a table of the violations in our runs, and of each other policy at equal cost. `comparisons` has one list per
/// other policy.
pub(super) fn of_comparisons(ours: &[Report], comparisons: &[Vec<Comparison>]) -> String {
    let mut table =
        format!("\nViolation seconds at equal node-seconds\n{:>7}{:>14}{:>12}", "target", "node-seconds", "demand");
    for other in comparisons.iter().filter_map(|comparisons| comparisons.first()) {
        table += &format!("{:>12}", other.policy.name());
    }
    table.push('\n');
    for (index, report) in ours.iter().enumerate() {
        table += &format!("{:>7.2}{:>14}{:>12}", report.target, report.node_seconds, report.violation_seconds);
        for comparison in comparisons.iter().filter_map(|comparisons| comparisons.get(index)) {
            let other =
                comparison.other_violation_seconds.map_or_else(|| "-".to_owned(), |other| format!("{other:.0}"));
            table += &format!("{other:>12}");
        }
        table.push('\n');
    }
    table
}
