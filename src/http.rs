//! The REST API: routes, the pipeline around them, and the OpenAPI document generated from them.

pub mod auth;
pub mod body;
pub mod conditional;
mod docs;
mod errors;
mod health;
pub mod json;
pub mod middleware;
mod openapi;
mod operator;
mod password;
mod path;
mod preferences;
pub mod query;
mod registration;
mod sessions;
mod traffic;
mod users;
mod views;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
};
use tower::{ServiceBuilder, layer::layer_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    web::{default_headers, problem},
};
use middleware::RequestPipeline;

#[derive(Debug)]
pub struct Routers {
    /// Served on `listen`.
    pub public: Router,
    /// Served on `operator_listen`, if that is set.
    pub operator: Option<Router>,
}

/// Returns the routers of a running service. Each serves the OpenAPI document of its own endpoints.
pub fn routers(app: &App) -> Routers {
    let (public, operator) = (public_routes().merge(health_routes()), operator::router(app));
    let finish = |routes| {
        let (router, document) = assemble(routes);
        with_pipeline(router.merge(docs::router(&document)), app)
    };
    if app.settings().operator_listen.is_some() {
        Routers { public: finish(public), operator: Some(finish(operator.merge(health_routes()))) }
    } else {
        Routers { public: finish(public.merge(operator)), operator: None }
    }
}

/// Returns the OpenAPI document of all endpoints of an instance, with the `gateway`'s own.
pub fn document(gateway: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let instance = public_routes().merge(health_routes()).merge(operator::documented());
    assemble(instance.merge(OpenApiRouter::with_openapi(gateway))).1
}

fn assemble(routes: OpenApiRouter<App>) -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::document()).merge(routes).split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

fn health_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health::live)).routes(routes!(health::ready))
}

fn public_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(registration::register))
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::logout))
        .routes(routes!(sessions::who_am_i))
        .routes(routes!(sessions::list, sessions::end_all))
        .routes(routes!(sessions::end))
        .routes(routes!(users::read, users::change, users::delete))
        .routes(routes!(users::export))
        .routes(routes!(preferences::read, preferences::change))
        .routes(routes!(password::change))
        .routes(routes!(password::reset))
}

/// Wraps the routes in the request pipeline.
///
/// The pipeline is a single layer. axum boxes every layer and clones the boxes for each request, so further layers would make
/// rejected requests more expensive.
fn with_pipeline(routes: Router<App>, app: &App) -> Router {
    let origins = &app.settings().cors_origins.0;
    // Preflight requests are answered by this layer, so it adds the default headers itself.
    let cors = (!origins.is_empty())
        .then(|| ServiceBuilder::new().map_response(default_headers::complete).layer(cors(origins)).into_inner());
    let pipeline_app = app.clone();
    let pipeline = layer_fn(move |route| RequestPipeline::new(pipeline_app.clone(), route));
    let layers = ServiceBuilder::new().option_layer(cors).layer(pipeline);
    routes
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(layers)
        .with_state(app.clone())
}

fn cors(origins: &[String]) -> CorsLayer {
    let origin = match origins.first() {
        Some(origin) if origin == "*" => AllowOrigin::any(),
        _ => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let name = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            name("idempotency-key"),
            name("x-request-id"),
        ])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER, name("x-request-id")])
        .max_age(std::time::Duration::from_secs(3600))
}
