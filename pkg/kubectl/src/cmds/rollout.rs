//! `kubectl rollout`: status, history, undo, restart, pause, resume. Upstream: `kubectl/pkg/cmd/rollout`, `polymorphichelpers`.

use std::time::Duration;

use apimachinery::Value;
use client::{ApiResource, ListParams, Patch, PatchParams};

use super::create::object_of;
use super::mutate::each;
use crate::context::{Context, Outcome, out, outln, refuse};
use crate::failure::Failure;
use crate::print::tab::align;
use crate::print::{DryRun, Printer};
use crate::resources::{Ask, Target, list_all};

const REVISION: &str = "deployment.kubernetes.io/revision";
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const POLL: Duration = Duration::from_millis(200);

fn ask(ctx: &Context) -> Result<Ask, Failure> {
    refuse(&ctx.line, &["kustomize"])?;
    let ask = Ask { types_mean_all: true, ..Ask::of(ctx) };
    if ask.args.is_empty() && ask.files.is_empty() {
        return Err(Failure::usage("required resource not specified"));
    }
    Ok(ask)
}

pub async fn status(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let ask = ask(ctx)?;
    let (targets, mut failures) = ask.current(ctx).await?;
    let limit = line.duration("timeout").filter(|limit| !limit.is_zero());
    let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
    for target in targets {
        if let Err(failure) = follow(ctx, &target, deadline).await {
            failures.push(failure);
        }
    }
    Failure::all(failures)
}

async fn follow(ctx: &Context, target: &Target, deadline: Option<tokio::time::Instant>) -> Outcome {
    let line = &ctx.line;
    let api = target.api(ctx)?;
    let mut said = String::new();
    loop {
        let object = api.get(&target.name, "").await?;
        let (text, done) = progress(&object, line.int("revision"))?;
        if text != said {
            out(&text);
            said = text;
        }
        if done || !line.bool("watch") {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
            return Err(Failure::text("timed out waiting for the condition"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How far a rollout is, in upstream's words, and whether it is done.
pub fn progress(object: &Value, revision: i64) -> Result<(String, bool), Failure> {
    let number = |path: &[&str]| object.at(path).and_then(Value::as_i64).unwrap_or(0);
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    let seen = number(&["metadata", "generation"]) <= number(&["status", "observedGeneration"]);
    let wanted = object.at(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(1);
    let updated = number(&["status", "updatedReplicas"]);
    match object.str_at(&["kind"]).unwrap_or_default() {
        "Deployment" => {
            if revision > 0 {
                let current = object.str_at(&["metadata", "annotations", REVISION]).unwrap_or_default();
                if current != revision.to_string() {
                    return Err(Failure::text(format!("desired revision ({revision}) is different from the running revision ({current})")));
                }
            }
            if !seen {
                return Ok(("Waiting for deployment spec update to be observed...\n".into(), false));
            }
            let conditions = object.at(&["status", "conditions"]).and_then(Value::as_array).unwrap_or_default();
            if conditions
                .iter()
                .any(|c| c.str_at(&["type"]) == Some("Progressing") && c.str_at(&["reason"]) == Some("ProgressDeadlineExceeded"))
            {
                return Err(Failure::text(format!("deployment {name:?} exceeded its progress deadline")));
            }
            let (all, available) = (number(&["status", "replicas"]), number(&["status", "availableReplicas"]));
            Ok(if updated < wanted {
                (
                    format!(
                        "Waiting for deployment {name:?} rollout to finish: {updated} out of {wanted} new replicas have been updated...\n"
                    ),
                    false,
                )
            } else if all > updated {
                (
                    format!(
                        "Waiting for deployment {name:?} rollout to finish: {} old replicas are pending termination...\n",
                        all - updated
                    ),
                    false,
                )
            } else if available < updated {
                (
                    format!(
                        "Waiting for deployment {name:?} rollout to finish: {available} of {updated} updated replicas are available...\n"
                    ),
                    false,
                )
            } else {
                (format!("deployment {name:?} successfully rolled out\n"), true)
            })
        }
        "DaemonSet" => {
            if object.str_at(&["spec", "updateStrategy", "type"]) == Some("OnDelete") {
                return Err(Failure::text("rollout status is only available for RollingUpdate strategy type"));
            }
            if !seen {
                return Ok(("Waiting for daemon set spec update to be observed...\n".into(), false));
            }
            let (wanted, updated) = (number(&["status", "desiredNumberScheduled"]), number(&["status", "updatedNumberScheduled"]));
            let available = number(&["status", "numberAvailable"]);
            Ok(if updated < wanted {
                (
                    format!("Waiting for daemon set {name:?} rollout to finish: {updated} out of {wanted} new pods have been updated...\n"),
                    false,
                )
            } else if available < wanted {
                (
                    format!("Waiting for daemon set {name:?} rollout to finish: {available} of {wanted} updated pods are available...\n"),
                    false,
                )
            } else {
                (format!("daemon set {name:?} successfully rolled out\n"), true)
            })
        }
        "StatefulSet" => {
            if object.str_at(&["spec", "updateStrategy", "type"]) == Some("OnDelete") {
                return Err(Failure::text("rollout status is only available for RollingUpdate strategy type"));
            }
            if !seen {
                return Ok(("Waiting for statefulset spec update to be observed...\n".into(), false));
            }
            let ready = number(&["status", "readyReplicas"]);
            if ready < wanted {
                return Ok((format!("Waiting for {} pods to be ready...\n", wanted - ready), false));
            }
            let partition = number(&["spec", "updateStrategy", "rollingUpdate", "partition"]);
            if partition > 0 {
                if updated < wanted - partition {
                    return Ok((
                        format!(
                            "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...\n",
                            wanted - partition
                        ),
                        false,
                    ));
                }
                return Ok((format!("partitioned roll out complete: {updated} new pods have been updated...\n"), true));
            }
            let (update, current) = (
                object.str_at(&["status", "updateRevision"]).unwrap_or_default(),
                object.str_at(&["status", "currentRevision"]).unwrap_or_default(),
            );
            if update != current {
                return Ok((format!("waiting for statefulset rolling update to complete {updated} pods at revision {update}...\n"), false));
            }
            Ok((
                format!("statefulset rolling update complete {} pods at revision {current}...\n", number(&["status", "currentReplicas"])),
                true,
            ))
        }
        kind => Err(Failure::text(format!("no status viewer has been implemented for {kind}"))),
    }
}

pub async fn restart(ctx: &Context) -> Outcome {
    let ask = ask(ctx)?;
    let now = apimachinery::Time::now().to_string();
    each(ctx, &ask, |target, object| {
        let kind = target.resource.kind.as_str();
        if !matches!(kind, "Deployment" | "DaemonSet" | "StatefulSet") {
            return Err(Failure::text(format!("{} {:?} restarting is not supported", target.resource.resource, target.name)));
        }
        if object.at(&["spec", "paused"]).and_then(Value::as_bool) == Some(true) {
            return Err(Failure::text("can't restart paused deployment (run rollout resume first)"));
        }
        object.set_at(&["spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"], now.clone());
        Ok(Some("restarted".into()))
    })
    .await
}

pub async fn pause(ctx: &Context) -> Outcome {
    set_paused(ctx, true).await
}

pub async fn resume(ctx: &Context) -> Outcome {
    set_paused(ctx, false).await
}

async fn set_paused(ctx: &Context, pause: bool) -> Outcome {
    let ask = ask(ctx)?;
    each(ctx, &ask, |target, object| {
        let (verb, word) = if pause { ("pausing", "paused") } else { ("resuming", "resumed") };
        if target.resource.kind != "Deployment" {
            return Err(Failure::text(format!("{} {:?} {verb} is not supported", target.resource.resource, target.name)));
        }
        let paused = object.at(&["spec", "paused"]).and_then(Value::as_bool).unwrap_or(false);
        if paused == pause {
            return Err(Failure::text(format!(
                "{} {:?} is {}",
                target.resource.resource,
                target.name,
                if pause { "already paused" } else { "not paused" }
            )));
        }
        match pause {
            true => object.set_at(&["spec", "paused"], true),
            false => drop(object.remove_at(&["spec", "paused"])),
        }
        Ok(Some(word.into()))
    })
    .await
}

/// A former state: number, cause, pod template, and the name of the object that keeps it.
#[derive(Clone, Debug)]
struct Revision {
    number: i64,
    cause: String,
    template: Value,
    name: String,
}

async fn revisions(ctx: &Context, target: &Target) -> Result<Vec<Revision>, Failure> {
    let kind = target.resource.kind.as_str();
    let keeper: ApiResource = match kind {
        "Deployment" => ctx.resource("replicasets.apps").await?,
        "DaemonSet" | "StatefulSet" => ctx.resource("controllerrevisions.apps").await?,
        _ => return Err(Failure::text(format!("no history viewer has been implemented for {{{:?} {kind:?}}}", target.resource.group))),
    };
    let uid = target.value().str_at(&["metadata", "uid"]).unwrap_or_default().to_string();
    let (found, _) = list_all(&ctx.api(&keeper, &target.namespace)?, ListParams::default(), &keeper).await?;
    let mut revisions = Vec::new();
    for item in found {
        let object = item.value();
        let owners = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array).unwrap_or_default();
        if !owners.iter().any(|owner| owner.str_at(&["uid"]) == Some(&uid)) {
            continue;
        }
        let cause = object.str_at(&["metadata", "annotations", CHANGE_CAUSE]).unwrap_or("<none>").to_string();
        let (number, template) = match kind {
            "Deployment" => (
                object.str_at(&["metadata", "annotations", REVISION]).and_then(|text| text.parse().ok()).unwrap_or(0),
                object.at(&["spec", "template"]).cloned().unwrap_or_default(),
            ),
            _ => (
                object.get("revision").and_then(Value::as_i64).unwrap_or(0),
                object.at(&["data", "spec", "template"]).cloned().unwrap_or_default(),
            ),
        };
        revisions.push(Revision { number, cause, template, name: item.name.clone() });
    }
    revisions.sort_by_key(|revision| revision.number);
    Ok(revisions)
}

pub async fn history(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["output"])?;
    let ask = ask(ctx)?;
    let (targets, mut failures) = ask.current(ctx).await?;
    for target in targets {
        let revisions = match revisions(ctx, &target).await {
            Ok(revisions) => revisions,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let wanted = line.int("revision");
        if wanted > 0 {
            let Some(found) = revisions.iter().find(|revision| revision.number == wanted) else {
                failures.push(Failure::text(format!("unable to find the specified revision")));
                continue;
            };
            outln(&format!("{} with revision #{wanted}", target.full_name()));
            out(&crate::describe::pod_template(&found.template));
            continue;
        }
        let mut text = format!("{} \nREVISION\tCHANGE-CAUSE\n", target.full_name());
        for revision in &revisions {
            text.push_str(&format!("{}\t{}\n", revision.number, revision.cause));
        }
        out(&align(&text, 0, 2));
        outln("");
    }
    Failure::all(failures)
}

pub async fn undo(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let ask = ask(ctx)?;
    let printer = Printer::of(ctx)?;
    let (targets, mut failures) = ask.current(ctx).await?;
    for target in targets {
        let done = undo_one(ctx, &target, line.int("to-revision"), &printer).await;
        failures.extend(done.err());
    }
    Failure::all(failures)
}

async fn undo_one(ctx: &Context, target: &Target, wanted: i64, printer: &Printer) -> Outcome {
    if wanted < 0 {
        return Err(Failure::text(format!("unable to find specified revision {wanted} in history")));
    }
    let object = target.value();
    if object.at(&["spec", "paused"]).and_then(Value::as_bool) == Some(true) {
        return Err(Failure::text(format!(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again"
        )));
    }
    let revisions = revisions(ctx, target).await?;
    let found = match wanted {
        0 if revisions.len() < 2 => {
            return Err(Failure::text(format!("no rollout history found for {} {:?}", target.resource.kind.to_lowercase(), target.name)));
        }
        0 => &revisions[revisions.len() - 2],
        _ => revisions
            .iter()
            .find(|revision| revision.number == wanted)
            .ok_or_else(|| Failure::text(format!("unable to find specified revision {wanted} in history")))?,
    };
    let mut template = found.template.clone();
    template.remove_at(&["metadata", "labels", "pod-template-hash"]);
    template.remove_at(&["$patch"]);
    let current = object.at(&["spec", "template"]).cloned().unwrap_or_default();
    if template == current {
        return printer.said(
            object,
            &format!("{} skipped rollback (current template already matches revision {})", target.full_name(), found.number),
        );
    }
    if printer.dry_run == DryRun::Client {
        return printer.done(object, "rolled back");
    }
    // The template as a whole, and the cause that goes with it.
    let mut operations = vec![object_of([("op", "replace".into()), ("path", "/spec/template".into()), ("value", template)])];
    if target.resource.kind == "Deployment" {
        let mut annotations =
            object.at(&["metadata", "annotations"]).cloned().filter(|old| old.as_object().is_some()).unwrap_or_else(Value::object);
        match found.cause.as_str() {
            "<none>" => drop(annotations.remove_at(&[CHANGE_CAUSE])),
            cause => annotations.set_at(&[CHANGE_CAUSE], cause),
        }
        operations.push(object_of([("op", "add".into()), ("path", "/metadata/annotations".into()), ("value", annotations)]));
    }
    let _ = &found.name;
    let params = PatchParams { dry_run: printer.dry_run == DryRun::Server, ..PatchParams::default() };
    let after = target.api(ctx)?.patch(&target.name, "", &Patch::Json(Value::Array(operations)), &params).await?;
    printer.done(&after, "rolled back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(object: &str, expected: &str) {
        let told = match progress(&Value::parse(object.as_bytes()).unwrap(), 0) {
            Ok((text, done)) => format!("{}{text}", if done { "done: " } else { "" }),
            Err(failure) => failure.report("rollout status").0,
        };
        assert_eq!(told.trim_end(), expected);
    }

    #[test]
    fn progress_is_told_in_upstreams_words() {
        check(
            r#"{"kind":"Deployment","metadata":{"name":"w","generation":2},"status":{"observedGeneration":1}}"#,
            "Waiting for deployment spec update to be observed...",
        );
        check(
            r#"{"kind":"Deployment","metadata":{"name":"w"},"spec":{"replicas":3},"status":{"updatedReplicas":1}}"#,
            "Waiting for deployment \"w\" rollout to finish: 1 out of 3 new replicas have been updated...",
        );
        check(
            r#"{"kind":"Deployment","metadata":{"name":"w"},"spec":{"replicas":1},"status":{"replicas":1,"updatedReplicas":1,"availableReplicas":1}}"#,
            "done: deployment \"w\" successfully rolled out",
        );
        check(r#"{"kind":"Pod"}"#, "error: no status viewer has been implemented for Pod");
    }
}
