//! kube-dns: the cluster's DNS server.

use std::path::Path;
use std::process::ExitCode;

use client::kubeconfig::for_daemon;
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

/// How to reach the API server: `--kubeconfig`, or the pod that this runs in.
fn client_settings(kubeconfig: Option<&Path>) -> Result<client::Config, BoxError> {
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    Ok(for_daemon(kubeconfig, None, host.as_deref(), port.as_deref())?)
}
