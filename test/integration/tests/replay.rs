//! Answers agree with recorded ones of upstream's server, where there is a recording.
//!
//! `REPLAY_SHOW=crud-apps` prints each difference in that file; `REPLAY_ONLY=crud-apps,auth` runs just these files, whole.

use ferrokube_integration::{Target, replay};

/// Of steps that change nothing, each so many of `mutate-*` runs: there are ten thousand of them.
const SAMPLE: usize = 10;

/// Scenarios at a time: most of a watch is waiting.
const AT_A_TIME: usize = 16;

/// At least so many decisions and whole answers agree, of a thousand. Raised with each improvement, never lowered.
const FLOORS: &[(&str, usize, usize)] = &[
    ("00-discovery", 780, 551),
    ("01-protocol", 976, 901),
    ("crud-apps", 970, 750),
    ("crud-batch", 990, 850),
    ("crud-certificates", 977, 379),
    ("crud-coordination", 992, 890),
    ("crud-core", 995, 880),
    ("crud-discovery", 979, 705),
    ("crud-events", 910, 751),
    ("crud-networking", 976, 865),
    ("crud-node", 979, 904),
    ("crud-policy", 979, 833),
    ("crud-rbac", 980, 902),
    ("crud-scheduling", 979, 879),
    ("crud-storage", 615, 520),
    ("mutate-apps", 897, 618),
    ("mutate-batch", 932, 768),
    ("mutate-certificates", 992, 202),
    ("mutate-core", 990, 700),
    ("mutate-discovery", 975, 920),
    ("mutate-networking", 970, 724),
    ("mutate-policy", 992, 932),
    ("mutate-rbac", 992, 936),
    ("mutate-storage", 634, 470),
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_like_upstream() {
    if replay::folder().is_none() {
        println!("skipped: no recording beside the checkout");
        return;
    }
    let only = std::env::var("REPLAY_ONLY").ok();
    let chosen: Vec<(&str, usize, usize)> = match &only {
        Some(list) => list.split(',').map(|name| (name, 0, 0)).collect(),
        None => FLOORS.to_vec(),
    };
    let show = std::env::var("REPLAY_SHOW").unwrap_or_default();
    let target = Target::start().await;
    let mut worse = Vec::new();
    for (file, decisions, same) in chosen {
        let every = if file.starts_with("mutate-") && only.is_none() { SAMPLE } else { 1 };
        let scenarios = replay::read(file, every).unwrap_or_else(|| panic!("the recording has no {file}"));
        let (score, differences) = replay::replay(&target, &scenarios, AT_A_TIME).await;
        let of_thousand = |count: usize| count * 1000 / score.steps.max(1);
        println!("{file}: {} steps, decisions {}‰, whole answers {}‰", score.steps, of_thousand(score.decisions), of_thousand(score.same));
        if show == "all" || show.split(',').any(|name| name == file) {
            differences.iter().for_each(|difference| println!("  {difference}"));
        }
        if of_thousand(score.decisions) < decisions || of_thousand(score.same) < same {
            worse.push(format!("{file}: {score:?}, wanted {decisions}‰ and {same}‰"));
        }
    }
    target.stop().await;
    assert!(worse.is_empty(), "worse than before: {worse:#?}");
}
