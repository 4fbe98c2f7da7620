//! Headers and queries: each line is one more header of the same name, for every reader there is.
#![no_main]

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use symbolon::{
    config::{Networks, SettingValue},
    http::{
        conditional::{Comparison, Tags, tags},
        query,
    },
    web::{address, auth, cookie, request_id},
};

fuzz_target!(|data: &[u8]| {
    let values = data.split(|&byte| byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let values: Vec<HeaderValue> = values.collect();
    let headers = |name: HeaderName| {
        let mut all = HeaderMap::new();
        for value in &values {
            all.append(name.clone(), value.clone());
        }
        all
    };
    entity_tags(&headers(header::IF_NONE_MATCH));
    client_address(&headers(HeaderName::from_static("x-forwarded-for")));
    if let Some(token) = cookie::token(&headers(header::COOKIE)) {
        assert!(!token.contains(';'));
    }
    if let Some(token) = auth::bearer(&headers(header::AUTHORIZATION)) {
        assert!(values.len() == 1 && !token.starts_with(' ') && !token.ends_with(' '));
    }
    if request_id::is_valid_request_id(data) {
        assert!(HeaderValue::from_bytes(data).is_ok_and(|value| value.len() <= 128));
    }
    std::str::from_utf8(data).map(parameters).ok();
});

fn entity_tags(headers: &HeaderMap) {
    let read = |headers: &HeaderMap, comparison| tags(headers, header::IF_NONE_MATCH, comparison);
    let (strong, weak) = (read(headers, Comparison::Strong), read(headers, Comparison::Weak));
    assert_eq!(strong.is_ok(), weak.is_ok(), "the grammar is the same for both comparisons");
    let (Ok(Some(Tags::Versions(strong))), Ok(Some(Tags::Versions(weak)))) = (strong, weak) else { return };
    assert!(strong.iter().all(|version| weak.contains(version)));
    let text: Vec<String> = weak.iter().map(|version| format!("\"{version}\"")).collect();
    let value = HeaderValue::try_from(text.join(", ")).expect("digits and quotes");
    let written = HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]);
    assert_eq!(read(&written, Comparison::Strong).ok(), Some(Some(Tags::Versions(weak))));
}

fn client_address(headers: &HeaderMap) {
    let peer: IpAddr = [10, 0, 0, 1].into();
    let nobody = Networks::default();
    assert_eq!(address::client_address(peer, headers, &nobody), Ok(peer), "headers of untrusted peers are ignored");
    let proxies = Networks::from_text("10.0.0.0/8, fd00::/8").expect("networks");
    let Ok(client) = address::client_address(peer, headers, &proxies) else { return };
    assert_eq!(client, client.to_canonical());
    assert!(client == peer || headers.len() > 0);
}

fn parameters(text: &str) {
    let names = ["a", "window"];
    let Ok(values) = query::read(Some(text), names) else { return };
    let present = names.iter().zip(&values).filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(present).finish();
    assert_eq!(query::read(Some(&written), names).ok(), Some(values));
}
