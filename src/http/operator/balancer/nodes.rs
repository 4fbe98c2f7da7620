//! Adding and removing nodes.

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
        path::PathParam,
    },
    web::problem::{Problem, ProblemKind},
};

/// Adds a node for the fleet's gateways to balance over.
///
/// It replaces a node that was added with the same id. With the id and URL of an instance that was removed, the instance gets
/// requests again; the other members are then ignored, because an instance announces its own.
#[utoipa::path(
    post, path = "/v1/operator/balancer/nodes", tag = "operator", operation_id = "add_node",
    security(("operator_token" = []), ("session" = [])),
    request_body = NewNode,
    responses(
        (status = 201, description = "The node was added.", body = NodeView),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn add(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    JsonBody(body): JsonBody<NewNode>,
) -> Result<(StatusCode, Json<NodeView>), Problem> {
    let record = body.check().map_err(|violations| Problem::fields(ProblemKind::Invalid, violations))?;
    let node = match app.fleet().now().await?.nodes().remove(&record.id) {
        Some(FleetNode { spec, instance: Some(_), .. }) if spec.url != record.url => {
            return Err(Problem::field(ProblemKind::Invalid, "id", "belongs to an instance with another url"));
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

/// Removes a node from load balancing.
///
/// A node that an operator added is forgotten. An instance keeps running, but gets no requests. It stays removed if it
/// restarts with the same id (setting `instance_id`); with a new id it gets requests again.
#[utoipa::path(
    delete, path = "/v1/operator/balancer/nodes/{id}", tag = "operator", operation_id = "remove_node",
    security(("operator_token" = []), ("session" = [])),
    params(("id" = String, Path, description = "Id of the node.", example = "spare-1")),
    responses(
        (status = 204, description = "The node gets no further requests; those in flight are completed."),
        (status = 404, description = "not-found"),
    )
)]
pub(in crate::http) async fn remove(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    PathParam(id): PathParam,
) -> Result<StatusCode, Problem> {
    let is_instance = app.fleet().now().await?.instances.contains_key(&id);
    if !app.balancer_control().remove_node(&id, is_instance).await? {
        return Err(ProblemKind::NotFound.into());
    }
    audit::record_fleet_event(audit::Kind::NodeRemoved, &id, actor, origin.address);
    Ok(StatusCode::NO_CONTENT)
}
