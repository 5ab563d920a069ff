//! `kubectl scale`, through the scale subresource. Upstream: `kubectl/pkg/cmd/scale`.

use client::{Patch, PatchParams};

use super::create::object_of;
use crate::context::{Context, Outcome, refuse};
use crate::failure::Failure;
use crate::print::{DryRun, Printer};
use crate::resources::Ask;

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize", "timeout"])?;
    if !line.changed("replicas") {
        return Err(Failure::text("required flag(s) \"replicas\" not set"));
    }
    let replicas = line.int("replicas");
    if replicas < 0 {
        return Err(Failure::usage("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0"));
    }
    let printer = Printer::of(ctx)?;
    let ask = Ask::of(ctx);
    let (targets, mut failures) = ask.current(ctx).await?;
    if targets.is_empty() && failures.is_empty() {
        return Err(Failure::text("no objects passed to scale"));
    }
    for target in targets {
        if target.resource.subresource("scale").is_none() {
            failures.push(Failure::text(format!(
                "{} {:?}: the server could not find the requested resource: it has no scale",
                target.resource.resource, target.name
            )));
            continue;
        }
        let api = target.api(ctx)?;
        if line.changed("current-replicas") || line.changed("resource-version") {
            let scale = api.get(&target.name, "scale").await?;
            let current = scale.at(&["spec", "replicas"]).and_then(apimachinery::Value::as_i64).unwrap_or(0);
            let wanted = line.int("current-replicas");
            if line.changed("current-replicas") && wanted >= 0 && current != wanted {
                failures.push(Failure::text(format!("Expected replicas to be {wanted}, was {current}")));
                continue;
            }
            let version = scale.str_at(&["metadata", "resourceVersion"]).unwrap_or_default();
            if line.changed("resource-version") && version != line.text("resource-version") {
                failures.push(Failure::text(format!("Expected resource version to be {}, was {version}", line.text("resource-version"))));
                continue;
            }
        }
        if printer.dry_run == DryRun::Client {
            printer.done(target.value(), "scaled")?;
            continue;
        }
        let patch = Patch::Merge(object_of([("spec", object_of([("replicas", replicas.into())]))]));
        let params = PatchParams { dry_run: printer.dry_run == DryRun::Server, ..PatchParams::default() };
        match api.patch(&target.name, "scale", &patch, &params).await {
            // What is told is about the object, not its scale.
            Ok(_) => printer.done(target.value(), "scaled")?,
            Err(error) => failures.push(error.into()),
        }
    }
    Failure::all(failures)
}
