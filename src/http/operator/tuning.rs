//! The performance tuner: knobs, rules and history; switching it on and off; running a cycle immediately.

pub(super) mod cycle;
pub(super) mod enabled;

use axum::extract::{RawQuery, State};
use serde::Serialize;

use crate::{
    app::App,
    clock::Timestamp,
    http::{json::Json, query},
    tuner::{KnobStatus, Metric, Record, RuleStatus},
    web::problem::Problem,
};

const DEFAULT_CYCLES: u32 = 60;
const MAX_CYCLES: u32 = 1000;

/// State of the performance tuner of this instance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Tuning {
    /// Id of the instance that sent this response. Each instance tunes its own knobs.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    answered_by: String,
    /// Whether tuning is enabled.
    tuning_enabled: bool,
    /// Time between two cycles, in seconds.
    #[schema(example = 60)]
    interval_seconds: u64,
    /// The knobs that the tuner can change.
    knobs: Vec<KnobView>,
    /// The rules that the tuner follows.
    rules: Vec<RuleView>,
    /// Statistics of the tuner.
    stats: TuningStats,
    /// Recent cycles, newest first. The last thousand are kept.
    history: Vec<Record>,
}

/// A parameter of the running service that the tuner can change.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TuningKnob)]
pub struct KnobView {
    /// Name of the knob.
    #[schema(example = "hashing_concurrency")]
    name: &'static str,
    /// Unit of the value.
    #[schema(example = "hashes")]
    unit: &'static str,
    /// Current value.
    #[schema(example = 3)]
    value: u64,
    /// Value without pressure, as configured.
    #[schema(example = 4)]
    normal: u64,
    /// Minimum value.
    #[schema(example = 1)]
    min: u64,
    /// Maximum value.
    #[schema(example = 4)]
    max: u64,
}

/// A tuning rule and its state.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TuningRule)]
pub struct RuleView {
    /// Name of the rule.
    #[schema(example = "cpu_optimization")]
    name: String,
    /// The metric that the rule compares with its limit.
    metric: Metric,
    /// Limit in percent. Above it, the rule applies one further step to its knobs.
    #[schema(example = 80.0)]
    limit: f64,
    /// Names of the knobs that the rule changes. Knobs that this instance lacks are not in its list of knobs.
    #[schema(example = json!(["hashing_concurrency"]))]
    knobs: Vec<String>,
    /// Number of steps in force.
    #[schema(example = 1)]
    level: usize,
    /// Total number of steps. If all are in force, only more resources help.
    #[schema(example = 3)]
    steps: usize,
    /// Threshold in percent below which the metric counts as calm: the latest step is no longer needed.
    #[schema(example = 48.6)]
    calm_below: f64,
    /// Start of the current calm period; null if there is none.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-22T12:00:00Z")]
    calm_since: Option<Timestamp>,
    /// How long calm must last before a step is reverted, in seconds. It doubles after each relapse.
    #[schema(example = 180)]
    wait_seconds: u64,
}

/// Statistics of the tuner. Totals are since the start of the instance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TuningStats {
    /// Number of cycles.
    #[schema(example = 90)]
    total_tuning_cycles: u64,
    /// Number of knob changes.
    #[schema(example = 2)]
    total_actions: u64,
    /// Number of knob changes in the last ten cycles.
    #[schema(example = 1)]
    recent_actions: usize,
    /// Whether tuning is enabled.
    tuning_enabled: bool,
    /// Number of rules.
    #[schema(example = 3)]
    rules_count: usize,
}

impl From<KnobStatus> for KnobView {
    fn from(KnobStatus { name, unit, value, normal, bounds: (min, max) }: KnobStatus) -> Self {
        Self { name, unit, value, normal, min, max }
    }
}

impl From<RuleStatus> for RuleView {
    fn from(RuleStatus { rule, level, steps, calm_below, calm_since, wait }: RuleStatus) -> Self {
        Self {
            name: rule.name,
            metric: rule.metric,
            limit: rule.limit,
            knobs: rule.knobs,
            level,
            steps,
            calm_below,
            calm_since,
            wait_seconds: wait.as_secs(),
        }
    }
}

/// Returns the state of this instance's performance tuner: knobs, rules, statistics and history.
#[utoipa::path(
    get, path = "/v1/operator/tuning", tag = "operator", operation_id = "tuning",
    security(("operator_token" = []), ("session" = [])),
    params(("cycles" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Maximum number of cycles in the history. Default: 60.", example = 60)),
    responses(
        (status = 200, description = "State of the tuner.", body = Tuning),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn tuning(State(app): State<App>, RawQuery(text): RawQuery) -> Result<Json<Tuning>, Problem> {
    let [cycles] = query::read(text.as_deref(), ["cycles"])?;
    let cycles = cycles.as_deref().map_or(Ok(DEFAULT_CYCLES), |text| query::count("cycles", text, MAX_CYCLES))?;
    let status = app.tuner().status();
    Ok(Json(Tuning {
        answered_by: app.fleet().own().spec().id.clone(),
        tuning_enabled: status.enabled,
        interval_seconds: status.interval.as_secs(),
        stats: TuningStats {
            total_tuning_cycles: status.cycles,
            total_actions: status.actions,
            recent_actions: status.recent_actions,
            tuning_enabled: status.enabled,
            rules_count: status.rules.len(),
        },
        knobs: status.knobs.into_iter().map(KnobView::from).collect(),
        rules: status.rules.into_iter().map(RuleView::from).collect(),
        history: app.tuner().history(cycles as usize),
    }))
}
