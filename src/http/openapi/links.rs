//! OpenAPI links: which value of a response (id, version, token) is a parameter of which operation.

use serde_json::json;
use utoipa::openapi::{OpenApi, RefOr, link::LinkBuilder, path::PathItem};

use super::operations;

const USER_ID: &str = "$response.body#/user_id";
/// The operations that take a user id.
const USER_OPERATIONS: [&str; 9] = [
    "read_user",
    "change_user",
    "delete_user",
    "export_user",
    "read_preferences",
    "change_preferences",
    "issue_session",
    "start_password_reset",
    "set_suspended",
];
/// Those that take `If-Match`.
const CHANGES: [&str; 3] = ["change_user", "delete_user", "change_preferences"];
/// Those that take `If-None-Match`.
const READS: [&str; 2] = ["read_user", "read_preferences"];

/// Adds the links between operations that the document contains. Operator endpoints may be in another document, on their own
/// listener.
pub(super) fn add(document: &mut OpenApi) {
    let ids = |item: &mut PathItem| operations(item).filter_map(|(_, it)| it.operation_id.clone()).collect::<Vec<_>>();
    let known: Vec<String> = document.paths.paths.values_mut().flat_map(ids).collect();
    let mut add = |from: &str, status: &str, to: &str, link: LinkBuilder| {
        let mut all = document.paths.paths.values_mut().flat_map(operations);
        let origin = all.find(|(_, origin)| origin.operation_id.as_deref() == Some(from));
        let response = origin.and_then(|(_, origin)| origin.responses.responses.get_mut(status));
        if let Some(RefOr::T(response)) = response.filter(|_| known.iter().any(|known| known == to)) {
            response.links.insert(to.to_owned(), RefOr::T(link.operation_id(to).build()));
        }
    };
    let new = LinkBuilder::new;
    for (from, status, has_version) in [
        ("register", "201", true),
        ("read_user", "200", true),
        ("change_user", "200", true),
        ("find_user", "200", false),
    ] {
        for to in USER_OPERATIONS {
            let mut link = new().parameter("path.user_id", USER_ID);
            if has_version && CHANGES.contains(&to) {
                link = link.parameter("header.If-Match", "$response.header.ETag");
            }
            if has_version && READS.contains(&to) {
                link = link.parameter("header.If-None-Match", "$response.header.ETag");
            }
            add(from, status, to, link);
        }
    }
    let credentials = json!({"login_name": "$request.body#/login_name", "password": "$request.body#/password"});
    add("register", "201", "login", new().request_body(Some(credentials)));
    let passwords = json!({"current_password": "$request.body#/password", "new_password": "staple battery horse"});
    let change = new().parameter("path.user_id", USER_ID).request_body(Some(passwords));
    add("register", "201", "change_password", change);
    let by_name = new().parameter("query.login_name", "$response.body#/login_name");
    add("register", "201", "find_user", by_name);
    for from in ["login", "issue_session"] {
        let session = new().parameter("path.session_id", "$response.body#/session/session_id");
        add(from, "200", "end_session", session);
        add(from, "200", "read_user", new().parameter("path.user_id", "$response.body#/user/user_id"));
    }
    let oldest = new().parameter("path.session_id", "$response.body#/sessions/0/session_id");
    add("list_sessions", "200", "end_session", oldest);
    add("add_node", "201", "remove_node", new().parameter("path.id", "$response.body#/id"));
    let reset = json!({"token": "$response.body#/token", "new_password": "staple battery horse"});
    add("start_password_reset", "200", "reset_password", new().request_body(Some(reset)));
}
