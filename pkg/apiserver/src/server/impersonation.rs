//! Acting as somebody else. Upstream: apiserver/pkg/endpoints/filters/impersonation.

use std::sync::Arc;

use apimachinery::status::StatusError;
use http::HeaderMap;

use super::Server;
use super::errors::forbidden;
use crate::authorization::{Attributes, Decision};
use crate::handlers::query::unescape;
use crate::request::User;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user that the headers name instead, if `user` may do that; `None` if they name nobody.
pub(super) async fn impersonated(server: &Server, user: &User, headers: &HeaderMap) -> Result<Option<Arc<User>>, StatusError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let name = text(USER);
    let uid = text(UID);
    let mut groups: Vec<String> = headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let mut extra: Vec<(String, Vec<String>)> = Vec::new();
    for (header, value) in headers {
        if let (Some(key), Ok(value)) = (header.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = unescape(key).to_lowercase();
            match extra.iter_mut().find(|(found, _)| *found == key) {
                Some((_, values)) => values.push(value.to_owned()),
                None => extra.push((key, vec![value.to_owned()])),
            }
        }
    }
    if name.is_empty() {
        if !groups.is_empty() || !uid.is_empty() || !extra.is_empty() {
            let message = "requested without impersonating a user name";
            return Err(StatusError::internal(format!("requested [{}] {message}", groups.join(" "))));
        }
        return Ok(None);
    }

    let service_account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match service_account {
        Some((namespace, account)) => {
            check(server, user, ("", "serviceaccounts", "", namespace, account)).await?;
        }
        None => check(server, user, ("", "users", "", "", &name)).await?,
    }
    for group in &groups {
        check(server, user, ("", "groups", "", "", group)).await?;
    }
    if !uid.is_empty() {
        check(server, user, ("authentication.k8s.io", "uids", "", "", &uid)).await?;
    }
    for (key, values) in &extra {
        for value in values {
            check(server, user, ("authentication.k8s.io", "userextras", key, "", value)).await?;
        }
    }

    if let Some((namespace, _)) = service_account
        && groups.is_empty()
    {
        groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let base = if name == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|group| group == "system:authenticated" || group == "system:unauthenticated") {
        groups.push(base.to_owned());
    }
    extra.sort();
    Ok(Some(Arc::new(User { name, uid, groups, extra })))
}

async fn check(
    server: &Server,
    user: &User,
    (group, resource, subresource, namespace, name): (&str, &str, &str, &str, &str),
) -> Result<(), StatusError> {
    let attributes = Attributes {
        user,
        verb: "impersonate",
        is_resource: true,
        group,
        version: "v1",
        namespace,
        resource,
        subresource,
        name,
        path: "",
        field_selector: "",
        label_selector: "",
    };
    match server.authorizer.authorize(&attributes).await {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(forbidden(&attributes, &why)),
    }
}
