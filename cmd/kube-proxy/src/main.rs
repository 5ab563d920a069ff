//! kube-proxy: makes Services reachable on this node.

use std::path::Path;
use std::process::ExitCode;

use component_base::daemon::{self, Command};
use component_base::http::BoxError;
use proxy::{app, options};

fn main() -> ExitCode {
    let about = "The Kubernetes network proxy runs on each node. It makes Services reachable there by rules in the kernel (nftables).";
    let command = Command::new(about, options::flags(), options::complete);
    let client = |config: &options::Config| client_settings(config.kubeconfig.as_deref().map(Path::new));
    daemon::main(command, |config, stop| app::run(config, client, stop))
}

/// The settings of the kubeconfig, or without one those of the pod that this runs in.
fn client_settings(kubeconfig: Option<&Path>) -> Result<client::Config, BoxError> {
    if let Some(path) = kubeconfig {
        return Err(format!("cannot read {}: kubeconfig files are not supported yet", path.display()).into());
    }
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    let (config, _) = client::in_cluster(host.as_deref(), port.as_deref())?;
    Ok(config)
}
