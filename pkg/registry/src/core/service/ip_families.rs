//! IP families of a Service: what is left unsaid follows from its addresses, its policy and the cluster's ranges.

use api::core::v1::{Service, ServiceSpec};
use apimachinery::List;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::net::parse_ip_sloppy;

use super::ip_range::family;
use super::is_headless;
use crate::core::validation::service as validation;

const SINGLE: &str = "SingleStack";
const REQUIRE: &str = "RequireDualStack";
const PREFER: &str = "PreferDualStack";

fn other(family: &str) -> &'static str {
    if family == "IPv4" { "IPv6" } else { "IPv4" }
}

fn policy(spec: &ServiceSpec) -> Option<&str> {
    spec.ip_family_policy.as_deref()
}

/// Fills in families and policy of a Service that has addresses. `configured`: the families of the cluster's ranges, the default first.
pub fn fill_in(service: &mut Service, old: Option<&Service>, configured: &[&'static str]) -> Result<(), ErrorList> {
    if service.spec.type_ == "ExternalName" || old.is_some_and(|old| keeps_preference(service, old)) {
        return Ok(());
    }
    // What contradicts itself cannot be completed.
    let errors = validation::addresses(service, &Path::new("spec"));
    if !errors.is_empty() {
        return Err(errors);
    }
    if let Some(old) = old.filter(|old| old.spec.type_ != "ExternalName") {
        trim_to_single(service, old);
    }
    let errors = fill_from_addresses(service);
    if !errors.is_empty() {
        return Err(errors);
    }
    let headless_without_selector = is_headless(service) && service.spec.selector.is_empty();
    let dual = configured.len() > 1;
    let spec = &mut service.spec;
    if headless_without_selector {
        // Whoever writes its endpoints may write any family.
        spec.ip_family_policy.get_or_insert_with(|| REQUIRE.to_owned());
        if spec.ip_families.is_empty() {
            spec.ip_families = List::from(configured.iter().take(1).map(|family| (*family).to_owned()).collect::<Vec<_>>());
        }
        if spec.ip_families.len() == 1 && policy(spec) != Some(SINGLE) {
            spec.ip_families.push(other(&spec.ip_families[0]).to_owned());
        }
        return Ok(());
    }
    let errors = check_against_cluster(spec, configured);
    if !errors.is_empty() {
        return Err(errors);
    }
    if spec.ip_family_policy.is_none() {
        let chosen = if spec.cluster_ips.len() > 1 || spec.ip_families.len() > 1 { REQUIRE } else { SINGLE };
        spec.ip_family_policy = Some(chosen.to_owned());
    }
    if spec.ip_families.is_empty() {
        spec.ip_families = List::from(configured.iter().take(1).map(|family| (*family).to_owned()).collect::<Vec<_>>());
    }
    if dual && spec.ip_families.len() == 1 && matches!(policy(spec), Some(PREFER | REQUIRE)) {
        spec.ip_families.push(other(&spec.ip_families[0]).to_owned());
    }
    Ok(())
}

/// A Service that prefers two stacks stays as it is until somebody changes what it asks for, even if the cluster gains or loses a stack.
fn keeps_preference(new: &Service, old: &Service) -> bool {
    let (new, old) = (&new.spec, &old.spec);
    new.type_ == old.type_
        && policy(new) == Some(PREFER)
        && policy(old) == Some(PREFER)
        && new.cluster_ips[..] == old.cluster_ips[..]
        && new.ip_families[..] == old.ip_families[..]
}

/// Changing the policy alone to one stack gives up the second address and family.
fn trim_to_single(new: &mut Service, old: &Service) {
    if policy(&new.spec) != Some(SINGLE) || policy(&old.spec) == Some(SINGLE) {
        return;
    }
    if new.spec.cluster_ips[..] == old.spec.cluster_ips[..] && new.spec.cluster_ips.len() > 1 {
        new.spec.cluster_ips.as_vec_mut().truncate(1);
    }
    if new.spec.ip_families[..] == old.spec.ip_families[..] && new.spec.ip_families.len() > 1 {
        new.spec.ip_families.as_vec_mut().truncate(1);
    }
}

/// Addresses tell families; both must agree.
fn fill_from_addresses(service: &mut Service) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let (ips, policy_path) = (path.child("clusterIPs"), path.child("ipFamilyPolicy"));
    let spec = &mut service.spec;
    if policy(spec) == Some(SINGLE) {
        let detail = |field: &str| format!("must be RequireDualStack or PreferDualStack when multiple `{field}` are specified");
        if spec.cluster_ips.len() > 1 {
            errors.push(Error::invalid(&policy_path, SINGLE, detail("clusterIPs")));
        }
        if spec.ip_families.len() > 1 {
            errors.push(Error::invalid(&policy_path, SINGLE, detail("ipFamilies")));
        }
    }
    for (index, ip) in spec.cluster_ips.iter().enumerate() {
        // What is no address is validation's to refuse.
        let Some(found) = parse_ip_sloppy(ip).map(family) else { break };
        match spec.ip_families.get(index) {
            Some(stated) if stated == found => {}
            Some(stated) if matches!(stated.as_str(), "IPv4" | "IPv6") => {
                let detail = format!("expected an {stated} value as indicated by `ipFamilies[{index}]`");
                errors.push(Error::invalid(&ips.index(index), ip, detail));
            }
            Some(_) => {}
            None => spec.ip_families.push(found.to_owned()),
        }
    }
    errors
}

fn check_against_cluster(spec: &ServiceSpec, configured: &[&'static str]) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    if policy(spec) == Some(REQUIRE) && configured.len() < 2 {
        errors.push(Error::invalid(&path.child("ipFamilyPolicy"), REQUIRE, "this cluster is not configured for dual-stack services"));
    }
    let families = path.child("ipFamilies");
    for (index, wanted) in spec.ip_families.iter().enumerate() {
        if matches!(wanted.as_str(), "IPv4" | "IPv6") && !configured.contains(&wanted.as_str()) {
            errors.push(Error::invalid(&families.index(index), wanted, "not configured on this cluster"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(ips: &[&str], families: &[&str], wanted: Option<&str>, configured: &[&'static str]) -> Result<String, String> {
        let mut service = Service::default();
        service.spec.type_ = "ClusterIP".to_owned();
        service.spec.selector.insert("a", "b".to_owned());
        service.spec.cluster_ip = ips.first().copied().unwrap_or_default().to_owned();
        service.spec.cluster_ips = ips.iter().map(|ip| (*ip).to_owned()).collect();
        service.spec.ip_families = families.iter().map(|family| (*family).to_owned()).collect();
        service.spec.ip_family_policy = wanted.map(str::to_owned);
        match fill_in(&mut service, None, configured) {
            Ok(()) => Ok(format!("{} {}", service.spec.ip_family_policy.unwrap(), service.spec.ip_families.join("+"))),
            Err(errors) => Err(errors[0].to_string()),
        }
    }

    #[test]
    fn fills_in_what_is_left_unsaid() {
        let (four, dual): (&[_], &[_]) = (&["IPv4"], &["IPv4", "IPv6"]);
        let table: &[(&[&str], &[&str], Option<&str>, &[&'static str], &str)] = &[
            (&[], &[], None, four, "SingleStack IPv4"),
            (&[], &[], Some(PREFER), four, "PreferDualStack IPv4"),
            (&[], &[], Some(PREFER), dual, "PreferDualStack IPv4+IPv6"),
            (&[], &["IPv6"], Some(REQUIRE), dual, "RequireDualStack IPv6+IPv4"),
            (&["fd00::1"], &[], None, dual, "SingleStack IPv6"),
            (&["fd00::1", "10.0.0.1"], &[], None, dual, "RequireDualStack IPv6+IPv4"),
        ];
        for (ips, families, wanted, configured, expected) in table {
            assert_eq!(filled(ips, families, *wanted, configured).as_deref(), Ok(*expected), "{ips:?} {families:?} {wanted:?}");
        }
        let error = filled(&[], &[], Some(REQUIRE), four).unwrap_err();
        assert_eq!(
            error,
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
        );
        let error = filled(&[], &["IPv6"], None, four).unwrap_err();
        assert_eq!(error, "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster");
    }
}
