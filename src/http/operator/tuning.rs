//! The performance tuner: its knobs, rules and history, its switch, and a cycle at once.

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
const MOST_CYCLES: u32 = 1000;

/// What the tuner of the instance that answers is at.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Tuning {
    /// The instance that answers: each turns its own knobs.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    answered_by: String,
    /// Whether it turns knobs.
    tuning_enabled: bool,
    /// How often it looks, in seconds.
    #[schema(example = 60)]
    interval_seconds: u64,
    /// What it can turn.
    knobs: Vec<KnobView>,
    /// What makes it do so.
    rules: Vec<RuleView>,
    /// What it did.
    stats: TuningStats,
    /// The newest cycles of the last thousand, newest first.
    history: Vec<Record>,
}

/// A value of the running service that the tuner can turn.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TuningKnob)]
pub struct KnobView {
    /// Its name.
    #[schema(example = "hashing_concurrency")]
    name: &'static str,
    /// What its value counts.
    #[schema(example = "hashes")]
    unit: &'static str,
    /// The value in force.
    #[schema(example = 3)]
    value: u64,
    /// The value without pressure, as the settings have it.
    #[schema(example = 4)]
    normal: u64,
    /// The least value that it can have.
    #[schema(example = 1)]
    min: u64,
    /// The greatest value that it can have.
    #[schema(example = 4)]
    max: u64,
}

/// A rule, and how far it has gone.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TuningRule)]
pub struct RuleView {
    /// Its name.
    #[schema(example = "cpu_optimization")]
    name: String,
    /// What it looks at.
    metric: Metric,
    /// Above this it turns its knobs one step on, in percent.
    #[schema(example = 80.0)]
    limit: f64,
    /// The knobs that it turns; those that this instance doesn't have are not in the list of knobs.
    #[schema(example = json!(["hashing_concurrency"]))]
    knobs: Vec<String>,
    /// How many steps are in force.
    #[schema(example = 1)]
    level: usize,
    /// How many there are: where all are in force, only more resources help.
    #[schema(example = 3)]
    steps: usize,
    /// Below this it is calm, in percent: so far below the limit that the newest step can be done without.
    #[schema(example = 48.6)]
    calm_below: f64,
    /// Since when it is calm; null if it is not.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-22T12:00:00Z")]
    calm_since: Option<Timestamp>,
    /// How long calm has to last before a step back, in seconds; twice as long after each relapse.
    #[schema(example = 180)]
    wait_seconds: u64,
}

/// The seed's statistics of the tuner.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TuningStats {
    /// How many cycles there were since the start.
    #[schema(example = 90)]
    total_tuning_cycles: u64,
    /// How often a knob was turned since the start.
    #[schema(example = 2)]
    total_actions: u64,
    /// How often a knob was turned in the last ten cycles.
    #[schema(example = 1)]
    recent_actions: usize,
    /// Whether it turns knobs.
    tuning_enabled: bool,
    /// How many rules there are.
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

/// Shows the knobs that the instance turns by itself, why, and what came of it.
#[utoipa::path(
    get, path = "/v1/operator/tuning", tag = "operator", operation_id = "tuning",
    security(("operator_token" = []), ("session" = [])),
    params(("cycles" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many cycles the history shows at most; 60 if not given.", example = 60)),
    responses(
        (status = 200, description = "The tuner.", body = Tuning),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn tuning(State(app): State<App>, RawQuery(text): RawQuery) -> Result<Json<Tuning>, Problem> {
    let [cycles] = query::read(text.as_deref(), ["cycles"])?;
    let cycles = cycles.as_deref().map_or(Ok(DEFAULT_CYCLES), |text| query::count("cycles", text, MOST_CYCLES))?;
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
