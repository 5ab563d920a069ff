//! Port-forward over WebSocket channels, as the Python client does it.

use tokio::io::AsyncWriteExt;

use super::{ErrorWriter, Forward};
use crate::websocket::{Channels, Codec, Role};
use crate::{BoxIo, Error, KeepAlive};

/// Two channels a port, and channel numbers are one byte (one digit or so in base64).
const MAX_PORTS: usize = 100;

/// Reads `ports=80,443&ports=8080` from a request's query. The error is the text of a 400.
pub fn ports_from_query(query: &str) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    let values = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some(("port" | "ports", value)) => Some(value.replace("%2C", ",").replace("%2c", ",")),
        _ => None,
    });
    for value in values {
        if value.is_empty() {
            return Err("query parameter \"port\" cannot be empty".to_owned());
        }
        for port in value.split(',') {
            match port.parse() {
                Ok(0) => return Err(format!("port {value:?} must be > 0")),
                Ok(port) => ports.push(port),
                Err(_) => return Err(format!("unable to parse {value:?} as a port")),
            }
        }
    }
    if ports.is_empty() {
        return Err("query parameter \"port\" is required".to_owned());
    }
    if ports.len() > MAX_PORTS {
        return Err(format!("at most {MAX_PORTS} ports can be forwarded on one connection"));
    }
    Ok(ports)
}

/// Starts the session: every port is told on both of its channels, and is a connection at once.
pub(super) async fn start(io: BoxIo, protocol: &str, ports: &[u16], keep: KeepAlive) -> Result<(Channels, Vec<Forward>), Error> {
    let channels = Channels::start(io, Role::Server, Codec::of(protocol), keep);
    let mut ready = Vec::new();
    for (index, port) in ports.iter().take(MAX_PORTS).enumerate() {
        let number = (index * 2) as u8;
        let mut data = channels.channel(number);
        let mut error = channels.channel(number + 1);
        for stream in [&mut data, &mut error] {
            stream.write_all(&port.to_le_bytes()).await.map_err(|err| Error::lost(&err))?;
        }
        ready.push(Forward { port: *port, data, error: ErrorWriter::new(error) });
    }
    ready.reverse(); // Handed out from the end.
    Ok((channels, ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_query() {
        for (query, expected) in [
            ("ports=80", Ok(vec![80])),
            ("port=80,443&x=1&port=8080", Ok(vec![80, 443, 8080])),
            ("ports=80%2C443", Ok(vec![80, 443])),
            ("", Err("query parameter \"port\" is required")),
            ("ports=", Err("query parameter \"port\" cannot be empty")),
            ("ports=0", Err("port \"0\" must be > 0")),
            ("ports=65536", Err("unable to parse \"65536\" as a port")),
        ] {
            assert_eq!(ports_from_query(query), expected.map_err(str::to_owned), "{query}");
        }
    }
}
