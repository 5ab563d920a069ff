//! A profile: which plugins run at which extension point, with which weight and arguments. Upstream: pkg/scheduler/profile,
//! pkg/scheduler/apis/config, pkg/scheduler/framework/runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_config::kube_scheduler::v1::{
    DefaultPreemptionArgs, InterPodAffinityArgs, KubeSchedulerProfile, NodeAffinityArgs, NodeResourcesBalancedAllocationArgs,
    NodeResourcesFitArgs, PluginSet, Plugins, PodTopologySpreadArgs, ResourceSpec, ScoringStrategy, VolumeBindingArgs,
};
use apimachinery::Message;
use component_base::config_file::ConfigFile;
use component_base::problems::Problems;

use crate::events::ClusterEvent;
use crate::framework::{AnyFilter, AnyScore, MAX_SCORE, Plugin, PostFilter, PreEnqueue, Score, any_filter, any_score};
use crate::plugins::default_preemption::DefaultPreemption;
use crate::plugins::dynamic_resources::DynamicResources;
use crate::plugins::image_locality::ImageLocality;
use crate::plugins::inter_pod_affinity::InterPodAffinity;
use crate::plugins::node_affinity::NodeAffinity;
use crate::plugins::node_name::NodeName;
use crate::plugins::node_ports::NodePorts;
use crate::plugins::node_resources::{Balanced, Fit, Strategy, Weighted};
use crate::plugins::node_unschedulable::NodeUnschedulable;
use crate::plugins::pod_topology_spread::PodTopologySpread;
use crate::plugins::scheduling_gates::SchedulingGates;
use crate::plugins::taint_toleration::TaintToleration;
use crate::plugins::volumes::{VolumeBinding, VolumeRestrictions, VolumeZone};
use crate::plugins::{self, DEFAULT_BINDER, DEFAULTS, PRIORITY_SORT};
use crate::pod_info::PodInfo;

pub const DEFAULT_SCHEDULER: &str = "default-scheduler";
pub const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";

/// The plugins that look after pods with one `schedulerName`.
pub struct Profile {
    pub name: String,
    pub pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    pub filters: Vec<Arc<dyn AnyFilter>>,
    /// With the weight of each.
    pub scores: Vec<(Arc<dyn AnyScore>, i64)>,
    pub post_filters: Vec<Arc<dyn PostFilter>>,
    plugins: BTreeMap<&'static str, Arc<dyn Plugin>>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Profile").field("name", &self.name).field("plugins", &self.plugins.keys()).finish_non_exhaustive()
    }
}

impl Default for Profile {
    /// Upstream's default profile.
    fn default() -> Profile {
        Profile::of(&KubeSchedulerProfile::default(), "profiles[0]").expect("the defaults are valid")
    }
}

impl Profile {
    /// Builds a profile. `path` is where it is in the config file, for complaints.
    pub fn of(config: &KubeSchedulerProfile, path: &str) -> Result<Profile, Problems> {
        let mut problems = Problems::new();
        let name = config.scheduler_name.clone().unwrap_or_else(|| DEFAULT_SCHEDULER.to_owned());
        let plan = Plan::of(config.plugins.as_deref(), &format!("{path}.plugins"), &mut problems);
        let arguments = Arguments::of(config, path, &mut problems);
        let mut profile = Profile {
            name,
            pre_enqueue: Vec::new(),
            filters: Vec::new(),
            scores: Vec::new(),
            post_filters: Vec::new(),
            plugins: BTreeMap::new(),
        };
        for plugin in &plan.order {
            let Some(built) = arguments.build(plugin, &mut problems) else { continue };
            let at = |point: &str| plan.points.get(point).is_some_and(|names| names.contains(plugin.as_str()));
            profile.plugins.insert(built.plugin.name(), built.plugin);
            profile.pre_enqueue.extend(built.pre_enqueue.filter(|_| at("preEnqueue")));
            profile.filters.extend(built.filter.filter(|_| at("filter")));
            profile.post_filters.extend(built.post_filter.filter(|_| at("postFilter")));
            let weight = plan.weights.get(plugin).copied().unwrap_or(1);
            profile.scores.extend(built.score.filter(|_| at("score")).map(|score| (score, weight)));
        }
        problems.finish(Some(profile))
    }

    /// What keeps the pod from being tried: the plugin and its reason.
    pub fn gate(&self, pod: &PodInfo) -> Option<(&'static str, String)> {
        self.pre_enqueue.iter().find_map(|plugin| plugin.pre_enqueue(pod).err().map(|reason| (plugin.name(), reason)))
    }

    /// True if the event may help a pod that these plugins refused.
    pub fn wakes(&self, refused_by: &BTreeSet<&'static str>, pod: &PodInfo, event: &ClusterEvent) -> bool {
        if matches!(event, ClusterEvent::TimedOut) {
            return true;
        }
        refused_by.iter().any(|name| self.plugins.get(name).is_none_or(|plugin| plugin.wakes(pod, event)))
    }
}

/// Which plugins run where.
struct Plan {
    /// Plugins in the order in which they run.
    order: Vec<String>,
    points: BTreeMap<&'static str, BTreeSet<String>>,
    weights: BTreeMap<String, i64>,
}

/// The extension points that plugins of this build have.
const POINTS: &[&str] = &["preEnqueue", "queueSort", "filter", "postFilter", "score", "bind"];

impl Plan {
    fn of(config: Option<&Plugins>, path: &str, problems: &mut Problems) -> Plan {
        let nothing = Plugins::default();
        let config = config.unwrap_or(&nothing);
        let known = |set: &PluginSet, point: &str, problems: &mut Problems| {
            for plugin in &set.enabled {
                match DEFAULTS.iter().find(|(name, ..)| *name == plugin.name) {
                    Some((_, _, true)) => {}
                    Some((_, _, false)) => {
                        problems.push(format_args!("{path}.{point}.enabled: plugin {:?} is not supported yet by this build", plugin.name))
                    }
                    None => problems.push(format_args!("{path}.{point}.enabled: plugin {:?} does not exist", plugin.name)),
                }
                problems.require(
                    plugin.weight.is_none_or(|weight| (0..=1_000_000).contains(&weight)),
                    format_args!("{path}.{point}.enabled: the weight of plugin {:?} is out of range", plugin.name),
                );
            }
        };
        // Pre-filtering and pre-scoring are parts of filtering and scoring here: both or neither.
        for (point, set) in [
            ("preFilter", &config.pre_filter),
            ("preScore", &config.pre_score),
            ("reserve", &config.reserve),
            ("permit", &config.permit),
            ("preBind", &config.pre_bind),
            ("postBind", &config.post_bind),
            ("placementGenerate", &config.placement_generate),
            ("placementScore", &config.placement_score),
        ] {
            problems.require(
                set.enabled.is_empty() && set.disabled.is_empty(),
                format_args!("field {path}.{point} is not supported yet by this build: name the plugin under multiPoint, filter or score"),
            );
        }
        known(&config.multi_point, "multiPoint", problems);
        let disabled = |set: &PluginSet, name: &str| set.disabled.iter().any(|plugin| plugin.name == name || plugin.name == "*");

        // Defaults that are not disabled keep their place; a weight given for one replaces its own.
        let mut multi: Vec<(String, i64)> = Vec::new();
        for (name, weight, supported) in DEFAULTS {
            let again = config.multi_point.enabled.iter().find(|plugin| plugin.name == *name);
            match again {
                _ if !supported => {}
                Some(again) if !disabled(&config.multi_point, name) => {
                    multi.push(((*name).to_owned(), again.weight.map_or(*weight, i64::from)));
                }
                None if !disabled(&config.multi_point, name) => multi.push(((*name).to_owned(), *weight)),
                _ => {}
            }
        }
        for plugin in &config.multi_point.enabled {
            if !multi.iter().any(|(name, _)| *name == plugin.name) {
                multi.push((plugin.name.clone(), plugin.weight.map_or(0, i64::from)));
            }
        }

        let mut plan = Plan { order: Vec::new(), points: BTreeMap::new(), weights: BTreeMap::new() };
        for (name, weight) in &multi {
            plan.weights.insert(name.clone(), (*weight).max(1));
        }
        let sets = [&config.pre_enqueue, &config.queue_sort, &config.filter, &config.post_filter, &config.score, &config.bind];
        // What is named at a point of its own runs before what is there by way of multiPoint.
        for (point, set) in POINTS.iter().zip(sets) {
            known(set, point, problems);
            let names = plan.points.entry(point).or_default();
            for plugin in &set.enabled {
                names.insert(plugin.name.clone());
                if !multi.iter().any(|(name, _)| *name == plugin.name) || *point != "score" {
                    plan.order.retain(|name| *name != plugin.name);
                    plan.order.push(plugin.name.clone());
                }
                if *point == "score" {
                    plan.weights.insert(plugin.name.clone(), plugin.weight.map_or(1, i64::from).max(1));
                }
            }
            names.extend(multi.iter().filter(|(name, _)| !disabled(set, name)).map(|(name, _)| name.clone()));
        }
        for (name, _) in &multi {
            if !plan.order.contains(name) {
                plan.order.push(name.clone());
            }
        }
        for (point, name) in [("queueSort", PRIORITY_SORT), ("bind", DEFAULT_BINDER)] {
            let there = plan.points.get(point).is_some_and(|names| names.contains(name));
            problems.require(there, format_args!("{path}: at least one {point} plugin is needed, and {name} is the only one there is"));
        }
        plan
    }
}

/// The arguments of the plugins that take any, checked.
#[derive(Default)]
struct Arguments {
    preemption: DefaultPreemption,
    pod_affinity: InterPodAffinity,
    node_affinity: NodeAffinity,
    balanced: Vec<Weighted>,
    fit: Fit,
    spread: Option<PodTopologySpreadArgs>,
}

struct Built {
    plugin: Arc<dyn Plugin>,
    pre_enqueue: Option<Arc<dyn PreEnqueue>>,
    filter: Option<Arc<dyn AnyFilter>>,
    score: Option<Arc<dyn AnyScore>>,
    post_filter: Option<Arc<dyn PostFilter>>,
}

impl Built {
    fn of<P: Plugin>(plugin: &Arc<P>) -> Built {
        Built { plugin: plugin.clone(), pre_enqueue: None, filter: None, score: None, post_filter: None }
    }

    fn scoring<P: Score>(plugin: P) -> Built {
        let plugin = Arc::new(plugin);
        Built { score: Some(any_score(&plugin)), ..Built::of(&plugin) }
    }

    fn filtering<P: crate::framework::Filter>(plugin: P) -> Built {
        let plugin = Arc::new(plugin);
        Built { filter: Some(any_filter(&plugin)), ..Built::of(&plugin) }
    }

    fn both<P: crate::framework::Filter + Score>(plugin: P) -> Built {
        let plugin = Arc::new(plugin);
        Built { filter: Some(any_filter(&plugin)), score: Some(any_score(&plugin)), ..Built::of(&plugin) }
    }
}

impl Arguments {
    fn of(config: &KubeSchedulerProfile, path: &str, problems: &mut Problems) -> Arguments {
        let mut arguments = Arguments { balanced: Weighted::defaults(), ..Arguments::default() };
        let mut seen = BTreeSet::new();
        for (index, plugin) in config.plugin_config.iter().enumerate() {
            let path = format!("{path}.pluginConfig[{index}]");
            problems.require(seen.insert(plugin.name.clone()), format_args!("{path}: repeated config for plugin {}", plugin.name));
            if let Err(found) = arguments.read(&plugin.name, plugin.args.as_bytes(), &format!("{path}.args")) {
                problems.extend(found);
            }
        }
        arguments
    }

    fn read(&mut self, plugin: &str, text: &[u8], path: &str) -> Result<(), Problems> {
        match plugin {
            plugins::default_preemption::NAME => {
                let args: DefaultPreemptionArgs = decode("DefaultPreemptionArgs", text, path)?;
                let read = |value: Option<i32>, default: i32, max: i32, field: &str| {
                    let value = value.unwrap_or(default);
                    usize::try_from(value)
                        .ok()
                        .filter(|_| value <= max)
                        .ok_or_else(|| Problems::one(format_args!("{path}.{field}: Invalid value: {value}: not in valid range [0, {max}]")))
                };
                self.preemption.min_candidates_percentage =
                    read(args.min_candidate_nodes_percentage, 10, 100, "minCandidateNodesPercentage")?;
                self.preemption.min_candidates = read(args.min_candidate_nodes_absolute, 100, i32::MAX, "minCandidateNodesAbsolute")?;
            }
            plugins::inter_pod_affinity::NAME => {
                let args: InterPodAffinityArgs = decode("InterPodAffinityArgs", text, path)?;
                let weight = args.hard_pod_affinity_weight.unwrap_or(1);
                if !(0..=100).contains(&weight) {
                    return Err(Problems::one(format_args!(
                        "{path}.hardPodAffinityWeight: Invalid value: {weight}: not in valid range [0, 100]"
                    )));
                }
                self.pod_affinity = InterPodAffinity {
                    hard_weight: i64::from(weight),
                    ignore_preferred_of_existing: args.ignore_preferred_terms_of_existing_pods,
                };
            }
            plugins::node_affinity::NAME => {
                let args: NodeAffinityArgs = decode("NodeAffinityArgs", text, path)?;
                self.node_affinity = NodeAffinity { added: args.added_affinity.map(|added| *added) };
            }
            plugins::node_resources::BALANCED => {
                let args: NodeResourcesBalancedAllocationArgs = decode("NodeResourcesBalancedAllocationArgs", text, path)?;
                if !args.resources.is_empty() {
                    self.balanced = weighted(&args.resources, &format!("{path}.resources"))?;
                }
            }
            plugins::node_resources::FIT => {
                let args: NodeResourcesFitArgs = decode("NodeResourcesFitArgs", text, path)?;
                let strategy = args.scoring_strategy.as_deref();
                self.fit = Fit {
                    ignored: args.ignored_resources.to_vec(),
                    ignored_groups: args.ignored_resource_groups.to_vec(),
                    ..strategy.map_or_else(|| Ok(Fit::default()), |strategy| fit_of(strategy, &format!("{path}.scoringStrategy")))?
                };
            }
            plugins::pod_topology_spread::NAME => {
                let args: PodTopologySpreadArgs = decode("PodTopologySpreadArgs", text, path)?;
                let defaulting = args.defaulting_type.as_str();
                if !matches!(defaulting, "" | "System" | "List") {
                    return Err(Problems::one(format_args!("{path}.defaultingType: Unsupported value: {defaulting:?}")));
                }
                if defaulting != "List" && !args.default_constraints.is_empty() {
                    return Err(Problems::one(format_args!(
                        "{path}.defaultingType: Invalid value: {defaulting:?}: when .defaultConstraints are not empty"
                    )));
                }
                if args.default_constraints.iter().any(|constraint| constraint.label_selector.is_some()) {
                    return Err(Problems::one(format_args!(
                        "{path}.defaultConstraints: Forbidden: constraint must not define a selector, as they deduced for each pod"
                    )));
                }
                self.spread = Some(args);
            }
            plugins::volumes::BINDING => {
                let args: VolumeBindingArgs = decode("VolumeBindingArgs", text, path)?;
                if !args.shape.is_empty() {
                    return Err(Problems::one(format_args!("field {path}.shape is not supported yet by this build")));
                }
            }
            _ if DEFAULTS.iter().any(|(name, ..)| *name == plugin) => {
                return Err(Problems::one(format_args!("{path}: plugin {plugin:?} takes no arguments in this build")));
            }
            _ => return Err(Problems::one(format_args!("{path}: plugin {plugin:?} does not exist"))),
        }
        Ok(())
    }

    fn build(&self, plugin: &str, problems: &mut Problems) -> Option<Built> {
        Some(match plugin {
            plugins::scheduling_gates::NAME => {
                let plugin = Arc::new(SchedulingGates);
                Built { pre_enqueue: Some(plugin.clone()), ..Built::of(&plugin) }
            }
            // Both are how this scheduler works anyway; a profile may name them.
            PRIORITY_SORT | DEFAULT_BINDER => return None,
            plugins::node_unschedulable::NAME => Built::filtering(NodeUnschedulable),
            plugins::node_name::NAME => Built::filtering(NodeName),
            plugins::taint_toleration::NAME => Built::both(TaintToleration),
            plugins::node_affinity::NAME => Built::both(NodeAffinity { added: self.node_affinity.added.clone() }),
            plugins::node_ports::NAME => Built::filtering(NodePorts),
            plugins::node_resources::FIT => Built::both(Fit {
                strategy: self.fit.strategy.clone(),
                resources: self.fit.resources.clone(),
                ignored: self.fit.ignored.clone(),
                ignored_groups: self.fit.ignored_groups.clone(),
            }),
            plugins::volumes::RESTRICTIONS => Built::filtering(VolumeRestrictions),
            plugins::volumes::BINDING => Built::filtering(VolumeBinding),
            plugins::volumes::ZONE => Built::filtering(VolumeZone),
            plugins::pod_topology_spread::NAME => Built::both(match &self.spread {
                Some(args) if args.defaulting_type == "List" => PodTopologySpread::with_defaults(args.default_constraints.to_vec()),
                _ => PodTopologySpread::default(),
            }),
            plugins::inter_pod_affinity::NAME => Built::both(InterPodAffinity {
                hard_weight: self.pod_affinity.hard_weight,
                ignore_preferred_of_existing: self.pod_affinity.ignore_preferred_of_existing,
            }),
            plugins::dynamic_resources::NAME => {
                let plugin = Arc::new(DynamicResources);
                Built { filter: Some(any_filter(&plugin)), post_filter: Some(plugin.clone()), ..Built::of(&plugin) }
            }
            plugins::default_preemption::NAME => {
                let plugin = Arc::new(DefaultPreemption {
                    min_candidates_percentage: self.preemption.min_candidates_percentage,
                    min_candidates: self.preemption.min_candidates,
                });
                Built { post_filter: Some(plugin.clone()), ..Built::of(&plugin) }
            }
            plugins::node_resources::BALANCED => Built::scoring(Balanced { resources: self.balanced.clone() }),
            plugins::image_locality::NAME => Built::scoring(ImageLocality),
            // Unknown names have been complained of where they were named.
            _ => {
                debug_assert!(!problems.is_empty(), "an unknown plugin was let through: {plugin}");
                return None;
            }
        })
    }
}

/// Reads a plugin's arguments, which may leave out what kind they are.
fn decode<M: Message>(kind: &str, text: &[u8], path: &str) -> Result<M, Problems> {
    let file = ConfigFile { api_version: API_VERSION, kind, honoured: &[""], more_defaults: &[] };
    let located = |found: Problems| {
        let mut problems = Problems::new();
        found.iter().for_each(|problem| problems.push(format_args!("{path}: {problem}")));
        problems
    };
    let text = if text.is_empty() { b"{}" } else { text };
    let mut value = apimachinery::Value::parse(text).map_err(|error| Problems::one(format_args!("{path}: {error}")))?;
    for (key, default) in [("apiVersion", API_VERSION), ("kind", kind)] {
        if value.at(&[key]).is_none() {
            value.set_at(&[key], apimachinery::Value::String(default.into()));
        }
    }
    file.read(&value.to_vec()).map_err(located)
}

fn weighted(resources: &[ResourceSpec], path: &str) -> Result<Vec<Weighted>, Problems> {
    let mut all = Vec::new();
    for (index, resource) in resources.iter().enumerate() {
        let weight = if resource.weight == 0 { 1 } else { resource.weight };
        if !(1..=100).contains(&weight) {
            return Err(Problems::one(format_args!(
                "{path}[{index}].weight: Invalid value: {weight}: resource weight of {} not in valid range [1, 100]",
                resource.name
            )));
        }
        all.push(Weighted { name: resource.name.clone(), weight });
    }
    Ok(all)
}

fn fit_of(strategy: &ScoringStrategy, path: &str) -> Result<Fit, Problems> {
    let resources = match strategy.resources.is_empty() {
        true => Weighted::defaults(),
        false => weighted(&strategy.resources, &format!("{path}.resources"))?,
    };
    let strategy = match strategy.type_.as_str() {
        "" | "LeastAllocated" => Strategy::LeastAllocated,
        "MostAllocated" => Strategy::MostAllocated,
        "RequestedToCapacityRatio" => {
            let path = format!("{path}.requestedToCapacityRatio.shape");
            let shape = strategy.requested_to_capacity_ratio.as_ref().map(|ratio| &*ratio.shape).unwrap_or_default();
            if shape.is_empty() {
                return Err(Problems::one(format_args!("{path}: Required value: at least one point must be specified")));
            }
            let in_range = shape.iter().all(|point| (0..=100).contains(&point.utilization) && (0..=10).contains(&point.score));
            let ascending = shape.windows(2).all(|pair| pair[0].utilization < pair[1].utilization);
            if !in_range || !ascending {
                return Err(Problems::one(format_args!(
                    "{path}: Invalid value: utilization must be in 0-100 and ascending, score in 0-10"
                )));
            }
            // Scores are written up to 10.
            let point = |point: &api_config::kube_scheduler::v1::UtilizationShapePoint| {
                (i64::from(point.utilization), i64::from(point.score) * MAX_SCORE / 10)
            };
            Strategy::RequestedToCapacityRatio(shape.iter().map(point).collect())
        }
        other => return Err(Problems::one(format_args!("{path}.type: Unsupported value: {other:?}"))),
    };
    Ok(Fit { strategy, resources, ..Fit::default() })
}

#[cfg(test)]
mod tests;
