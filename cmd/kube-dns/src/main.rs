//! kube-dns: the cluster's DNS server.

use std::path::Path;
use std::process::ExitCode;

use client::kubeconfig::{Overrides, Sources};
use component_base::daemon::{self, Command};
use component_base::http::BoxError;
use dns::{app, options};

fn main() -> ExitCode {
    let about = "Answers for the names of Services and pods of a Kubernetes cluster, and forwards all other questions.";
    let command = Command::new(about, options::flags(), options::complete);
    daemon::main(command, |config, stop| async move {
        let client = client_settings(config.kubeconfig.as_deref())?;
        Ok::<(), BoxError>(app::run(config, client, stop).await?)
    })
}

/// The settings of the kubeconfig, or without one those of the pod that this runs in.
fn client_settings(kubeconfig: Option<&Path>) -> Result<client::Config, BoxError> {
    if let Some(path) = kubeconfig {
        return Ok(Sources::file(path).load()?.resolve(&Overrides::default())?.config);
    }
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    let (config, _) = client::in_cluster(host.as_deref(), port.as_deref())?;
    Ok(config)
}
