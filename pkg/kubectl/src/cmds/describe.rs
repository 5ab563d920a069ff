//! `kubectl describe`: fetches what a description needs. The descriptions themselves are in [`crate::describe`].

use apimachinery::Value;
use client::ListParams;

use crate::context::{Context, Outcome, errln, out, refuse};
use crate::describe::{Subject, describe};
use crate::failure::Failure;
use crate::pods::pods_of;
use crate::resources::{Ask, Target, Wanted, list_all};

pub async fn run(ctx: &Context) -> Outcome {
    refuse(&ctx.line, &["kustomize"])?;
    let ask = Ask { types_mean_all: true, ..Ask::of(ctx) };
    if ask.args.is_empty() && ask.files.is_empty() {
        errln(
            "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources.\n",
        );
        return Err(Failure::usage("Required resource not specified."));
    }
    let (mut targets, mut failures) = (Vec::new(), Vec::new());
    let resolved = ask.resolve(ctx).await?;
    for wanted in resolved {
        match wanted {
            Wanted::Object(target) => match target.read(ctx).await {
                Ok(object) => targets.push(Target { object: Some(object), ..target }),
                // A name may be the beginning of others.
                Err(failure) if failure.is_not_found() && target.source.is_empty() => {
                    let (found, _) = list_all(&target.api(ctx)?, ListParams::default(), &target.resource).await?;
                    let found: Vec<Target> = found.into_iter().filter(|other| other.name.starts_with(&target.name)).collect();
                    if found.is_empty() {
                        failures.push(failure);
                    }
                    targets.extend(found);
                }
                Err(failure) => failures.push(failure),
            },
            Wanted::Collection { resource, namespace } => {
                let found = list_all(&ctx.api(&resource, &namespace)?, ask.list_params(), &resource).await;
                match found {
                    Ok((found, _)) => targets.extend(found),
                    Err(failure) => failures.push(failure),
                }
            }
        }
    }
    if targets.is_empty() && failures.is_empty() {
        match ask.all_namespaces {
            true => errln("No resources found"),
            false => errln(&format!("No resources found in {} namespace.", ctx.namespace()?.0)),
        }
    }
    for (index, target) in targets.iter().enumerate() {
        if index > 0 {
            out("\n\n");
        }
        out(&one(ctx, target).await?);
    }
    Failure::all(failures)
}

async fn one(ctx: &Context, target: &Target) -> Result<String, Failure> {
    let object = target.value();
    let kind = target.resource.kind.as_str();
    let list = async |word: &str, namespace: &str, params: ListParams| -> Vec<Value> {
        // What may not be read is left out, as upstream does.
        let Ok(resource) = ctx.resource(word).await else { return Vec::new() };
        let Ok(api) = ctx.api(&resource, namespace) else { return Vec::new() };
        let found = list_all(&api, params, &resource).await.map(|(found, _)| found).unwrap_or_default();
        found.into_iter().filter_map(|target| target.object).collect()
    };
    let uid = object.str_at(&["metadata", "uid"]).unwrap_or_default();
    let owned = |other: &Value| {
        let owners = other.at(&["metadata", "ownerReferences"]).and_then(Value::as_array).unwrap_or_default();
        owners.iter().any(|owner| owner.str_at(&["uid"]) == Some(uid))
    };
    let mut pods = Vec::new();
    let mut related = Vec::new();
    match kind {
        "Node" => {
            let fields = format!("spec.nodeName={},status.phase!=Failed,status.phase!=Succeeded", target.name);
            pods = list("pods", "", ListParams::default().fields(fields)).await;
        }
        "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" => {
            pods = pods_of(ctx, target).await.unwrap_or_default();
            pods.retain(|pod| owned(pod));
        }
        "PersistentVolumeClaim" => pods = list("pods", &target.namespace, ListParams::default()).await,
        "Deployment" => {
            related = list("replicasets.apps", &target.namespace, ListParams::default()).await;
            related.retain(|set| owned(set));
        }
        "Service" => {
            let labels = format!("kubernetes.io/service-name={}", target.name);
            related = list("endpointslices.discovery.k8s.io", &target.namespace, ListParams::default().labels(labels)).await;
        }
        _ => {}
    }
    let mut events = Vec::new();
    if ctx.line.bool("show-events") {
        // A node's events carry its name where others carry a UID.
        let uid = if kind == "Node" { &target.name } else { uid };
        let mut fields = format!("involvedObject.name={},involvedObject.kind={kind}", target.name);
        if !target.namespace.is_empty() {
            fields.push_str(&format!(",involvedObject.namespace={}", target.namespace));
        }
        if !uid.is_empty() {
            fields.push_str(&format!(",involvedObject.uid={uid}"));
        }
        events = list("events", &target.namespace, ListParams::default().fields(fields)).await;
        events.sort_by_key(|event| event.str_at(&["lastTimestamp"]).or(event.str_at(&["eventTime"])).unwrap_or_default().to_string());
    }
    let shows = ctx.line.bool("show-events");
    Ok(describe(&Subject { object, events: shows.then_some(events.as_slice()), pods: &pods, related: &related }))
}
