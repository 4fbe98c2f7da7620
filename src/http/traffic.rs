//! Classifies requests by route, for load measurement and admission.

use axum::http::Method;

use crate::model::LoadClass;

/// Prefixes of routes that bypass load measurement and admission: operators and health checks must get through under overload.
const UNMETERED_ROUTES: [&str; 6] = ["/v1/health", "/v1/operator", "/metrics", "/console", "/docs", "/openapi.json"];

/// Returns the load class of a request, or `None` if its route is unmetered.
pub fn class(method: &Method, route: &str) -> Option<LoadClass> {
    if UNMETERED_ROUTES.iter().any(|start| route.starts_with(start)) {
        return None;
    }
    let hashes_password = match route {
        "/v1/login" | "/v1/users" | "/v1/password-reset" => method == Method::POST,
        "/v1/users/{user_id}/password" => method == Method::PUT,
        _ => false,
    };
    Some(match (hashes_password, method.is_safe()) {
        (true, _) => LoadClass::Login,
        (false, true) => LoadClass::Read,
        (false, false) => LoadClass::Change,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD_ROUTES: [(&str, &str); 4] = [
        ("post", "/v1/login"),
        ("post", "/v1/password-reset"),
        ("post", "/v1/users"),
        ("put", "/v1/users/{user_id}/password"),
    ];

    #[test]
    fn routes_are_classified_by_their_cost() {
        let document = serde_json::to_value(crate::http::document(utoipa::openapi::OpenApi::default())).expect("JSON");
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for method in operations.as_object().expect("operations").keys() {
                let class = class(&method.to_uppercase().parse().expect("a method"), path);
                let expected = if UNMETERED_ROUTES.iter().any(|start| path.starts_with(start)) {
                    None
                } else if PASSWORD_ROUTES.contains(&(method, path)) {
                    Some(LoadClass::Login)
                } else if method == "get" {
                    Some(LoadClass::Read)
                } else {
                    Some(LoadClass::Change)
                };
                assert_eq!(class, expected, "{method} {path}");
            }
        }
        for path in ["/docs/{*rest}", "/openapi.json", "/metrics", "/console"] {
            assert_eq!(class(&Method::GET, path), None, "{path}");
        }
    }
}
