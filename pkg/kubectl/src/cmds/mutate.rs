//! What commands that change objects share: from before and after to a patch.

use apimachinery::Value;
use apimachinery::patch::{merge, strategic};
use apimachinery::typed::TypeRef;
use client::{Patch, PatchParams};

use crate::context::{Context, Outcome};
use crate::failure::Failure;
use crate::print::{DryRun, Printer};
use crate::resources::{Ask, Target};

/// The patch from one state to another: by merge keys where the type is known.
pub fn difference(target: &Target, before: &Value, after: &Value) -> Result<Patch, Failure> {
    let failed = |err: apimachinery::patch::PatchError| Failure::text(err.to_string());
    match target.schema() {
        Some(schema) => strategic::create_two_way(before, after, TypeRef::of(schema)).map(Patch::Strategic).map_err(failed),
        None => merge::create(before, after).map(Patch::Merge).map_err(failed),
    }
}

pub fn patch_params(ctx: &Context, dry_run: DryRun) -> PatchParams {
    PatchParams { dry_run: dry_run == DryRun::Server, field_manager: ctx.line.text("field-manager").to_string(), ..PatchParams::default() }
}

/// Sends what differs and gives back the object as it is then; nothing is sent for a client's dry run.
pub async fn send(ctx: &Context, target: &Target, after: &Value, dry_run: DryRun) -> Result<Value, Failure> {
    if dry_run == DryRun::Client || ctx.line.bool("local") {
        return Ok(after.clone());
    }
    let patch = difference(target, target.value(), after)?;
    Ok(target.api(ctx)?.patch(&target.name, "", &patch, &patch_params(ctx, dry_run)).await?)
}

/// Changes each object that is asked for and tells what was done. `change` says in which words, or that nothing is to do.
pub async fn each(ctx: &Context, ask: &Ask, mut change: impl FnMut(&Target, &mut Value) -> Result<Option<String>, Failure>) -> Outcome {
    let printer = Printer::of(ctx)?;
    let (targets, mut failures) = if ctx.line.bool("local") { ask.objects(ctx).await? } else { ask.current(ctx).await? };
    if targets.is_empty() && failures.is_empty() {
        crate::context::errln("No resources found");
    }
    for target in targets {
        let mut after = target.value().clone();
        let done = match change(&target, &mut after) {
            Ok(Some(words)) => match send(ctx, &target, &after, printer.dry_run).await {
                Ok(object) => printer.done(&object, &words),
                Err(failure) => Err(failure),
            },
            Ok(None) if printer.in_words() => Ok(()),
            Ok(None) => printer.show(&after),
            Err(failure) => Err(failure),
        };
        failures.extend(done.err());
    }
    Failure::all(failures)
}

/// Splits words into those that name objects and those that change them: `pods a app=x tier-`.
pub fn split_pairs(args: &[String]) -> (Vec<String>, Vec<String>) {
    let is_pair = |word: &str| word.contains('=') || word.ends_with('-');
    let at = args.iter().position(|word| is_pair(word)).unwrap_or(args.len());
    (args[..at].to_vec(), args[at..].to_vec())
}

/// Where a kind keeps its pod template, if it has one; a Pod is one itself.
pub fn pod_spec_path(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Pod" => Some(&["spec"]),
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => Some(&["spec", "template", "spec"]),
        _ => None,
    }
}
