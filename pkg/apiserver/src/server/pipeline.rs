//! The steps of a request, in order. Upstream: `DefaultBuildHandlerChain` in apiserver/pkg/server/config.go.
//!
//! 1. panic containment
//! 2. request info
//! 3. authentication
//! 4. impersonation
//! 5. limits on what runs at a time
//! 6. authorization
//! 7. deadline, around what follows
//! 8. resources, paths, discovery
//!
//! Each answer gets its warnings and is counted.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::status::StatusError;
use component_base::http::{RemoteAddr, Request, Response};
use component_base::serving::peer::PeerCertificates;
use futures_util::FutureExt;
use http::header::{HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, StatusCode};

use super::inflight::{TooMany, is_long_running, is_mutating};
use super::{Server, compression, drain, errors, impersonation, metrics, request_info, warnings};
use crate::authentication::Credentials;
use crate::authorization::{Attributes, Decision};
use crate::facts;
use crate::handlers::query::Query;
use crate::handlers::{self, Call, negotiate, respond};
use crate::request::{RequestContext, RequestInfo, User};

/// Characters of a field manager that comes from the user agent.
const MANAGER_LENGTH: usize = 128;

/// Steps 1 and 2, and what is done with every answer.
pub(super) async fn answer(server: Arc<Server>, request: Request) -> Response {
    let started = Instant::now();
    let query = Query::parse(request.uri().query());
    let info = Arc::new(request_info::parse(request.method(), request.uri().path(), &query));
    let format = negotiate::error_format(request.headers());
    let dry_run = query.opt("dryRun") == Some("All");
    let known = server.resources.get(&info.group, &info.version, &info.resource).is_some();

    let gzip = matches!(info.verb, "get" | "list") && compression::accepts_gzip(request.headers());
    let steps = checked(server.clone(), drain::drained(request), info.clone(), query);
    let response = match AssertUnwindSafe(steps).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => respond::error(format, &error),
        Err(_) => {
            tracing::error!(path = info.path, verb = info.verb, "A request panicked");
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, "This request caused apiserver to panic. Look in the logs for details.\n")
        }
    };
    let response = if gzip { compression::compress(response).await } else { response };
    server.metrics.observe(&info, known, dry_run, response.status().as_u16(), started.elapsed());
    response
}

/// Steps 3 to 7.
async fn checked(server: Arc<Server>, request: Request, info: Arc<RequestInfo>, query: Query) -> Result<Response, StatusError> {
    let peer = request.extensions().get::<PeerCertificates>().cloned();
    let user = authenticate(&server, request.headers(), request.uri().path(), peer.as_ref()).await?;
    let user = impersonation::impersonated(&server, &user, request.headers()).await?.unwrap_or(user);

    let place = match server.limits.enter(&info) {
        Ok(place) => place,
        Err(TooMany) => return Ok(too_many()),
    };
    authorize(&server, &user, &info).await?;

    let deprecation = server.resources.get(&info.group, &info.version, &info.resource).and_then(|endpoint| endpoint.facts.deprecation());
    let context = match context(&request, user, info.clone(), &query) {
        Ok(context) => Arc::new(context),
        Err(error) => {
            let mut response = respond::error(negotiate::error_format(request.headers()), &error);
            warnings::add(&mut response, deprecation.map(str::to_owned).into_iter().collect());
            return Ok(response);
        }
    };
    if let Some(deprecation) = deprecation.filter(|_| info.subresource.is_empty()) {
        context.warn(deprecation);
    }
    let long_running = is_long_running(&info);
    // The names are known once the request was let in; whoever is let in may not invent labels.
    let known = server.resources.get(&info.group, &info.version, &info.resource).is_some();
    let running = known.then(|| server.metrics.running(&info, long_running, is_mutating(&info)));
    let timeout = deadline(&server, &query)?;
    let format = negotiate::error_format(request.headers());
    let served = dispatch(server, request, context.clone(), query);
    let outcome = if long_running {
        served.await
    } else {
        match tokio::time::timeout(timeout, served).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StatusError::timeout("request did not complete within the allotted timeout", 0)),
        }
    };
    drop(place);
    let mut response = outcome.unwrap_or_else(|error| respond::error(format, &error));
    warnings::add(&mut response, context.take_warnings());
    Ok(match running {
        Some(running) if long_running => metrics::while_read(response, running),
        _ => response,
    })
}

async fn authenticate(server: &Server, headers: &HeaderMap, path: &str, peer: Option<&PeerCertificates>) -> Result<Arc<User>, StatusError> {
    let credentials = Credentials { headers, path, peer };
    match server.authenticator.authenticate(&credentials).await {
        Ok(Some(found)) => Ok(found.user),
        Ok(None) => Err(errors::unauthorized()),
        Err(why) => {
            tracing::info!(err = why, "Unable to authenticate the request");
            Err(errors::unauthorized())
        }
    }
}

async fn authorize(server: &Server, user: &User, info: &RequestInfo) -> Result<(), StatusError> {
    let attributes = Attributes {
        user,
        verb: info.verb,
        is_resource: info.is_resource,
        group: &info.group,
        version: &info.version,
        namespace: &info.namespace,
        resource: &info.resource,
        subresource: &info.subresource,
        name: &info.name,
        path: &info.path,
        field_selector: &info.field_selector,
        label_selector: &info.label_selector,
    };
    match server.authorizer.authorize(&attributes).await {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(errors::forbidden(&attributes, &why)),
    }
}

fn too_many() -> Response {
    let mut response = respond::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn deadline(server: &Server, query: &Query) -> Result<Duration, StatusError> {
    let limit = server.config.request_timeout;
    match query.opt("timeout") {
        None | Some("") => Ok(limit),
        Some(text) => match text.parse::<apimachinery::Duration>() {
            Ok(asked) if asked.0 > 0 => Ok(asked.to_std().min(limit)),
            Ok(_) => Ok(limit),
            Err(error) => Err(StatusError::bad_request(format!("invalid timeout specified in the request URL - {error}"))),
        },
    }
}

fn context(request: &Request, user: Arc<User>, info: Arc<RequestInfo>, query: &Query) -> Result<RequestContext, StatusError> {
    let mut context = RequestContext::new(user, info.clone());
    context.user_agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    context.client_address = request.extensions().get::<RemoteAddr>().map(|RemoteAddr(address)| address.ip()).map(plain_address);
    let options = match info.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        "delete" | "deletecollection" => "DeleteOptions",
        _ => return Ok(context),
    };
    context.dry_run = query.dry_run(options)?;
    context.field_manager = match query.get("fieldManager") {
        "" => {
            let manager = context.user_agent.split('/').next().unwrap_or_default();
            let manager: String = manager.chars().take(MANAGER_LENGTH).collect();
            if manager.is_empty() { "unknown".to_owned() } else { manager }
        }
        manager => manager.to_owned(),
    };
    check_manager(&context.field_manager, options)?;
    Ok(context)
}

fn check_manager(manager: &str, options: &str) -> Result<(), StatusError> {
    use apimachinery::validation::field::{Error, Path};
    let path = Path::new("fieldManager");
    let mut errors = Vec::new();
    if manager.len() > MANAGER_LENGTH {
        errors.push(Error::too_long(&path, MANAGER_LENGTH));
    }
    if let Some(bad) = manager.chars().find(|character| character.is_control()) {
        errors.push(Error::invalid(&path, manager, format!("should only contain printable characters (found {:?})", bad)));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(StatusError::invalid(&apimachinery::gvk::GroupKind::new("meta.k8s.io", options), "", &errors)),
    }
}

fn plain_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Step 8.
async fn dispatch(server: Arc<Server>, request: Request, context: Arc<RequestContext>, query: Query) -> Result<Response, StatusError> {
    let info = &context.info;
    if !info.is_resource {
        if let Some(response) = server.paths.iter().find_map(|answer| answer(&request)) {
            return Ok(response);
        }
        if info.path == "/version" && request.method() != http::Method::GET {
            return Err(handlers::method_not_allowed());
        }
        if let Some(answer) = server.openapi.answer(&request, &server.resources) {
            return answer;
        }
        return server.discovery.answer(&request, &server.resources);
    }
    let Some(endpoint) = server.resources.get(&info.group, &info.version, &info.resource) else {
        return Err(unserved(info));
    };
    // A cluster-scoped resource has no place in a namespace, and a namespaced object none outside of one.
    let in_namespace = !info.namespace.is_empty() && info.resource != "namespaces";
    if in_namespace && !endpoint.facts.namespaced {
        return Err(handlers::no_such_resource());
    }
    if endpoint.facts.namespaced && !in_namespace && !(info.name.is_empty() || matches!(info.verb, "list" | "watch")) {
        return Err(handlers::no_such_resource());
    }
    if endpoint.facts.namespaced && !in_namespace && matches!(info.verb, "create" | "deletecollection") {
        return Err(handlers::method_not_allowed());
    }
    if request.method() == http::Method::HEAD || info.verb.is_empty() {
        return Err(handlers::method_not_allowed());
    }
    let call = Call {
        server: server.clone(),
        kind: endpoint.kind.clone(),
        facts: endpoint.facts,
        version: endpoint.version,
        headers: request.headers().clone(),
        context: context.clone(),
        query,
    };
    handlers::serve(call, request).await
}

/// A resource nobody serves: one that this build lacks is named, all others do not exist.
fn unserved(info: &RequestInfo) -> StatusError {
    match facts::resource(&info.group, &info.version, &info.resource) {
        Some(facts) if facts.enabled => handlers::not_served(facts.resource, facts),
        _ => handlers::no_such_resource(),
    }
}
