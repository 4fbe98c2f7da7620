use serde_json::Value;

use super::harness::{Service, run};

#[tokio::test]
async fn the_committed_openapi_document_is_current() {
    let (_, generated, _) = run(&["openapi"], &[], b"").await;
    let committed = include_str!("../../openapi/openapi.json");
    assert!(generated == committed, "openapi/openapi.json has drifted: run `make openapi`");
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let service = Service::start().await;
    let served = service.get("/openapi.json").send().await.json();
    let committed: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).expect("JSON");
    assert_eq!(served, committed);
}

#[tokio::test]
async fn every_operation_tells_its_failures_as_problems_with_examples() {
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = 0;
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("/v1/health")) {
        for (method, operation) in item.as_object().expect("a path item") {
            operations += 1;
            let responses = operation["responses"].as_object().expect("responses");
            let failures = responses.iter().filter(|(status, _)| status.as_str() >= "400");
            for (status, response) in failures.clone() {
                let content = &response["content"]["application/problem+json"];
                assert!(content["examples"].is_object(), "{method} {path} {status}");
            }
            assert!(failures.count() >= 2, "{method} {path}");
        }
    }
    assert!(operations >= 25, "{operations}");
}

#[tokio::test]
async fn links_lead_to_operations_that_take_what_they_bring() {
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).expect("JSON");
    let items = document["paths"].as_object().expect("paths").values();
    let operations: Vec<&Value> = items.flat_map(|item| item.as_object().expect("a path item").values()).collect();
    let responses =
        operations.iter().flat_map(|operation| operation["responses"].as_object().expect("responses").values());
    let links: Vec<&Value> =
        responses.filter_map(|response| response["links"].as_object()).flat_map(|links| links.values()).collect();
    for link in &links {
        let target = operations.iter().find(|operation| operation["operationId"] == link["operationId"]).expect("it");
        for name in link["parameters"].as_object().into_iter().flat_map(|parameters| parameters.keys()) {
            let (location, name) = name.split_once('.').expect("a location");
            let parameters = target["parameters"].as_array().expect("parameters");
            assert!(parameters.iter().any(|it| it["in"] == location && it["name"] == name), "{link}");
        }
        assert!(link["requestBody"].is_null() || target["requestBody"].is_object(), "{link}");
    }
    assert_eq!(links.len(), 46, "a link of the table was left out");
}

#[tokio::test]
async fn the_documentation_page_needs_nothing_from_elsewhere() {
    let service = Service::start().await;
    let page = service.get("/docs/").send().await;
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "{}", page.text);
    for asset in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
        assert_eq!(service.get(&format!("/docs/{asset}")).send().await.status, 200, "{asset}");
    }
}

#[tokio::test]
async fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for setting in symbolon::config::SETTINGS {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{} is missing in README.md", setting.name);
    }
}
