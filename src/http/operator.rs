//! The operator's endpoints: statistics, partitions, users, balancer and resources.

pub(super) mod balancer;
pub(super) mod partitions;
pub(super) mod resources;
pub(super) mod stats;
pub(super) mod users;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

/// All of them.
pub(super) fn router() -> OpenApiRouter<App> {
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
        .routes(routes!(users::find))
        .routes(routes!(users::issue_session))
        .routes(routes!(users::start_reset))
        .routes(routes!(users::set_permissions))
        .routes(routes!(users::set_suspended))
}
