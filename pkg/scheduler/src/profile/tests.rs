use super::*;

fn read(json: &str) -> Result<Profile, String> {
    let config = apimachinery::json::from_slice(json.as_bytes()).unwrap();
    Profile::of(&config, "profiles[0]").map_err(|problems| problems.iter().collect::<Vec<_>>().join("\n"))
}

fn names(profile: &Profile) -> (String, String) {
    let filters: Vec<&str> = profile.filters.iter().map(|filter| filter.name()).collect();
    let scores: Vec<String> = profile.scores.iter().map(|(score, weight)| format!("{}={weight}", score.name())).collect();
    (filters.join(" "), scores.join(" "))
}

#[test]
fn the_default_profile_is_upstreams() {
    let profile = Profile::default();
    assert_eq!(profile.name, "default-scheduler");
    let (filters, scores) = names(&profile);
    assert_eq!(
        filters,
        "NodeUnschedulable NodeName TaintToleration NodeAffinity NodePorts NodeResourcesFit VolumeRestrictions VolumeBinding VolumeZone \
         PodTopologySpread InterPodAffinity DynamicResources"
    );
    assert_eq!(
        scores,
        "TaintToleration=3 NodeAffinity=2 NodeResourcesFit=1 PodTopologySpread=2 InterPodAffinity=2 NodeResourcesBalancedAllocation=1 \
         ImageLocality=1"
    );
}

#[test]
fn plugins_can_be_switched_off_and_weighed() {
    let profile = read(
        r#"{"schedulerName":"mine","plugins":{
            "multiPoint":{"enabled":[{"name":"TaintToleration","weight":7}],"disabled":[{"name":"ImageLocality"},{"name":"NodePorts"}]},
            "score":{"disabled":[{"name":"*"}],"enabled":[{"name":"NodeResourcesFit","weight":5}]}}}"#,
    )
    .unwrap();
    let (filters, scores) = names(&profile);
    assert!(!filters.contains("NodePorts") && filters.contains("NodeResourcesFit"), "{filters}");
    assert_eq!(scores, "NodeResourcesFit=5");
}

#[test]
fn what_is_not_there_is_refused() {
    for (config, part) in [
        (
            r#"{"plugins":{"multiPoint":{"enabled":[{"name":"Mine"}]}}}"#,
            "profiles[0].plugins.multiPoint.enabled: plugin \"Mine\" does not exist",
        ),
        (r#"{"plugins":{"filter":{"enabled":[{"name":"NodeVolumeLimits"}]}}}"#, "not supported yet by this build"),
        (r#"{"plugins":{"permit":{"enabled":[{"name":"X"}]}}}"#, "field profiles[0].plugins.permit is not supported yet"),
        (r#"{"plugins":{"bind":{"disabled":[{"name":"*"}]}}}"#, "at least one bind plugin"),
        (r#"{"pluginConfig":[{"name":"NodeName","args":{}}]}"#, "takes no arguments"),
        (r#"{"pluginConfig":[{"name":"InterPodAffinity","args":{"hardPodAffinityWeight":101}}]}"#, "not in valid range [0, 100]"),
        (r#"{"pluginConfig":[{"name":"InterPodAffinity","args":{"typo":1}}]}"#, "unknown field \"typo\""),
        (r#"{"pluginConfig":[{"name":"NodeResourcesFit","args":{"scoringStrategy":{"type":"X"}}}]}"#, "Unsupported value: \"X\""),
        (
            r#"{"pluginConfig":[{"name":"NodeResourcesFit","args":{"scoringStrategy":{"type":"RequestedToCapacityRatio"}}}]}"#,
            "at least one point must be specified",
        ),
    ] {
        let problems = read(config).unwrap_err();
        assert!(problems.contains(part), "{config}: {problems}");
    }
}

#[test]
fn arguments_reach_their_plugins() {
    let config = r#"{"pluginConfig":[
        {"name":"NodeResourcesFit","args":{"scoringStrategy":{"type":"MostAllocated","resources":[{"name":"cpu","weight":2}]}}},
        {"name":"PodTopologySpread","args":{"defaultingType":"List","defaultConstraints":[]}},
        {"name":"DefaultPreemption","args":{"minCandidateNodesAbsolute":7}}]}"#;
    let config: KubeSchedulerProfile = apimachinery::json::from_slice(config.as_bytes()).unwrap();
    let arguments = Arguments::of(&config, "", &mut Problems::new());
    assert_eq!(arguments.fit.strategy, Strategy::MostAllocated);
    assert_eq!(arguments.fit.resources, [Weighted { name: "cpu".to_owned(), weight: 2 }]);
    assert_eq!(arguments.preemption.min_candidates, 7);
    assert_eq!(arguments.spread.unwrap().defaulting_type, "List");
}
