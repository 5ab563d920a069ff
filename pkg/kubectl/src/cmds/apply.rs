//! `kubectl apply`: the server merges (`--server-side`), or three ways here. Upstream: `kubectl/pkg/cmd/apply`.

use apimachinery::Value;
use apimachinery::patch::{merge, strategic};
use apimachinery::typed::TypeRef;
use client::{Error, Patch, PatchParams, WriteParams};

use super::validation;
use crate::context::{Context, Outcome, errln, refuse, warn};
use crate::failure::Failure;
use crate::print::{DryRun, Printer};
use crate::resources::{Ask, Target, from_files, text};

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How often a patch that met a conflict is made anew, as upstream.
const MAX_PATCH_RETRY: usize = 5;

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize", "prune", "prune-allowlist", "force", "subresource", "all"])?;
    if !line.args.is_empty() {
        return Err(Failure::usage(format!("Unexpected args: [{}]", line.args.join(" "))));
    }
    if !line.changed("filename") {
        return Err(Failure::text("must specify one of -f and -k"));
    }
    let server_side = line.bool("server-side");
    if line.bool("force-conflicts") && !server_side {
        return Err(Failure::text("--force-conflicts only works with --server-side"));
    }
    let printer = Printer::of(ctx)?;
    if printer.dry_run == DryRun::Client && server_side {
        return Err(Failure::text("--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)"));
    }
    let ask = Ask::of(ctx);
    let mut targets = from_files(ctx, &ask.files, ask.recursive).await?;
    if let Some(selector) = &ask.labels {
        let selector = apimachinery::labels::Selector::parse(selector).map_err(|err| Failure::text(err.to_string()))?;
        targets.retain(|target| selector.matches(&labels_of(target.value())));
    }
    if targets.is_empty() {
        return Err(Failure::text("no objects passed to apply"));
    }
    let mut failures = Vec::new();
    for target in &targets {
        if target.name.is_empty() {
            let generated = target.value().str_at(&["metadata", "generateName"]).unwrap_or_default();
            let problem = match generated {
                "" => "resource name may not be empty".to_string(),
                name => format!("from {name}: cannot use generate name with apply"),
            };
            failures.push(Failure::text(problem));
            continue;
        }
        let applied = if server_side { apply_server_side(ctx, target, &printer).await } else { apply_here(ctx, target, &printer).await };
        if let Err(failure) = applied {
            failures.push(failure);
        }
    }
    Failure::all(failures)
}

pub fn labels_of(object: &Value) -> std::collections::BTreeMap<String, String> {
    let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object);
    let pairs = labels.into_iter().flat_map(|labels| labels.iter());
    pairs.map(|(key, value)| (key.to_string(), value.as_str().unwrap_or_default().to_string())).collect()
}

async fn apply_server_side(ctx: &Context, target: &Target, printer: &Printer) -> Outcome {
    let line = &ctx.line;
    let manager = if line.changed("field-manager") { line.text("field-manager") } else { "kubectl" };
    let params = PatchParams {
        dry_run: printer.dry_run == DryRun::Server,
        field_manager: manager.to_string(),
        field_validation: validation(line)?,
        force: line.bool("force-conflicts"),
    };
    let mut object = target.value().clone();
    object.remove_at(&["metadata", "managedFields"]);
    match target.api(ctx)?.patch(&target.name, "", &Patch::Apply(object), &params).await {
        Ok(applied) => printer.done(&applied, "serverside-applied"),
        Err(error) if error.is_conflict() => {
            let message = error.api().map_or_else(|| error.to_string(), |status| status.message.clone());
            Err(Failure::text(format!(
                "{message}\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n* If you intend to manage all of these fields, please re-run the apply\n  command with the `--force-conflicts` flag.\n* If you do not intend to manage all of the fields, please edit your\n  manifest to remove references to the fields that should keep their\n  current managers.\n* You may co-own fields by updating your manifest to match the existing\n  value; in this case, you'll become the manager if the other manager(s)\n  stop managing the field (remove it from their configuration).\nSee https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"
            )))
        }
        Err(error) => Err(Failure::from(error)),
    }
}

/// The object as it was asked for, with a copy of itself in the annotation.
pub fn with_last_applied(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(annotations) = bare.at_mut(&["metadata", "annotations"]).and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    // Upstream's copy always has annotations, be they empty.
    if bare.at(&["metadata", "annotations"]).is_none_or(Value::is_null) {
        bare.set_at(&["metadata", "annotations"], Value::object());
    }
    bare.sort_keys();
    let mut modified = bare.clone();
    modified.set_at(&["metadata", "annotations", LAST_APPLIED], format!("{}\n", text(&bare)));
    modified
}

async fn apply_here(ctx: &Context, target: &Target, printer: &Printer) -> Outcome {
    let line = &ctx.line;
    let api = target.api(ctx)?;
    let modified = with_last_applied(target.value());
    let source = &target.source;
    let mut current = match api.get(&target.name, "").await {
        Ok(current) => current,
        Err(error) if error.is_not_found() => {
            if printer.dry_run == DryRun::Client {
                return printer.done(&modified, "created");
            }
            let params = WriteParams {
                dry_run: printer.dry_run == DryRun::Server,
                field_manager: line.text("field-manager").to_string(),
                field_validation: validation(line)?,
            };
            let created = api.create(&modified, &params).await;
            let created = created.map_err(|error| Failure::from(error).during(format!("error when creating {source:?}")))?;
            return printer.done(&created, "created");
        }
        Err(error) => return Err(Failure::from(error).during(format!("error when retrieving current configuration of {source:?}"))),
    };
    if current.at(&["metadata", "annotations", LAST_APPLIED]).is_none() {
        warn(&format!(
            "resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
            target.resource.resource, target.name
        ));
    }
    let mut tries = 0;
    loop {
        let patch = make_patch(&current, &modified, target, line.bool("overwrite"))?;
        let change = match &patch {
            Patch::Merge(change) | Patch::Strategic(change) => change,
            _ => unreachable!("only merge patches are made above"),
        };
        if change.as_object().is_some_and(|change| change.is_empty()) {
            return printer.done(&current, "unchanged");
        }
        if printer.dry_run == DryRun::Client {
            return printer.done(&current, "configured");
        }
        let params = PatchParams {
            dry_run: printer.dry_run == DryRun::Server,
            field_manager: line.text("field-manager").to_string(),
            field_validation: validation(line)?,
            force: false,
        };
        match api.patch(&target.name, "", &patch, &params).await {
            Ok(patched) => {
                let same = patched.at(&["metadata", "resourceVersion"]) == current.at(&["metadata", "resourceVersion"]);
                return printer.done(&patched, if same { "unchanged" } else { "configured" });
            }
            Err(error) if error.is_conflict() && tries < MAX_PATCH_RETRY => {
                tries += 1;
                current = api.get(&target.name, "").await?;
            }
            Err(error) => return Err(patch_failure(error, change, target)),
        }
    }
}

fn patch_failure(error: Error, change: &Value, target: &Target) -> Failure {
    let source = &target.source;
    errln(&format!(
        "Error from server while applying patch:\n{}\nto:\nResource: {:?}, GroupVersionKind: {:?}\nName: {:?}, Namespace: {:?}",
        text(change),
        target.resource.gvr().to_string(),
        target.resource.gvk().to_string(),
        target.name,
        target.namespace
    ));
    Failure::from(error).during(format!("error when patching {source:?}"))
}

/// What has to change: by the type's merge keys where the type is known, or by RFC 7386.
pub fn make_patch(current: &Value, modified: &Value, target: &Target, overwrite: bool) -> Result<Patch, Failure> {
    let original = match current.str_at(&["metadata", "annotations", LAST_APPLIED]) {
        Some(text) => Value::parse(text.as_bytes()).map_err(|err| Failure::text(format!("retrieving original configuration: {err}")))?,
        None => Value::object(),
    };
    let failed = |err: apimachinery::patch::PatchError| {
        Failure::text(format!(
            "creating patch with:\noriginal:\n{}\nmodified:\n{}\ncurrent:\n{}\nfor: {err}",
            text(&original),
            text(modified),
            text(current)
        ))
    };
    match target.schema() {
        Some(schema) => {
            strategic::create_three_way(&original, modified, current, TypeRef::of(schema), overwrite).map(Patch::Strategic).map_err(failed)
        }
        None => {
            let patch = merge::create_three_way(&original, modified, current).map_err(failed)?;
            for (path, what) in [(&["apiVersion"][..], "apiVersion"), (&["kind"], "kind"), (&["metadata", "name"], "metadata.name")] {
                if patch.at(path).is_some() {
                    return Err(Failure::text(format!("At least one of apiVersion, kind and name was changed ({what})")));
                }
            }
            Ok(Patch::Merge(patch))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::ApiResource;

    fn target(group: &str, kind: &str, object: Value) -> Target {
        let resource = ApiResource { group: group.into(), version: "v1".into(), kind: kind.into(), ..ApiResource::default() };
        Target::of_object(resource, object)
    }

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_applied_is_kept_aside() {
        let modified = with_last_applied(&value(r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"v"}}"#));
        assert_eq!(
            modified.str_at(&["metadata", "annotations", LAST_APPLIED]),
            Some(
                "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"v\"},\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{},\"name\":\"a\"}}\n"
            )
        );
        // Applying what is applied changes nothing.
        assert_eq!(with_last_applied(&modified), modified);
    }

    #[test]
    fn three_ways_make_one_patch() {
        let old = with_last_applied(&value(
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1,"paused":true,
                "template":{"spec":{"containers":[{"name":"c","image":"x:1"},{"name":"d","image":"y"}]}}}}"#,
        ));
        let mut current = old.clone();
        // Somebody else scaled it.
        current.set_at(&["spec", "replicas"], 5i64);
        let new = with_last_applied(&value(
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{
                "template":{"spec":{"containers":[{"name":"c","image":"x:2"}]}}}}"#,
        ));
        let known = target("apps", "Deployment", new.clone());
        let Patch::Strategic(mut patch) = make_patch(&current, &new, &known, true).unwrap() else { panic!("a known kind") };
        patch.remove_at(&["metadata"]);
        patch.sort_keys();
        let expected = r#"{"spec":{"paused":null,"replicas":null,"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"image":"x:2","name":"c"},{"$patch":"delete","name":"d"}]}}}}"#;
        assert_eq!(text(&patch), expected);

        let custom = target("example.com", "Thing", new.clone());
        let Patch::Merge(mut patch) = make_patch(&current, &new, &custom, true).unwrap() else { panic!("an unknown kind") };
        patch.remove_at(&["metadata"]);
        patch.sort_keys();
        assert_eq!(
            text(&patch),
            r#"{"spec":{"paused":null,"replicas":null,"template":{"spec":{"containers":[{"image":"x:2","name":"c"}]}}}}"#
        );
    }

    #[test]
    fn no_change_is_no_patch() {
        let object = with_last_applied(&value(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#));
        let Patch::Strategic(patch) = make_patch(&object, &object, &target("", "ConfigMap", object.clone()), true).unwrap() else {
            panic!()
        };
        assert_eq!(text(&patch), "{}");
    }
}
