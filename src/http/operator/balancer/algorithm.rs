//! Choosing the load-balancing algorithm of all gateways.

use axum::{Extension, extract::State, http::StatusCode};
use serde::Deserialize;
use symbolon_balancer::{Algorithm, UnknownAlgorithm};

use crate::{
    app::App,
    audit,
    http::{
        auth::{Operator, Origin},
        body::JsonBody,
    },
    web::problem::{Problem, ProblemKind},
};

/// The load-balancing algorithm to use.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"algorithm": "peak_ewma"}))]
pub struct AlgorithmChoice {
    /// Name of the algorithm; null restores the setting of each gateway.
    // Without `deserialize_with`, serde accepts an absent member as null.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<Algorithm>, required = true)]
    algorithm: Option<String>,
}

/// Sets the load-balancing algorithm of all gateways of the fleet.
///
/// It stays in force until it is set again, also for gateways that start later.
#[utoipa::path(
    put, path = "/v1/operator/balancer/algorithm", tag = "operator", operation_id = "choose_algorithm",
    security(("operator_token" = []), ("session" = [])),
    request_body = AlgorithmChoice,
    responses(
        (status = 204, description = "The algorithm is set; gateways use it within seconds."),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn choose(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    JsonBody(body): JsonBody<AlgorithmChoice>,
) -> Result<StatusCode, Problem> {
    let algorithm: Option<Algorithm> =
        body.algorithm.as_deref().map(str::parse).transpose().map_err(unknown_algorithm)?;
    app.balancer_control().set_algorithm(algorithm).await?;
    let subject = algorithm.map_or("setting", Algorithm::name);
    audit::record_fleet_event(audit::Kind::AlgorithmChosen, subject, actor, origin.address);
    Ok(StatusCode::NO_CONTENT)
}

fn unknown_algorithm(_: UnknownAlgorithm) -> Problem {
    let names = Algorithm::NAMES.join(", ");
    Problem::field(ProblemKind::Invalid, "algorithm", format!("must be one of {names}, or null"))
}
