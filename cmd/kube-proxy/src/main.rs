//! kube-proxy: makes Services reachable on this node.

use std::process::ExitCode;

use client::kubeconfig::{Overrides, Sources};
use component_base::daemon::{self, Command};
use component_base::http::BoxError;
use proxy::{app, options};

fn main() -> ExitCode {
    let about = "The Kubernetes network proxy runs on each node. It makes Services reachable there by rules in the kernel (nftables).";
    let command = Command::new(about, options::flags(), options::complete);
    daemon::main(command, |config, stop| app::run(config, client_settings, stop))
}

/// The settings of the kubeconfig; without one those of the pod that this runs in. `--master` wins over either.
fn client_settings(config: &options::Config) -> Result<client::Config, BoxError> {
    if config.kubeconfig.is_some() || config.master.is_some() {
        let sources = Sources { explicit: config.kubeconfig.as_ref().map(Into::into), ..Sources::default() };
        let overrides = Overrides { server: config.master.clone(), ..Overrides::default() };
        return Ok(sources.load()?.resolve(&overrides)?.config);
    }
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    let (config, _) = client::in_cluster(host.as_deref(), port.as_deref())?;
    Ok(config)
}
