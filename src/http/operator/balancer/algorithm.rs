//! The algorithm that an operator chose for all gateways.

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

/// The algorithm to balance by.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"algorithm": "peak_ewma"}))]
pub struct AlgorithmChoice {
    /// Its name; null goes back to the one in each gateway's settings.
    // Without a function of its own serde takes an absent member for null.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<Algorithm>, required = true)]
    algorithm: Option<String>,
}

/// Chooses the algorithm by which the fleet's gateways balance, until another is chosen.
#[utoipa::path(
    put, path = "/v1/operator/balancer/algorithm", tag = "operator", operation_id = "choose_algorithm",
    security(("operator_token" = []), ("session" = [])),
    request_body = AlgorithmChoice,
    responses(
        (status = 204, description = "Chosen; gateways follow within seconds."),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn choose(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    JsonBody(body): JsonBody<AlgorithmChoice>,
) -> Result<StatusCode, Problem> {
    let algorithm: Option<Algorithm> = body.algorithm.as_deref().map(str::parse).transpose().map_err(unknown)?;
    app.balancer_control().set_algorithm(algorithm).await?;
    let subject = algorithm.map_or("setting", Algorithm::name);
    audit::record_fleet_event(audit::Kind::AlgorithmChosen, subject, actor, origin.address);
    Ok(StatusCode::NO_CONTENT)
}

fn unknown(_: UnknownAlgorithm) -> Problem {
    let names = Algorithm::NAMES.join(", ");
    Problem::field(ProblemKind::Invalid, "algorithm", format!("must be one of {names}, or null"))
}
