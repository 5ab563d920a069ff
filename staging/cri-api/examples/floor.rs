//! How long a runtime itself takes for one pod: RunPodSandbox, CreateContainer, StartContainer, by CRI alone.
//!
//! `cargo run -p ferrokube-cri-api --example floor -- SOCKET IMAGE [COUNT]` prints median and 95th percentile in
//! milliseconds. This is the floor that `hack/bench.sh` takes off a pod's way from create to Ready.

use cri_api::{RuntimeServiceClient, Status, v1};
use std::time::{Duration, Instant};

struct Sample {
    sandbox: Duration,
    create: Duration,
    start: Duration,
}

async fn one(runtime: &RuntimeServiceClient, image: &str, number: usize) -> Result<Sample, Status> {
    let log_directory = std::env::temp_dir().join(format!("cri-floor-{}-{number}", std::process::id()));
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: format!("floor-{number}"),
            uid: format!("floor-{}-{number}", std::process::id()),
            namespace: "default".into(),
            attempt: 0,
        }),
        log_directory: log_directory.display().to_string(),
        linux: Some(v1::LinuxPodSandboxConfig::default()),
        ..Default::default()
    };
    let begin = Instant::now();
    let sandbox =
        runtime.run_pod_sandbox(v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() }).await?.pod_sandbox_id;
    let sandboxed = Instant::now();
    let container = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.into(), ..Default::default() }),
        command: vec!["/bin/sleep".into(), "3600".into()],
        log_path: "c.log".into(),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let id = runtime
        .create_container(v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(container),
            sandbox_config: Some(config),
        })
        .await?
        .container_id;
    let created = Instant::now();
    runtime.start_container(v1::StartContainerRequest { container_id: id }).await?;
    let started = Instant::now();
    runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await?;
    runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: sandbox }).await?;
    let _ = std::fs::remove_dir_all(log_directory);
    Ok(Sample { sandbox: sandboxed - begin, create: created - sandboxed, start: started - created })
}

fn quantiles(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{name:<10} median {:7.1} ms   p95 {:7.1} ms", at(50), at(95));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, image, rest @ ..] = args.as_slice() else {
        return Err("usage: floor SOCKET IMAGE [COUNT]".into());
    };
    let count: usize = rest.first().map_or(Ok(10), |count| count.parse())?;
    let runtime = RuntimeServiceClient::new(cri_api::connect(&cri_api::socket_path(socket)?));
    let version = runtime.version(v1::VersionRequest::default()).await?;
    println!("{} {} (CRI {})", version.runtime_name, version.runtime_version, version.runtime_api_version);
    let mut samples = Vec::new();
    for number in 0..count {
        samples.push(one(&runtime, image, number).await?);
    }
    quantiles("sandbox", samples.iter().map(|s| s.sandbox).collect());
    quantiles("create", samples.iter().map(|s| s.create).collect());
    quantiles("start", samples.iter().map(|s| s.start).collect());
    quantiles("all", samples.iter().map(|s| s.sandbox + s.create + s.start).collect());
    Ok(())
}
