//! kube-proxy: makes Services reachable on this node.

use std::path::Path;
use std::process::ExitCode;

use client::kubeconfig::for_daemon;
use component_base::daemon::{self, Command};
use component_base::http::BoxError;
use proxy::{app, options};

fn main() -> ExitCode {
    let about = "The Kubernetes network proxy runs on each node. It makes Services reachable there by rules in the kernel (nftables).";
    let command = Command::new(about, options::flags(), options::complete);
    daemon::main(command, |config, stop| app::run(config, client_settings, stop))
}

/// How to reach the API server: `--kubeconfig`, `--master`, or the pod that this runs in.
fn client_settings(config: &options::Config) -> Result<client::Config, BoxError> {
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    let kubeconfig = config.kubeconfig.as_deref().map(Path::new);
    Ok(for_daemon(kubeconfig, config.master.as_deref(), host.as_deref(), port.as_deref())?)
}
