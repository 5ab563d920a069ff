//! `kubectl patch`. Upstream: `kubectl/pkg/cmd/patch`.

use apimachinery::typed::TypeRef;
use apimachinery::{Value, patch, yaml};
use client::Patch;

use super::mutate::patch_params;
use crate::context::{Context, Outcome, refuse};
use crate::failure::Failure;
use crate::print::{DryRun, Printer};
use crate::resources::Ask;

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize"])?;
    let text = match (line.text_opt("patch"), line.text_opt("patch-file")) {
        (Some(text), None) => text.to_string(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).map_err(|err| Failure::text(format!("unable to read patch file: {path}: {err}")))?
        }
        (Some(_), Some(_)) => return Err(Failure::usage("cannot specify --patch and --patch-file together")),
        (None, None) => return Err(Failure::usage("must specify --patch or --patch-file containing the contents of the patch")),
    };
    let change = yaml::parse(text.as_bytes()).map_err(|err| Failure::text(format!("unable to parse {text:?}: {err}")))?;
    let patch = match line.text("type") {
        "strategic" => Patch::Strategic(change.clone()),
        "merge" => Patch::Merge(change.clone()),
        "json" => Patch::Json(change.clone()),
        other => return Err(Failure::usage(format!("--type must be one of [json merge strategic], not {other:?}"))),
    };
    let subresource = line.text("subresource");
    let printer = Printer::of(ctx)?;
    let ask = Ask::of(ctx);
    let local = line.bool("local") || printer.dry_run == DryRun::Client;
    let (targets, mut failures) = if line.bool("local") { ask.objects(ctx).await? } else { ask.current(ctx).await? };
    for target in targets {
        let before = target.value().clone();
        let after = if local {
            apply_here(&target, &before, &patch)
        } else {
            target.api(ctx)?.patch(&target.name, subresource, &patch, &patch_params(ctx, printer.dry_run)).await.map_err(Failure::from)
        };
        let done = match after {
            Ok(after) => {
                let same = if local {
                    after == before
                } else {
                    after.at(&["metadata", "resourceVersion"]) == before.at(&["metadata", "resourceVersion"])
                        && printer.dry_run == DryRun::None
                };
                printer.done(&after, if same { "patched (no change)" } else { "patched" })
            }
            Err(failure) => Err(failure),
        };
        failures.extend(done.err());
    }
    Failure::all(failures)
}

fn apply_here(target: &crate::resources::Target, before: &Value, change: &Patch) -> Result<Value, Failure> {
    let changed = match change {
        Patch::Strategic(change) => match target.schema() {
            Some(schema) => patch::strategic::apply(before.clone(), change.clone(), TypeRef::of(schema)),
            None => {
                return Err(Failure::text(format!(
                    "strategic merge patch is not supported for {} locally, try --type merge",
                    target.resource.gvk()
                )));
            }
        },
        Patch::Merge(change) => patch::merge::apply(before.clone(), change.clone()),
        Patch::Json(change) | Patch::Apply(change) => patch::json::apply(before.clone(), change),
    };
    changed.map_err(|err| Failure::text(err.to_string()))
}
