//! `kubectl replace`. Upstream: `kubectl/pkg/cmd/replace`.

use std::time::Duration;

use client::{Request, WriteParams};
use tokio::time::Instant;

use super::apply::with_last_applied;
use super::{delete, validation};
use crate::context::{Context, Outcome, out, refuse};
use crate::failure::Failure;
use crate::print::{DryRun, Printer};
use crate::resources::{Ask, Target, from_files, read_documents};

/// How long `--force` waits for the old object to go, unless told otherwise.
const GONE_WITHIN: Duration = Duration::from_secs(5 * 60);

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize"])?;
    let ask = Ask::of(ctx);
    if !ask.args.is_empty() {
        return Err(Failure::usage(format!("unexpected args: [{}]", ask.args.join(" "))));
    }
    if ask.files.is_empty() {
        return Err(Failure::usage("must specify --filename to replace"));
    }
    let force = line.bool("force");
    if line.int("grace-period") >= 0 && !force {
        return Err(Failure::text("--grace-period must have --force specified"));
    }
    if line.duration("timeout").is_some_and(|limit| !limit.is_zero()) && !force {
        return Err(Failure::text("--timeout must have --force specified"));
    }
    if !force {
        refuse(line, &["wait", "cascade"])?;
    }
    if let Some(path) = line.text_opt("raw") {
        let documents = read_documents(&ask.files, false)?;
        let [document] = documents.as_slice() else { return Err(Failure::text("--raw can only use a single local file or stdin")) };
        let request = Request::new(http::Method::PUT, path).body("application/json", document.value.to_vec());
        out(&String::from_utf8_lossy(&ctx.client()?.fetch(request).await?));
        return Ok(());
    }
    let printer = Printer::of(ctx)?;
    if force && printer.dry_run != DryRun::None {
        return Err(Failure::text("--dry-run can not be used when --force is set"));
    }
    if force && line.changed("subresource") {
        return Err(Failure::text("--subresource can not be used when --force is set"));
    }
    let targets = from_files(ctx, &ask.files, ask.recursive).await?;
    if targets.is_empty() {
        return Err(Failure::text("no objects passed to replace"));
    }
    let mut failures = Vec::new();
    for target in &targets {
        let replaced = if force { anew(ctx, target, &printer).await } else { in_place(ctx, target, &printer).await };
        failures.extend(replaced.err().map(|failure| failure.during(format!("error when replacing {:?}", target.source))));
    }
    Failure::all(failures)
}

fn write_params(ctx: &Context, dry_run: DryRun) -> Result<WriteParams, Failure> {
    Ok(WriteParams {
        dry_run: dry_run == DryRun::Server,
        field_manager: ctx.line.text("field-manager").to_string(),
        field_validation: validation(&ctx.line)?,
    })
}

/// Puts the new state over the old one. Without a resource version of its own it replaces whatever is there.
async fn in_place(ctx: &Context, target: &Target, printer: &Printer) -> Outcome {
    let mut object = if ctx.line.bool("save-config") { with_last_applied(target.value()) } else { target.value().clone() };
    if printer.dry_run == DryRun::Client {
        return printer.done(&object, "replaced");
    }
    let (api, subresource) = (target.api(ctx)?, ctx.line.text("subresource"));
    if object.str_at(&["metadata", "resourceVersion"]).unwrap_or_default().is_empty() {
        let current = api.get(&target.name, subresource).await?;
        object.set_at(&["metadata", "resourceVersion"], current.str_at(&["metadata", "resourceVersion"]));
    }
    let replaced = api.update(&target.name, subresource, &object, &write_params(ctx, printer.dry_run)?).await?;
    printer.done(&replaced, "replaced")
}

/// Deletes the old object, waits until it is gone, and creates the new one.
async fn anew(ctx: &Context, target: &Target, printer: &Printer) -> Outcome {
    let mut object = if ctx.line.bool("save-config") { with_last_applied(target.value()) } else { target.value().clone() };
    let api = target.api(ctx)?;
    match api.get(&target.name, "").await {
        Ok(old) => {
            let params = delete::delete_params(&ctx.line, DryRun::None)?;
            match api.delete(&target.name, &params).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
            if printer.in_words() {
                delete::tell_deleted(target, "deleted", DryRun::None);
            }
            let limit = ctx.line.duration("timeout").filter(|limit| !limit.is_zero()).unwrap_or(GONE_WITHIN);
            let uid = old.str_at(&["metadata", "uid"]).unwrap_or_default();
            delete::until_gone(ctx, target, uid, Some(Instant::now() + limit)).await?;
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    object.remove_at(&["metadata", "resourceVersion"]);
    let created = api.create(&object, &write_params(ctx, printer.dry_run)?).await?;
    printer.done(&created, "replaced")
}
