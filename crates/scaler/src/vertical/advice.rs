//! Advice by thresholds on means over 15 minutes, as in the reference design
//! (`VerticalScalingManager.recommend_vertical_scaling`).

use serde::Serialize;

/// Means over the last 15 minutes, in percent; none if not measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Averages {
    /// Processor use.
    pub cpu_percent: Option<f64>,
    /// Memory use.
    pub memory_percent: Option<f64>,
    /// Use of the file system with the data.
    pub disk_percent: Option<f64>,
}

/// A resource of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub enum Resource {
    /// Processors.
    #[serde(rename = "CPU")]
    Cpu,
    /// Memory.
    Memory,
    /// Storage.
    Disk,
}

/// A change of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Add more of the resource.
    ScaleUp,
    /// Reduce the resource.
    ScaleDown,
}

/// A recommendation for one resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Recommendation {
    /// The resource.
    pub resource: Resource,
    /// The recommended change.
    pub action: Action,
    /// Current use, as text with a percent sign.
    #[cfg_attr(feature = "utoipa", schema(example = "91.4%"))]
    pub current_usage: String,
    /// The recommendation and its reason, as a sentence.
    pub recommendation: String,
}

/// Whether there were measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There are no measurements yet.
    NoData,
    /// The measurements were evaluated.
    Completed,
}

/// Recommendations for all resources.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Advice {
    /// Whether there were measurements.
    pub status: Status,
    /// The period of the means.
    #[cfg_attr(feature = "utoipa", schema(example = "15 minutes"))]
    pub analysis_period: &'static str,
    /// The recommendations; empty if all resources are within their thresholds.
    pub recommendations: Vec<Recommendation>,
}

/// Thresholds of a resource, and the advice above and below them.
struct Thresholds {
    resource: Resource,
    above: (f64, &'static str),
    below: Option<(f64, &'static str)>,
}

const THRESHOLDS: [Thresholds; 3] = [
    Thresholds {
        resource: Resource::Cpu,
        above: (80.0, "Add more CPU cores or upgrade to higher frequency"),
        below: Some((20.0, "Consider reducing CPU allocation")),
    },
    Thresholds {
        resource: Resource::Memory,
        above: (85.0, "Add more RAM"),
        below: Some((30.0, "Consider reducing memory allocation")),
    },
    Thresholds { resource: Resource::Disk, above: (90.0, "Add more storage capacity"), below: None },
];

/// Recommends changes to the size of an instance.
pub fn advise(averages: Averages) -> Advice {
    let used = [averages.cpu_percent, averages.memory_percent, averages.disk_percent];
    let status = if used.iter().all(Option::is_none) { Status::NoData } else { Status::Completed };
    let recommendations =
        THRESHOLDS.iter().zip(used).filter_map(|(thresholds, used)| thresholds.judge(used?)).collect();
    Advice { status, analysis_period: "15 minutes", recommendations }
}

impl Thresholds {
    fn judge(&self, used: f64) -> Option<Recommendation> {
        let recommend = |action, text: &str, why: String| Recommendation {
            resource: self.resource,
            action,
            current_usage: format!("{used:.1}%"),
            recommendation: format!("{text}: {used:.1}% is used on average, {why}."),
        };
        let (above, more) = self.above;
        if used > above {
            return Some(recommend(Action::ScaleUp, more, format!("more than {above:.0}%")));
        }
        let (below, less) = self.below.filter(|(below, _)| used < *below)?;
        Some(recommend(Action::ScaleDown, less, format!("less than {below:.0}%")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(cpu: f64, memory: f64, disk: f64) -> Vec<(Resource, Action)> {
        let averages = Averages { cpu_percent: Some(cpu), memory_percent: Some(memory), disk_percent: Some(disk) };
        advise(averages).recommendations.into_iter().map(|one| (one.resource, one.action)).collect()
    }

    #[test]
    fn without_measurements_there_is_no_data() {
        let advice = advise(Averages::default());
        assert_eq!((advice.status, advice.recommendations), (Status::NoData, Vec::new()));
    }

    #[test]
    fn the_thresholds_equal_those_of_the_reference_design() {
        use Action::{ScaleDown, ScaleUp};
        use Resource::{Cpu, Disk, Memory};
        assert_eq!(actions(80.0, 85.0, 90.0), []);
        assert_eq!(actions(20.0, 30.0, 0.0), []);
        assert_eq!(actions(80.1, 85.1, 90.1), [(Cpu, ScaleUp), (Memory, ScaleUp), (Disk, ScaleUp)]);
        assert_eq!(actions(19.9, 29.9, 0.0), [(Cpu, ScaleDown), (Memory, ScaleDown)]);
    }

    #[test]
    fn unmeasured_resources_are_left_out() {
        let advice = advise(Averages { memory_percent: Some(91.44), ..Averages::default() });
        assert_eq!(advice.status, Status::Completed);
        let json = serde_json::to_value(&advice.recommendations).unwrap();
        let expected = serde_json::json!([{
            "resource": "Memory",
            "action": "scale_up",
            "current_usage": "91.4%",
            "recommendation": "Add more RAM: 91.4% is used on average, more than 85%.",
        }]);
        assert_eq!(json, expected);
    }
}
