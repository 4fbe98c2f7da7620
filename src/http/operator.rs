//! Operator endpoints: statistics, partitions, users, balancer, resources, tuning, scaling and metrics.

pub(super) mod balancer;
pub(super) mod metrics;
pub(super) mod partitions;
pub(super) mod resources;
pub(super) mod scaling;
pub(super) mod stats;
pub(super) mod tuning;
pub(super) mod users;

use axum::middleware::from_fn_with_state;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::require_operator;
use crate::app::App;

/// Returns the operator endpoints behind the operator check, and `/metrics`, which does its own.
pub(super) fn router(app: &App) -> OpenApiRouter<App> {
    routes().route_layer(from_fn_with_state(app.clone(), require_operator)).merge(metrics_route())
}

/// Returns the same endpoints without the check, for the OpenAPI document.
pub(super) fn documented() -> OpenApiRouter<App> {
    routes().merge(metrics_route())
}

fn metrics_route() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(metrics::metrics))
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(stats::stats))
        .routes(routes!(partitions::all))
        .routes(routes!(partitions::of_key))
        .routes(routes!(balancer::balancer))
        .routes(routes!(balancer::algorithm::choose))
        .routes(routes!(balancer::nodes::add))
        .routes(routes!(balancer::nodes::remove))
        .routes(routes!(resources::resources))
        .routes(routes!(resources::history::resource_history))
        .routes(routes!(resources::limits::resource_limits))
        .routes(routes!(scaling::scaling))
        .routes(routes!(scaling::vertical::vertical))
        .routes(routes!(scaling::decisions::decisions))
        .routes(routes!(scaling::demand::demand))
        .routes(routes!(tuning::tuning))
        .routes(routes!(tuning::enabled::switch))
        .routes(routes!(tuning::cycle::run))
        .routes(routes!(users::find))
        .routes(routes!(users::issue_session))
        .routes(routes!(users::start_reset))
        .routes(routes!(users::set_permissions))
        .routes(routes!(users::set_suspended))
}
