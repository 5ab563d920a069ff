use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{bounded, digest, noise, pair};
use crate::Error;
use crate::spdy::Connection;

#[tokio::test]
async fn headers_half_close_and_end_of_session() {
    let (a, b) = pair(4096);
    let (client, server) = (Connection::client(a), Connection::server(b));
    let serving = tokio::spawn(async move {
        let mut stream = server.accept().await.unwrap();
        assert_eq!(stream.header("StreamType").as_deref(), Some("data"));
        assert_eq!(stream.header("nothing"), None);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap(); // Ends by the client's half-close.
        stream.write_all(format!("got {text}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(matches!(server.accept().await, Err(Error::Finished)));
    });
    bounded(async {
        let mut stream = client.open_stream(&[("streamType", "data"), ("port", "80")]).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.write_all(b"more").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "got hello");
        drop((stream, client));
        serving.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn much_data_both_ways_through_small_pipes_on_several_streams() {
    let (a, b) = pair(1000);
    let (client, server) = (Connection::client(a), Connection::server(b));
    tokio::spawn(async move {
        while let Ok(stream) = server.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            });
        }
    });
    let mut tasks = Vec::new();
    for seed in 0..4 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let sent = noise(5 << 20, seed);
            let expected = digest(&sent);
            let (mut read, mut write) = client.open_stream(&[]).await.unwrap().into_split();
            let writing = async move {
                write.write_all(&sent).await.unwrap();
                drop(write);
            };
            let mut received = Vec::new();
            let (_, count) = tokio::join!(writing, read.read_to_end(&mut received));
            assert_eq!((count.unwrap(), digest(&received)), (5 << 20, expected));
        }));
    }
    bounded(async {
        for task in tasks {
            task.await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_who_waits_holds_the_writer_up() {
    let (a, b) = pair(1000);
    let (client, server) = (Connection::client(a), Connection::server(b));
    let mut stream = bounded(async {
        let (opened, accepted) = tokio::join!(client.open_stream(&[]), server.accept());
        let mut sending = opened.unwrap();
        let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = written.clone();
        let task = tokio::spawn(async move {
            for _ in 0..1000 {
                sending.write_all(&[7; 1000]).await.unwrap();
                count.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
            }
            sending.shutdown().await.unwrap();
            sending
        });
        // Let everything run until it can go no further.
        let mut last = usize::MAX;
        while last != written.load(std::sync::atomic::Ordering::Relaxed) {
            last = written.load(std::sync::atomic::Ordering::Relaxed);
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        }
        assert!(last < 400_000, "{last} bytes are somewhere in memory");
        (accepted.unwrap(), task)
    })
    .await;
    let mut all = Vec::new();
    bounded(stream.0.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 1_000_000);
    drop(bounded(stream.1).await.unwrap());
}

#[tokio::test]
async fn a_stream_that_is_dropped_unread_does_not_stop_the_others() {
    let (a, b) = pair(1000);
    let (client, server) = (Connection::client(a), Connection::server(b));
    bounded(async {
        let (one, two) = tokio::join!(client.open_stream(&[]), server.accept());
        let (mut one, two) = (one.unwrap(), two.unwrap());
        let blocked = tokio::spawn(async move { one.write_all(&[1; 1_000_000]).await });
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        drop(two);
        assert!(blocked.await.unwrap().is_err());
        let (three, four) = tokio::join!(client.open_stream(&[]), server.accept());
        let (mut three, mut four) = (three.unwrap(), four.unwrap());
        three.write_all(b"x").await.unwrap();
        assert_eq!(four.read_u8().await.unwrap(), b'x');
    })
    .await;
}

#[tokio::test]
async fn everything_written_arrives_although_the_connection_is_dropped_at_once() {
    let (a, b) = pair(512);
    let (client, server) = (Connection::client(a), Connection::server(b));
    bounded(async {
        let (sending, receiving) = tokio::join!(client.open_stream(&[]), server.accept());
        let mut receiving = receiving.unwrap();
        let task = tokio::spawn(async move {
            let (_read, mut write) = sending.unwrap().into_split();
            write.write_all(&noise(300_000, 3)).await.unwrap();
            drop(client);
        });
        let mut all = Vec::new();
        receiving.read_to_end(&mut all).await.unwrap();
        assert_eq!(digest(&all), digest(&noise(300_000, 3)));
        task.await.unwrap();
        assert!(matches!(server.closed().await, Error::Finished));
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_is_told_from_a_closed_one() {
    let (a, b) = tokio::io::duplex(4096);
    let client = Connection::client(a);
    let server = Connection::server(b);
    bounded(async {
        let (opened, accepted) = tokio::join!(client.open_stream(&[]), server.accept());
        let (mut opened, accepted) = (opened.unwrap(), accepted.unwrap());
        drop(accepted.into_split().1); // Ends one direction properly.
        drop(server);
        let mut all = Vec::new();
        opened.read_to_end(&mut all).await.unwrap();
    })
    .await;
    // Now the same with a socket that just breaks.
    let (a, b) = tokio::io::duplex(4096);
    let client = Connection::client(a);
    let mut stream = client.start_stream(&[]).unwrap();
    drop(b);
    bounded(async {
        assert!(matches!(client.closed().await, Error::Lost(_)));
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_connection_alive_and_their_absence_ends_it() {
    use crate::KeepAlive;
    use std::time::Duration;
    let keep = KeepAlive { ping: Some(Duration::from_secs(5)), idle: None };
    let (a, b) = tokio::io::duplex(4096);
    let client = Connection::start(Box::new(a), true, keep);
    let server = Connection::server(b);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), client.closed()).await.is_err());
    drop((client, server));

    let (a, silent) = tokio::io::duplex(4096);
    let client = Connection::start(Box::new(a), true, keep);
    assert!(matches!(client.closed().await, Error::TimedOut(_)));
    drop(silent);

    let (a, silent) = tokio::io::duplex(4096);
    let client = Connection::start(Box::new(a), true, KeepAlive { ping: None, idle: Some(Duration::from_secs(9)) });
    assert!(matches!(client.closed().await, Error::TimedOut("idle")));
    drop(silent);
}
