//! `kubectl create -f`, and the shapes that `create SUBCOMMAND` makes objects in. Upstream: `kubectl/pkg/cmd/create`.

use apimachinery::Value;
use client::{Request, WriteParams};

use super::apply::with_last_applied;
use super::validation;
use crate::context::{Context, Outcome, out, refuse};
use crate::failure::Failure;
use crate::print::{DryRun, Printer};
use crate::resources::{Ask, Target, from_files, read_documents, target_of, text};

mod config;
mod rbac;
mod service;
mod workload;

pub use config::{configmap, secret_docker_registry, secret_generic, secret_tls};
pub use rbac::{cluster_role, cluster_role_binding, role, role_binding, token};
pub use service::{cluster_ip, external_name, ingress, load_balancer, node_port, service_object};
pub use workload::{cron_job, deployment, job, namespace, pdb, priority_class, quota, service_account};

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize", "edit", "windows-line-endings"])?;
    if !line.args.is_empty() {
        return Err(Failure::usage(format!("unknown command {:?}", line.args.join(" "))));
    }
    let ask = Ask::of(ctx);
    if ask.files.is_empty() {
        return Err(Failure::usage("must specify one of -f and -k"));
    }
    if let Some(path) = line.text_opt("raw") {
        let documents = read_documents(&ask.files, false)?;
        let [document] = documents.as_slice() else { return Err(Failure::text("--raw can only use a single local file or stdin")) };
        let request = Request::new(http::Method::POST, path).body("application/json", document.value.to_vec());
        out(&String::from_utf8_lossy(&ctx.client()?.fetch(request).await?));
        return Ok(());
    }
    let printer = Printer::of(ctx)?;
    let mut failures = Vec::new();
    let targets = from_files(ctx, &ask.files, ask.recursive).await?;
    if targets.is_empty() {
        return Err(Failure::text("no objects passed to create"));
    }
    for target in targets {
        if let Some(selector) = &ask.labels {
            let selector = apimachinery::labels::Selector::parse(selector).map_err(|err| Failure::text(err.to_string()))?;
            if !selector.matches(&super::apply::labels_of(target.value())) {
                continue;
            }
        }
        let source = format!("error when creating {:?}", target.source);
        if let Err(failure) = send(ctx, target, &printer).await {
            failures.push(failure.during(source));
        }
    }
    Failure::all(failures)
}

async fn send(ctx: &Context, target: Target, printer: &Printer) -> Outcome {
    let line = &ctx.line;
    let object = if line.bool("save-config") { with_last_applied(target.value()) } else { target.value().clone() };
    if printer.dry_run == DryRun::Client {
        return printer.done(&object, "created");
    }
    let params = WriteParams {
        dry_run: printer.dry_run == DryRun::Server,
        field_manager: line.text("field-manager").to_string(),
        field_validation: validation(line)?,
    };
    let created = target.api(ctx)?.create(&object, &params).await?;
    printer.done(&created, "created")
}

/// Creates an object of the command's own making, in the namespace in force if its kind has namespaces.
pub async fn create_one(ctx: &Context, object: Value) -> Outcome {
    let printer = Printer::of(ctx)?;
    if printer.dry_run == DryRun::Client {
        // Needs no server, as upstream: only a namespace that was asked for shows.
        let mut object = object;
        let (namespace, explicit) = ctx.namespace()?;
        if explicit && is_namespaced(&object) {
            object.set_at(&["metadata", "namespace"], namespace);
        }
        let object = if ctx.line.bool("save-config") { with_last_applied(&object) } else { object };
        return printer.done(&object, "created");
    }
    let what = text(&object["kind"]).trim_matches('"').to_lowercase();
    let target = target_of(ctx, String::new(), object).await?;
    send(ctx, target, &printer).await.map_err(|failure| match failure {
        Failure::Server { error, .. } => Failure::text(format!("failed to create {what}: {}", crate::failure::chain(error.as_ref()))),
        other => other,
    })
}

fn is_namespaced(object: &Value) -> bool {
    !matches!(object.str_at(&["kind"]), Some("Namespace" | "ClusterRole" | "ClusterRoleBinding" | "PriorityClass"))
}

/// `apiVersion`, `kind`, `metadata.name`.
pub fn skeleton(api_version: &str, kind: &str, name: &str) -> Value {
    let mut object = Value::object();
    object.set_at(&["apiVersion"], api_version);
    object.set_at(&["kind"], kind);
    object.set_at(&["metadata", "name"], name);
    object
}

/// The one name that a command wants.
pub fn name_arg(ctx: &Context) -> Result<String, Failure> {
    let (args, dash) = (&ctx.line.args, ctx.line.dash);
    let names = &args[..dash.unwrap_or(args.len())];
    match names {
        [name] if !name.is_empty() => Ok(name.clone()),
        names => Err(Failure::usage(format!("exactly one NAME is required, got {}", names.len()))),
    }
}

/// `{key: value}`.
pub fn object_of<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut object = Value::object();
    for (key, value) in members {
        object.set_at(&[key], value);
    }
    object
}

/// The flag that must be given.
pub fn required<'a>(ctx: &'a Context, names: &[&'a str]) -> Outcome {
    let missing: Vec<String> = names.iter().filter(|name| !ctx.line.changed(name)).map(|name| format!("{name:?}")).collect();
    if missing.is_empty() { Ok(()) } else { Err(Failure::text(format!("required flag(s) {} not set", missing.join(", ")))) }
}
