//! A little network of namespaces: a client, a node and two pods behind it, and servers and clients inside.
//!
//! ```text
//! client 10.1.0.2 ---- 10.1.0.1 node 10.244.1.1 ---- 10.244.1.2 pod1
//!        fd00:1::2              node 10.244.2.1 ---- 10.244.2.2 pod2
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Who asks or answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Client,
    Node,
    Pod1,
    Pod2,
}

use Place::{Client, Node, Pod1, Pod2};

/// The port that the servers in the pods listen on, TCP and UDP.
pub const PORT: u16 = 8080;

/// How long a connection to a working address may take at most; also how long silence must last to count as a drop.
const PATIENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(300);

/// The namespaces; gone when dropped.
pub struct Net {
    prefix: String,
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Net {
    /// Makes the namespaces and starts the servers; `None`, with a message, where that is not allowed.
    pub fn new() -> Option<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self { prefix: format!("fkproxy-{}-{number}", std::process::id()) };
        if !ip(&format!("netns add {}", net.name(Node))) {
            eprintln!("skipped: network namespaces cannot be made here (root and iproute2 are needed)");
            return None;
        }
        for place in [Client, Pod1, Pod2] {
            assert!(ip(&format!("netns add {}", net.name(place))));
        }
        for (place, interface, v4, v6) in
            [(Client, "c", "10.1.0", "fd00:1:"), (Pod1, "p1", "10.244.1", "fd00:244:1:"), (Pod2, "p2", "10.244.2", "fd00:244:2:")]
        {
            let (node, other) = (net.name(Node), net.name(place));
            for command in [
                format!("-n {node} link add {interface} type veth peer name eth0 netns {other}"),
                format!("-n {node} addr add {v4}.1/24 dev {interface}"),
                format!("-n {node} addr add {v6}:1/64 dev {interface} nodad"),
                format!("-n {node} link set {interface} up"),
                format!("-n {other} addr add {v4}.2/24 dev eth0"),
                format!("-n {other} addr add {v6}:2/64 dev eth0 nodad"),
                format!("-n {other} link set lo up"),
                format!("-n {other} link set eth0 up"),
                format!("-n {other} route add default via {v4}.1"),
                format!("-n {other} -6 route add default via {v6}:1"),
            ] {
                assert!(ip(&command), "ip {command}");
            }
        }
        assert!(ip(&format!("-n {} link set lo up", net.name(Node))));
        // The node has a default route, as it needs one to send anything to a cluster IP; it leads to another interface
        // than the client's, since the kernel's redirects would use up the client's allowance of ICMP errors.
        for command in [
            format!("-n {} link add out type veth peer name out netns {}", net.name(Node), net.name(Client)),
            format!("-n {} link set out up", net.name(Client)),
            format!("-n {} addr add 10.2.0.1/24 dev out", net.name(Node)),
            format!("-n {} addr add fd00:2::1/64 dev out nodad", net.name(Node)),
            format!("-n {} link set out up", net.name(Node)),
            format!("-n {} route add default via 10.2.0.2", net.name(Node)),
            format!("-n {} -6 route add default via fd00:2::2", net.name(Node)),
        ] {
            assert!(ip(&command), "ip {command}");
        }
        net.within(Node, || {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{switch}"), "1").unwrap();
            }
        });
        net.serve(Pod1);
        net.serve(Pod2);
        Some(net)
    }

    fn name(&self, place: Place) -> String {
        format!("{}-{place:?}", self.prefix)
    }

    /// The command that runs nft on the node.
    pub fn nft(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(Node), "nft"].map(str::to_owned).to_vec()
    }

    /// Runs `work` on a thread inside the namespace.
    pub fn within<R: Send + 'static>(&self, place: Place, work: impl FnOnce() -> R + Send + 'static) -> R {
        self.spawn(place, work).join().unwrap()
    }

    fn spawn<R: Send + 'static>(&self, place: Place, work: impl FnOnce() -> R + Send + 'static) -> std::thread::JoinHandle<R> {
        let namespace = File::open(format!("/run/netns/{}", self.name(place))).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    /// Answers each connection and each datagram with the place's name and who it thinks has asked.
    fn serve(&self, place: Place) {
        let (tcp, udp) = self.within(place, || {
            let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT);
            (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
        });
        // The threads end with the process; the sockets keep their namespace whatever thread uses them.
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = tcp.accept() {
                let _ = stream.write_all(format!("{place:?} {}", peer.ip().to_canonical()).as_bytes());
            }
        });
        std::thread::spawn(move || {
            let mut datagram = [0; 64];
            while let Ok((_, peer)) = udp.recv_from(&mut datagram) {
                let _ = udp.send_to(format!("{place:?} {}", peer.ip().to_canonical()).as_bytes(), peer);
            }
        });
    }

    /// Connects from `place`: "Pod1 10.1.0.2", or "refused", or "silence".
    pub fn tcp(&self, place: Place, to: &str) -> String {
        let to: SocketAddr = to.parse().unwrap();
        self.within(place, move || tcp(to, PATIENCE))
    }

    /// As [`Net::tcp`] where no answer is expected.
    pub fn tcp_impatient(&self, place: Place, to: &str) -> String {
        let to: SocketAddr = to.parse().unwrap();
        self.within(place, move || tcp(to, SILENCE))
    }

    /// Sends one datagram from `place` and waits for the answer; `from_port` 0 takes any.
    pub fn udp(&self, place: Place, from_port: u16, to: &str) -> String {
        let to: SocketAddr = to.parse().unwrap();
        self.within(place, move || {
            let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, from_port)).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(SILENCE * 3)).unwrap();
            let mut answer = [0; 64];
            match socket.send(b"hello").and_then(|_| socket.recv(&mut answer)) {
                Ok(length) => String::from_utf8_lossy(&answer[..length]).into_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => "refused".to_owned(),
                Err(_) => "silence".to_owned(),
            }
        })
    }

    /// Which of the pods answer `count` connections, in order and without repetition.
    pub fn answering(&self, place: Place, to: &str, count: usize) -> Vec<String> {
        let mut pods: Vec<String> = (0..count).map(|_| self.tcp(place, to).split(' ').next().unwrap().to_owned()).collect();
        pods.sort();
        pods.dedup();
        pods
    }
}

fn tcp(to: SocketAddr, patience: Duration) -> String {
    let mut stream = match TcpStream::connect_timeout(&to, patience) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "refused".to_owned(),
                std::io::ErrorKind::TimedOut => "silence".to_owned(),
                _ => error.to_string(),
            };
        }
    };
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => answer,
        Err(error) => error.to_string(),
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for place in [Client, Node, Pod1, Pod2] {
            ip(&format!("netns del {}", self.name(place)));
        }
    }
}

fn ip(arguments: &str) -> bool {
    let status = Command::new("ip").args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
