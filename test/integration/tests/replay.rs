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
    ("00-discovery", 782, 551),
    ("01-protocol", 989, 912),
    ("crud-apps", 970, 750),
    ("crud-batch", 994, 850),
    ("crud-certificates", 994, 905),
    ("crud-coordination", 994, 905),
    ("crud-core", 995, 891),
    ("crud-discovery", 987, 724),
    ("crud-events", 966, 806),
    ("crud-networking", 994, 899),
    ("crud-node", 994, 936),
    ("crud-policy", 994, 864),
    ("crud-rbac", 994, 932),
    ("crud-scheduling", 994, 917),
    ("crud-storage", 628, 541),
    ("mutate-apps", 983, 709),
    ("mutate-batch", 954, 808),
    ("mutate-certificates", 994, 773),
    ("mutate-core", 994, 841),
    ("mutate-discovery", 977, 920),
    ("mutate-networking", 972, 724),
    ("mutate-policy", 994, 932),
    ("mutate-rbac", 994, 936),
    ("mutate-storage", 636, 470),
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
