//! Security contexts of pod and container as the runtime wants them.

use api::core::v1::{AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext};
use cri_api::v1;
use std::path::Path;

const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

pub fn pod_context(pod: &Pod) -> Option<&PodSecurityContext> {
    pod.spec.security_context.as_deref()
}

fn container_context(container: &Container) -> Option<&SecurityContext> {
    container.security_context.as_deref()
}

pub fn is_privileged(container: &Container) -> bool {
    container_context(container).is_some_and(|context| context.privileged == Some(true))
}

/// The container's own user, else the pod's.
fn run_as_user(pod: &Pod, container: &Container) -> Option<i64> {
    container_context(container).and_then(|c| c.run_as_user).or_else(|| pod_context(pod).and_then(|p| p.run_as_user))
}

fn run_as_non_root(pod: &Pod, container: &Container) -> bool {
    let own = container_context(container).and_then(|c| c.run_as_non_root);
    own.or_else(|| pod_context(pod).and_then(|p| p.run_as_non_root)).unwrap_or(false)
}

/// Who an image runs as, if nobody says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    pub uid: Option<i64>,
    pub name: String,
}

/// Refuses a container that would run as root although it must not.
pub fn verify_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), String> {
    if !run_as_non_root(pod, container) {
        return Ok(());
    }
    let who = format!("\"{}_{}({})\", container: {}", pod.metadata.name, pod.metadata.namespace, pod.metadata.uid, container.name);
    match run_as_user(pod, container) {
        Some(0) => Err(format!("container's runAsUser breaks non-root policy (pod: {who})")),
        Some(_) => Ok(()),
        None => match image.uid {
            Some(0) => Err(format!("container has runAsNonRoot and image will run as root (pod: {who})")),
            None if !image.name.is_empty() => Err(format!(
                "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root (pod: {who})",
                image.name
            )),
            _ => Ok(()),
        },
    }
}

/// Which namespaces a container shares with whom. `target` is the container an ephemeral one joins.
pub fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let spec = &pod.spec;
    let pid = if spec.host_pid {
        v1::NamespaceMode::Node
    } else if spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else if target.is_some() {
        v1::NamespaceMode::Target
    } else {
        v1::NamespaceMode::Container
    };
    let node_or_pod = |host: bool| if host { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    v1::NamespaceOption {
        network: node_or_pod(spec.host_network) as i32,
        pid: pid as i32,
        ipc: node_or_pod(spec.host_ipc) as i32,
        target_id: match pid {
            v1::NamespaceMode::Target => target.unwrap_or_default().to_owned(),
            _ => String::new(),
        },
        userns_options: None,
    }
}

fn se_linux(options: &SELinuxOptions) -> v1::SELinuxOption {
    v1::SELinuxOption {
        user: options.user.clone(),
        role: options.role.clone(),
        r#type: options.type_.clone(),
        level: options.level.clone(),
    }
}

fn profile(kind: &str, localhost: String) -> v1::SecurityProfile {
    let profile_type = match kind {
        "RuntimeDefault" => v1::SecurityProfileProfileType::RuntimeDefault,
        "Localhost" => v1::SecurityProfileProfileType::Localhost,
        _ => v1::SecurityProfileProfileType::Unconfined,
    };
    v1::SecurityProfile { profile_type: profile_type as i32, localhost_ref: localhost }
}

/// The container's profile, else the pod's; without either the node's default.
fn seccomp(own: Option<&SeccompProfile>, pod: Option<&SeccompProfile>, settings: &Settings<'_>) -> Result<v1::SecurityProfile, String> {
    let Some(wanted) = own.or(pod) else {
        return Ok(profile(if settings.seccomp_default { "RuntimeDefault" } else { "Unconfined" }, String::new()));
    };
    match wanted.type_.as_str() {
        "Localhost" => match &wanted.localhost_profile {
            Some(name) if !name.is_empty() => Ok(profile("Localhost", settings.seccomp_root.join(name).display().to_string())),
            _ => Err("localhostProfile must be set if seccompProfile type is Localhost.".to_owned()),
        },
        kind => Ok(profile(kind, String::new())),
    }
}

fn app_armor(wanted: Option<&AppArmorProfile>) -> Option<v1::SecurityProfile> {
    let wanted = wanted?;
    Some(profile(&wanted.type_, wanted.localhost_profile.clone().unwrap_or_default()))
}

/// What the node's configuration adds.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    pub seccomp_default: bool,
    /// Where localhost profiles are.
    pub seccomp_root: &'a Path,
}

fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let Some(context) = pod_context(pod) else { return Vec::new() };
    let mut groups: Vec<i64> = context.fs_group.into_iter().collect();
    groups.extend(context.supplemental_groups.iter());
    groups
}

fn groups_policy(pod: &Pod) -> i32 {
    match pod_context(pod).and_then(|context| context.supplemental_groups_policy.as_deref()) {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict as i32,
        _ => v1::SupplementalGroupsPolicy::Merge as i32,
    }
}

pub fn for_container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    target: Option<&str>,
    settings: &Settings<'_>,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let own = container_context(container);
    let pod_wide = pod_context(pod);
    let user = run_as_user(pod, container);
    let group = own.and_then(|c| c.run_as_group).or_else(|| pod_wide.and_then(|p| p.run_as_group));
    let privileged = is_privileged(container);
    let unmasked = own.and_then(|c| c.proc_mount.as_deref()) == Some("Unmasked");
    let mut context = v1::LinuxContainerSecurityContext {
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        readonly_rootfs: own.and_then(|c| c.read_only_root_filesystem).unwrap_or(false),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        // Privileged and CAP_SYS_ADMIN cannot be combined with it; the API refuses those.
        no_new_privs: own.and_then(|c| c.allow_privilege_escalation) == Some(false),
        run_as_group: group.map(|value| v1::Int64Value { value }),
        masked_paths: if unmasked { Vec::new() } else { strings(&MASKED_PATHS) },
        readonly_paths: if unmasked { Vec::new() } else { strings(&READONLY_PATHS) },
        apparmor: app_armor(
            own.and_then(|c| c.app_armor_profile.as_deref()).or_else(|| pod_wide.and_then(|p| p.app_armor_profile.as_deref())),
        ),
        selinux_options: own
            .and_then(|c| c.se_linux_options.as_deref())
            .or_else(|| pod_wide.and_then(|p| p.se_linux_options.as_deref()))
            .map(se_linux),
        ..Default::default()
    };
    match (user, image.uid) {
        (Some(value), _) | (None, Some(value)) => context.run_as_user = Some(v1::Int64Value { value }),
        (None, None) => context.run_as_username = image.name.clone(),
    }
    if context.run_as_group.is_some() && context.run_as_user.is_none() && context.run_as_username.is_empty() {
        // A group alone is not accepted by runtimes: it goes with the user the image would run as.
        context.run_as_user = Some(v1::Int64Value { value: 0 });
    }
    if let Some(capabilities) = own.and_then(|c| c.capabilities.as_deref()) {
        context.capabilities = Some(v1::Capability {
            add_capabilities: capabilities.add.to_vec(),
            drop_capabilities: capabilities.drop.to_vec(),
            add_ambient_capabilities: Vec::new(),
        });
    }
    context.seccomp = Some(if privileged {
        profile("Unconfined", String::new())
    } else {
        seccomp(own.and_then(|c| c.seccomp_profile.as_deref()), pod_wide.and_then(|p| p.seccomp_profile.as_deref()), settings)?
    });
    Ok(context)
}

/// For the sandbox. It is privileged if any container is: the runtime refuses the container otherwise.
pub fn for_sandbox(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let pod_wide = pod_context(pod);
    let containers = pod.spec.init_containers.iter().chain(pod.spec.containers.iter());
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        privileged: containers.into_iter().any(is_privileged),
        seccomp: Some(profile("RuntimeDefault", String::new())),
        // The pause process needs no groups of its own, but volumes' owners are checked with them.
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        run_as_user: pod_wide.and_then(|p| p.run_as_user).map(|value| v1::Int64Value { value }),
        run_as_group: pod_wide.filter(|p| p.run_as_user.is_some()).and_then(|p| p.run_as_group).map(|value| v1::Int64Value { value }),
        selinux_options: pod_wide.and_then(|p| p.se_linux_options.as_deref()).map(se_linux),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings<'static> {
        Settings { seccomp_default: false, seccomp_root: Path::new("/s") }
    }

    fn with(own: SecurityContext, pod_wide: PodSecurityContext) -> (Pod, Container) {
        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        pod.metadata.namespace = "n".into();
        pod.metadata.uid = "u".into();
        pod.spec.security_context = Some(Box::new(pod_wide));
        (pod, Container { name: "c".into(), security_context: Some(Box::new(own)), ..Default::default() })
    }

    #[test]
    fn the_containers_own_word_goes_first() {
        let (pod, container) = with(
            SecurityContext { run_as_user: Some(5), ..Default::default() },
            PodSecurityContext { run_as_user: Some(6), run_as_group: Some(7), fs_group: Some(8), ..Default::default() },
        );
        let context = for_container(&pod, &container, &ImageUser::default(), None, &settings()).unwrap();
        assert_eq!(context.run_as_user.unwrap().value, 5);
        assert_eq!(context.run_as_group.unwrap().value, 7);
        assert_eq!(context.supplemental_groups, [8]);
        assert_eq!(context.seccomp.unwrap().profile_type, v1::SecurityProfileProfileType::Unconfined as i32);
    }

    #[test]
    fn root_is_found_where_it_hides() {
        let image = |uid, name: &str| ImageUser { uid, name: name.into() };
        for (user, image, refused) in [
            (None, image(Some(0), ""), Some("image will run as root")),
            (None, image(None, "www"), Some("non-numeric user (www)")),
            (None, image(Some(7), ""), None),
            (None, image(None, ""), None),
            (Some(0), image(Some(7), ""), Some("runAsUser breaks non-root policy")),
            (Some(7), image(Some(0), ""), None),
        ] {
            let (pod, container) = with(
                SecurityContext { run_as_non_root: Some(true), run_as_user: user, ..Default::default() },
                PodSecurityContext::default(),
            );
            let result = verify_non_root(&pod, &container, &image);
            match refused {
                None => assert_eq!(result, Ok(())),
                Some(text) => assert!(result.clone().unwrap_err().contains(text), "{result:?}"),
            }
        }
    }

    #[test]
    fn a_local_profile_is_found_below_the_root() {
        let own = SeccompProfile { type_: "Localhost".into(), localhost_profile: Some("a.json".into()) };
        let (pod, container) =
            with(SecurityContext { seccomp_profile: Some(Box::new(own)), ..Default::default() }, PodSecurityContext::default());
        let context = for_container(&pod, &container, &ImageUser::default(), None, &settings()).unwrap();
        assert_eq!(context.seccomp.unwrap().localhost_ref, "/s/a.json");
    }

    #[test]
    fn an_ephemeral_container_joins_its_targets_processes() {
        let pod = Pod::default();
        let options = namespaces(&pod, Some("id"));
        assert_eq!((options.pid, options.target_id.as_str()), (v1::NamespaceMode::Target as i32, "id"));
        assert_eq!(namespaces(&pod, None).pid, v1::NamespaceMode::Container as i32);
    }
}
