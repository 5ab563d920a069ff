use super::*;

fn queue() -> WorkQueue<&'static str> {
    WorkQueue::new("test")
}

async fn take_all(queue: &WorkQueue<&'static str>) -> Vec<&'static str> {
    let mut items = Vec::new();
    while !queue.is_empty() {
        items.extend(queue.get().await);
    }
    items
}

#[tokio::test(start_paused = true)]
async fn an_item_is_queued_once_and_in_order() {
    let queue = queue();
    for item in ["a", "b", "a", "c", "b"] {
        queue.add(item);
    }
    assert_eq!(take_all(&queue).await, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_item_added_while_worked_on_comes_back_when_done() {
    let queue = queue();
    queue.add("a");
    assert_eq!(queue.get().await, Some("a"));
    queue.add("a");
    queue.add("a");
    assert!(queue.is_empty());
    queue.done(&"a");
    assert_eq!(take_all(&queue).await, ["a"]);
    queue.done(&"a");
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_shortest_delay_counts() {
    let queue = queue();
    let start = Instant::now();
    queue.add_after("late", Duration::from_secs(20));
    queue.add_after("soon", Duration::from_secs(10));
    queue.add_after("late", Duration::from_secs(5));
    queue.add_after("late", Duration::from_secs(30));
    assert_eq!(queue.get().await, Some("late"));
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(queue.get().await, Some("soon"));
    assert_eq!(start.elapsed().as_secs(), 10);
    queue.done(&"late");
    queue.done(&"soon");
    // The longer delays of "late" were dropped.
    let nothing = tokio::time::timeout(Duration::from_secs(100), queue.get()).await;
    assert!(nothing.is_err());
}

#[tokio::test(start_paused = true)]
async fn failures_wait_ever_longer_until_forgotten() {
    let queue = queue();
    let mut delays = Vec::new();
    for _ in 0..4 {
        let start = Instant::now();
        queue.add_rate_limited("a");
        queue.get().await;
        queue.done(&"a");
        delays.push(start.elapsed().as_millis());
    }
    assert_eq!(delays, [5, 10, 20, 40]);
    assert_eq!(queue.failures(&"a"), 4);
    queue.forget(&"a");
    let start = Instant::now();
    queue.add_rate_limited("a");
    queue.get().await;
    assert_eq!(start.elapsed().as_millis(), 5);
}

#[tokio::test(start_paused = true)]
async fn every_waiting_worker_ends_at_shutdown_and_the_drain_waits_for_work() {
    let queue = queue();
    queue.add("a");
    assert_eq!(queue.get().await, Some("a"));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.get().await })
        })
        .collect();
    let draining = tokio::spawn({
        let queue = queue.clone();
        async move { queue.drain().await }
    });
    tokio::task::yield_now().await;
    for worker in waiting {
        assert_eq!(worker.await.unwrap(), None);
    }
    assert!(!draining.is_finished());
    queue.add("b");
    queue.done(&"a");
    draining.await.unwrap();
    assert!(queue.is_empty());
}

#[tokio::test]
async fn many_workers_do_each_item_once_at_a_time() {
    let queue: WorkQueue<usize> = WorkQueue::new("many");
    let active = Arc::new(Mutex::new(HashSet::new()));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (queue, active) = (queue.clone(), active.clone());
            tokio::spawn(async move {
                while let Some(item) = queue.get().await {
                    assert!(active.lock().insert(item));
                    tokio::task::yield_now().await;
                    active.lock().remove(&item);
                    queue.done(&item);
                }
            })
        })
        .collect();
    for round in 0..2000 {
        queue.add(round % 17);
        if round % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    queue.drain().await;
    for worker in workers {
        worker.await.unwrap();
    }
}
