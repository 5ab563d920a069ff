//! `kubectl auth can-i` and `auth whoami`. Upstream: `kubectl/pkg/cmd/auth`.

use apimachinery::Value;
use apimachinery::gvk::GroupVersionResource;
use client::{DynamicApi, WriteParams};

use super::create::object_of;
use crate::context::{Context, Outcome, out, outln, warn};
use crate::failure::Failure;
use crate::print::tab::Columns;
use crate::print::{self, Format, plain};

async fn review(ctx: &Context, group: &str, resource: &str, kind: &str, spec: Value) -> Result<Value, Failure> {
    let mut body = object_of([("apiVersion", format!("{group}/v1").into()), ("kind", kind.into())]);
    body.set_at(&["spec"], spec);
    let api = DynamicApi::new(ctx.client()?, GroupVersionResource::new(group, "v1", resource), "");
    Ok(api.create(&body, &WriteParams::default()).await?)
}

pub async fn can_i(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    if line.bool("list") {
        return list(ctx).await;
    }
    let (verb, what, name) = match line.args.as_slice() {
        [verb, what] => (verb, what.as_str(), ""),
        [verb, what, name] => (verb, what.as_str(), name.as_str()),
        _ => {
            return Err(Failure::usage(
                "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
            ));
        }
    };
    let spec = if what.starts_with('/') {
        object_of([("nonResourceAttributes", object_of([("path", what.into()), ("verb", verb.clone().into())]))])
    } else {
        let (word, name) = what.split_once('/').unwrap_or((what, name));
        let mut attributes = object_of([("verb", verb.clone().into())]);
        let (mut group, mut resource) = (String::new(), word.to_string());
        let mut namespaced = true;
        if word != "*" {
            match ctx.resource(word).await {
                Ok(found) => (group, resource, namespaced) = (found.group, found.resource, found.namespaced),
                Err(_) => {
                    warn(&format!("the server doesn't have a resource type '{word}'\n"));
                    if let Some((name, rest)) = word.split_once('.') {
                        (resource, group) = (name.to_string(), rest.to_string());
                    }
                }
            }
        }
        if !namespaced && !line.bool("all-namespaces") {
            warn(&format!(
                "resource '{resource}' is not namespace scoped{}\n",
                if group.is_empty() { String::new() } else { format!(" in group '{group}'") }
            ));
        }
        attributes.set_at(&["group"], group);
        attributes.set_at(&["resource"], resource);
        if !line.bool("all-namespaces") {
            attributes.set_at(&["namespace"], ctx.namespace()?.0);
        }
        if !name.is_empty() {
            attributes.set_at(&["name"], name);
        }
        if let Some(subresource) = line.text_opt("subresource") {
            attributes.set_at(&["subresource"], subresource);
        }
        object_of([("resourceAttributes", attributes)])
    };
    let answer = review(ctx, "authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", spec).await?;
    let allowed = answer.at(&["status", "allowed"]).and_then(Value::as_bool).unwrap_or(false);
    if !line.bool("quiet") {
        let mut words = if allowed { "yes".to_string() } else { "no".to_string() };
        if let Some(reason) = answer.str_at(&["status", "reason"]).filter(|reason| !allowed && !reason.is_empty()) {
            words.push_str(&format!(" - {reason}"));
        }
        if let Some(problem) = answer.str_at(&["status", "evaluationError"]).filter(|problem| !problem.is_empty()) {
            words.push_str(&format!(" - {problem}"));
        }
        outln(&words);
    }
    if allowed { Ok(()) } else { Err(Failure::Exit(1)) }
}

async fn list(ctx: &Context) -> Outcome {
    let spec = object_of([("namespace", ctx.namespace()?.0.into())]);
    let answer = review(ctx, "authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", spec).await?;
    let mut rows = Vec::new();
    if !ctx.line.bool("no-headers") {
        rows.push(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"].map(str::to_string).to_vec());
    }
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        rule.get(key).and_then(Value::as_array).unwrap_or_default().iter().map(plain::go).collect()
    };
    let brackets = |list: Vec<String>| format!("[{}]", list.join(" "));
    for rule in answer.at(&["status", "resourceRules"]).and_then(Value::as_array).unwrap_or_default() {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let name = if group.is_empty() { resource } else { format!("{resource}.{group}") };
                rows.push(vec![name, "[]".into(), brackets(texts(rule, "resourceNames")), brackets(texts(rule, "verbs"))]);
            }
        }
    }
    for rule in answer.at(&["status", "nonResourceRules"]).and_then(Value::as_array).unwrap_or_default() {
        rows.push(vec![String::new(), brackets(texts(rule, "nonResourceURLs")), "[]".into(), brackets(texts(rule, "verbs"))]);
    }
    out(&Columns::default().rows(&rows));
    Ok(())
}

pub async fn whoami(ctx: &Context) -> Outcome {
    let answer = review(ctx, "authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", Value::object()).await?;
    match Format::of(&ctx.line)? {
        Format::Human => {}
        format => {
            out(&print::document(&format, &answer, false)?);
            return Ok(());
        }
    }
    let user = answer.at(&["status", "userInfo"]).cloned().unwrap_or_default();
    let mut rows = vec![vec!["ATTRIBUTE".to_string(), "VALUE".to_string()]];
    for (title, field) in [("Username", "username"), ("UID", "uid")] {
        if let Some(text) = user.str_at(&[field]).filter(|text| !text.is_empty()) {
            rows.push(vec![title.into(), text.into()]);
        }
    }
    if let Some(groups) = user.get("groups").filter(|groups| groups.as_array().is_some_and(|groups| !groups.is_empty())) {
        rows.push(vec!["Groups".into(), plain::go(groups)]);
    }
    for (key, value) in user.get("extra").and_then(Value::as_object).map(|extra| extra.sorted()).unwrap_or_default() {
        rows.push(vec![format!("Extra: {key}"), plain::go(value)]);
    }
    out(&Columns::default().rows(&rows));
    Ok(())
}
