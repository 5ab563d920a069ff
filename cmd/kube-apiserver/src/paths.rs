//! Paths that are no resources: health, metrics, version, keys of tokens.

use std::sync::Arc;

use apiserver::server::PathHandler;
use component_base::endpoints::Endpoints;
use component_base::http::{Request, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method, StatusCode};

/// What component-base answers for every daemon.
pub fn component(endpoints: Endpoints) -> PathHandler {
    Arc::new(move |request: &Request| {
        let mut response = endpoints.answer(request.method(), request.uri().path(), request.uri().query())?;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Some(response)
    })
}

/// `/.well-known/openid-configuration` and `/openid/v1/jwks`: how others verify the cluster's tokens.
pub fn token_keys(issuer: &str, public_address: &str, keys: &[apiserver::service_account::PublicKey]) -> PathHandler {
    let mut algorithms: Vec<&str> = keys.iter().map(|key| key.algorithm.name()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let list = |texts: &[&str]| texts.iter().map(|text| apimachinery::Value::from(*text)).collect::<apimachinery::Value>();
    let mut document = apimachinery::value::Object::new();
    document.insert("issuer", issuer);
    document.insert("jwks_uri", format!("https://{public_address}/openid/v1/jwks"));
    document.insert("response_types_supported", list(&["id_token"]));
    document.insert("subject_types_supported", list(&["public"]));
    document.insert("id_token_signing_alg_values_supported", list(&algorithms));
    let document = apimachinery::Value::from(document).to_vec();
    let mut set = apimachinery::value::Object::new();
    set.insert("keys", keys.iter().map(apiserver::service_account::PublicKey::to_jwk).collect::<apimachinery::Value>());
    let set = apimachinery::Value::from(set).to_vec();

    Arc::new(move |request: &Request| {
        let (body, media_type) = match request.uri().path() {
            "/.well-known/openid-configuration" => (&document, "application/json"),
            "/openid/v1/jwks" => (&set, "application/jwk-set+json"),
            _ => return None,
        };
        if request.method() != Method::GET {
            return None;
        }
        let mut response: Response = component_base::http::with_type(StatusCode::OK, media_type, body.clone());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
        Some(response)
    })
}
