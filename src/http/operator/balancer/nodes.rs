//! Nodes that operators add and take out.

use axum::{Extension, extract::State, http::StatusCode};

use super::{NodeView, new_node::NewNode};
use crate::{
    app::App,
    audit,
    fleet::FleetNode,
    http::{
        auth::{Operator, Origin},
        body::JsonBody,
        json::Json,
        path::Segment,
    },
    web::problem::{Problem, ProblemKind},
};

/// Adds a node for the fleet's gateways to balance over, in the place of one that was added with this id.
///
/// With the id and url of an instance, it lets in again one that was taken out; all else is as the instance says itself.
#[utoipa::path(
    post, path = "/v1/operator/balancer/nodes", tag = "operator", operation_id = "add_node",
    security(("operator_token" = []), ("session" = [])),
    request_body = NewNode,
    responses(
        (status = 201, description = "The node as it is now.", body = NodeView),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn add(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    JsonBody(body): JsonBody<NewNode>,
) -> Result<(StatusCode, Json<NodeView>), Problem> {
    let record = body.check().map_err(|broken| Problem::fields(ProblemKind::Invalid, broken))?;
    let node = match app.fleet().now().await?.nodes().remove(&record.id) {
        Some(FleetNode { spec, instance: Some(_), .. }) if spec.url != record.url => {
            return Err(Problem::field(ProblemKind::Invalid, "id", "is that of an instance with another url"));
        }
        Some(node) if node.instance.is_some() => {
            app.balancer_control().readmit_node(&node.spec.id).await?;
            FleetNode { removed: false, ..node }
        }
        _ => {
            app.balancer_control().add_node(&record).await?;
            FleetNode { spec: record.into(), instance: None, added: true, removed: false }
        }
    };
    audit::record_fleet_event(audit::Kind::NodeAdded, &node.spec.id, actor, origin.address);
    Ok((StatusCode::CREATED, Json(node.into())))
}

/// Forgets an added node, or takes an instance out of what the fleet's gateways balance over.
///
/// An instance is known by its id: one that starts again under its own (`instance_id`) stays out, and one under a new id is
/// in.
#[utoipa::path(
    delete, path = "/v1/operator/balancer/nodes/{id}", tag = "operator", operation_id = "remove_node",
    security(("operator_token" = []), ("session" = [])),
    params(("id" = String, Path, description = "The node's id.", example = "spare-1")),
    responses(
        (status = 204, description = "It gets no more requests; those it has are finished."),
        (status = 404, description = "not-found"),
    )
)]
pub(in crate::http) async fn remove(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    Segment(id): Segment,
) -> Result<StatusCode, Problem> {
    let is_instance = app.fleet().now().await?.instances.contains_key(&id);
    if !app.balancer_control().remove_node(&id, is_instance).await? {
        return Err(ProblemKind::NotFound.into());
    }
    audit::record_fleet_event(audit::Kind::NodeRemoved, &id, actor, origin.address);
    Ok(StatusCode::NO_CONTENT)
}
