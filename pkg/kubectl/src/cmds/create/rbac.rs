//! `create role|clusterrole|rolebinding|clusterrolebinding|token`.

use apimachinery::Value;

use super::{create_one, name_arg, object_of, skeleton};
use crate::context::{Context, Outcome, outln, refuse};
use crate::failure::Failure;
use crate::print::Format;

const API: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

pub async fn role(ctx: &Context) -> Outcome {
    let mut object = skeleton(API, "Role", &name_arg(ctx)?);
    object.set_at(&["rules"], Value::Array(rules(ctx).await?));
    create_one(ctx, object).await
}

pub async fn cluster_role(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let mut object = skeleton(API, "ClusterRole", &name_arg(ctx)?);
    if let Some(text) = line.text_opt("aggregation-rule") {
        let mut selector = Value::object();
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| Failure::text(format!("{pair} must be formatted as key=value")))?;
            selector.set_at(&["matchLabels", key], value);
        }
        object.set_at(&["aggregationRule", "clusterRoleSelectors"], vec![selector]);
        object.set_at(&["rules"], Value::Array(Vec::new()));
        return create_one(ctx, object).await;
    }
    let mut all = Vec::new();
    let urls = line.strings("non-resource-url");
    if urls.is_empty() || line.changed("resource") {
        all.extend(rules(ctx).await?);
    }
    if !urls.is_empty() {
        all.push(object_of([("nonResourceURLs", urls.into()), ("verbs", verbs(ctx)?.into())]));
    }
    object.set_at(&["rules"], Value::Array(all));
    create_one(ctx, object).await
}

fn verbs(ctx: &Context) -> Result<Vec<String>, Failure> {
    let mut verbs = Vec::new();
    for verb in ctx.line.strings("verb") {
        if verb == "*" {
            return Ok(vec![verb]);
        }
        if !verbs.contains(&verb) {
            verbs.push(verb);
        }
    }
    if verbs.is_empty() { Err(Failure::text("at least one verb must be specified")) } else { Ok(verbs) }
}

/// One rule per API group, as upstream.
async fn rules(ctx: &Context) -> Result<Vec<Value>, Failure> {
    let line = &ctx.line;
    let verbs = verbs(ctx)?;
    let words = line.strings("resource");
    if words.is_empty() {
        return Err(Failure::text("at least one resource must be specified"));
    }
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for word in words {
        let (name, subresource) = word.split_once('/').map_or((word.as_str(), String::new()), |(name, sub)| (name, format!("/{sub}")));
        let (group, resource) = if name == "*" {
            (String::new(), name.to_string())
        } else {
            let resource = ctx.resource(name).await?;
            (resource.group, resource.resource)
        };
        let resource = format!("{resource}{subresource}");
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, list)) if list.contains(&resource) => {}
            Some((_, list)) => list.push(resource),
            None => groups.push((group, vec![resource])),
        }
    }
    let names = line.strings("resource-name");
    let rule = |(group, resources): (String, Vec<String>)| {
        let mut rule = object_of([("apiGroups", vec![group].into()), ("resources", resources.into()), ("verbs", verbs.clone().into())]);
        if !names.is_empty() {
            rule.set_at(&["resourceNames"], names.clone());
        }
        rule
    };
    Ok(groups.into_iter().map(rule).collect())
}

pub async fn role_binding(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let (kind, name) = match (line.text_opt("role"), line.text_opt("clusterrole")) {
        (Some(role), None) => ("Role", role),
        (None, Some(role)) => ("ClusterRole", role),
        _ => return Err(Failure::text("exactly one of clusterrole or role must be specified")),
    };
    binding(ctx, "RoleBinding", kind, name).await
}

pub async fn cluster_role_binding(ctx: &Context) -> Outcome {
    super::required(ctx, &["clusterrole"])?;
    binding(ctx, "ClusterRoleBinding", "ClusterRole", ctx.line.text("clusterrole")).await
}

async fn binding(ctx: &Context, kind: &str, role_kind: &str, role: &str) -> Outcome {
    let line = &ctx.line;
    let mut object = skeleton(API, kind, &name_arg(ctx)?);
    object.set_at(&["roleRef"], object_of([("apiGroup", GROUP.into()), ("kind", role_kind.into()), ("name", role.into())]));
    let mut subjects = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        for name in line.array(flag) {
            subjects.push(object_of([("apiGroup", GROUP.into()), ("kind", kind.into()), ("name", name.into())]));
        }
    }
    for account in line.strings("serviceaccount") {
        let (namespace, name) = account
            .split_once(':')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
            .ok_or_else(|| Failure::text("serviceaccount must be <namespace>:<name>"))?;
        subjects.push(object_of([("kind", "ServiceAccount".into()), ("name", name.into()), ("namespace", namespace.into())]));
    }
    if !subjects.is_empty() {
        object.set_at(&["subjects"], Value::Array(subjects));
    }
    create_one(ctx, object).await
}

pub async fn token(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["bound-object-kind", "bound-object-name", "bound-object-uid"])?;
    let name = name_arg(ctx)?;
    let mut request = Value::object();
    request.set_at(&["apiVersion"], "authentication.k8s.io/v1");
    request.set_at(&["kind"], "TokenRequest");
    request.set_at(&["spec"], Value::object());
    let audiences = line.strings("audience");
    if !audiences.is_empty() {
        request.set_at(&["spec", "audiences"], audiences);
    }
    if let Some(duration) = line.duration("duration").filter(|duration| !duration.is_zero()) {
        request.set_at(&["spec", "expirationSeconds"], duration.as_secs() as i64);
    }
    let resource = ctx.resource("serviceaccounts").await?;
    let api = ctx.api(&resource, &ctx.namespace()?.0)?;
    let answer = api.create_subresource(&name, "token", &request, &client::WriteParams::default()).await;
    let answer = answer.map_err(|error| Failure::from(error).during("failed to create token"))?;
    match Format::of(line)? {
        Format::Human => outln(answer.str_at(&["status", "token"]).unwrap_or_default()),
        format => crate::context::out(&crate::print::document(&format, &answer, false)?),
    }
    Ok(())
}
