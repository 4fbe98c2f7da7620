mod links;
mod pages;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{DEADLINE, Reply, Service, run};

#[tokio::test]
async fn the_committed_openapi_document_is_current() {
    let (_, generated, _) = run(&["openapi"], &[], b"").await;
    let committed = include_str!("../../openapi/openapi.json");
    assert!(generated == committed, "openapi/openapi.json has drifted: run `make openapi`");
}

#[tokio::test]
async fn an_instance_serves_the_committed_document_without_the_endpoints_of_gateways() {
    let service = Service::start().await;
    let served = service.get("/openapi.json").send().await.json();
    let mut committed: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).expect("JSON");
    let paths = committed["paths"].as_object_mut().expect("paths");
    paths.retain(|path, _| !path.starts_with("/v1/operator/gateway"));
    let schemas = committed["components"]["schemas"].as_object_mut().expect("schemas");
    let served_schemas = served["components"]["schemas"].as_object().expect("schemas");
    schemas.retain(|name, _| served_schemas.contains_key(name));
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
async fn a_document_is_not_sent_to_those_who_have_it() {
    let service = Service::start().await;
    for path in ["/openapi.json", "/docs/", "/docs/swagger-ui-bundle.js", "/docs/swagger-initializer.js"] {
        let sent = service.get(path).send().await;
        assert_eq!((sent.status.as_u16(), sent.header("cache-control")), (200, "no-cache"), "{path}");
        let again = service.get(path).header("if-none-match", sent.header("etag")).send().await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
        let changed = service.get(path).header("if-none-match", "\"another\"").send().await;
        assert_eq!(changed.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_document_is_compressed_for_those_who_take_that() {
    let service = Service::start().await;
    for path in ["/openapi.json", "/docs/swagger-ui.css"] {
        let plain = service.get(path).send().await;
        let request = service.get(path).header("accept-encoding", "br, gzip");
        let gzip = request.send().await;
        assert_eq!((plain.header("content-encoding"), gzip.header("content-encoding")), ("", "gzip"), "{path}");
        let length = |reply: &Reply| reply.header("content-length").parse::<usize>().expect("a length");
        assert!(length(&gzip) * 3 < length(&plain), "{path}");
        assert_eq!(gzip.header("vary"), "accept-encoding");
    }
}

#[tokio::test]
async fn documents_have_a_limit_of_their_own() {
    let service = Service::start().await;
    // Sent at once, so that they are answered long before as many are allowed.
    let requests = "GET /docs/index.css HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
    let last = "GET /v1/session HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let address = service.url.strip_prefix("http://").expect("an address");
    let (mut reader, mut writer) = TcpStream::connect(address).await.expect("a connection").into_split();
    let sending = tokio::spawn(async move {
        writer.write_all(format!("{requests}{last}").as_bytes()).await.expect("sent");
        // Dropped, it would close its direction, and the server the connection.
        writer
    });
    let mut answers = String::new();
    tokio::time::timeout(DEADLINE, reader.read_to_string(&mut answers)).await.expect("in time").expect("answers");
    sending.await.expect("no panic");
    let count = |status: &str| answers.matches(&format!("HTTP/1.1 {status}")).count();
    assert!(count("200") >= 50 && count("503") >= 1, "{} and {}", count("200"), count("503"));
    assert_eq!((count("200") + count("503"), count("401")), (100, 1));
}
