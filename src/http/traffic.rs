//! What kind of request is at which route: by that it is counted and let in.

use axum::http::Method;

use crate::model::LoadClass;

/// What begins with these is about the service itself: it is no load, and always gets in, for who watches or saves the service
/// must get in when nobody else does.
const ABOUT_ITSELF: [&str; 6] = ["/v1/health", "/v1/operator", "/metrics", "/console", "/docs", "/openapi.json"];

/// The class of a request; none for what is about the service itself, and for what is not there.
pub fn class(method: &Method, route: &str) -> Option<LoadClass> {
    if ABOUT_ITSELF.iter().any(|start| route.starts_with(start)) {
        return None;
    }
    let hashes = match route {
        "/v1/login" | "/v1/users" | "/v1/password-reset" => method == Method::POST,
        "/v1/users/{user_id}/password" => method == Method::PUT,
        _ => false,
    };
    Some(match (hashes, method.is_safe()) {
        (true, _) => LoadClass::Login,
        (false, true) => LoadClass::Read,
        (false, false) => LoadClass::Change,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public routes that hash a password.
    const HASH: [(&str, &str); 4] = [
        ("post", "/v1/login"),
        ("post", "/v1/password-reset"),
        ("post", "/v1/users"),
        ("put", "/v1/users/{user_id}/password"),
    ];

    #[test]
    fn every_route_is_in_the_class_of_what_it_costs() {
        let document = serde_json::to_value(crate::http::document(utoipa::openapi::OpenApi::default())).expect("JSON");
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for method in operations.as_object().expect("operations").keys() {
                let class = class(&method.to_uppercase().parse().expect("a method"), path);
                let expected = if ABOUT_ITSELF.iter().any(|start| path.starts_with(start)) {
                    None
                } else if HASH.contains(&(method, path)) {
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
