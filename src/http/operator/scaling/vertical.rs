//! Vertical scaling: the recommended size of an instance.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use symbolon_scaler::vertical::{Advice, Averages, Sizes, advise};

use crate::{app::App, clock::Timestamp, http::json::Json, web::problem::Problem};

const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Recommended size of instances.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VerticalScaling {
    /// Id of the instance that sent this response. The recommendations are about this instance.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    answered_by: String,
    /// Recommendations from the instance's mean usage in the last 15 minutes.
    #[serde(flatten)]
    advice: Advice,
    /// Recommended resource requests and limits for each instance, from the usage history of the whole fleet; null until there
    /// is a history.
    sizes: Option<Sizes>,
}

/// Recommends the size of an instance: resources to add or remove, and requests and limits to set.
#[utoipa::path(
    get, path = "/v1/operator/scaling/vertical", tag = "operator", operation_id = "vertical_scaling",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Recommendations.", body = VerticalScaling))
)]
pub(in crate::http) async fn vertical(State(app): State<App>) -> Result<Json<VerticalScaling>, Problem> {
    let mean = app.monitor().average(WINDOW, Timestamp::now());
    let averages = mean.map_or_else(Averages::default, |mean| Averages {
        cpu_percent: mean.cpu_percent,
        memory_percent: mean.memory_percent,
        disk_percent: mean.disk_usage_percent,
    });
    Ok(Json(VerticalScaling {
        answered_by: app.fleet().own().spec().id.clone(),
        advice: advise(averages),
        sizes: app.scaling().usage().await?.sizes(),
    }))
}
