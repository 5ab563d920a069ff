//! Opening one connection: TCP, perhaps through a proxy, perhaps under TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::TlsSource;
use crate::config::{Config, ConfigError};
use crate::error::Error;

/// As Go's default dialer for API clients.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// As Go's `TLSHandshakeTimeout` for API clients.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer to CONNECT we read; real ones take a few hundred bytes.
const MAX_CONNECT_ANSWER: usize = 16 * 1024;

/// A byte stream of any make.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A server's address, taken apart once.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) https: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host:port` as it stands in the `Host` header.
    pub(crate) authority: String,
    /// Path in front of every request's path; empty or `/prefix`.
    pub(crate) prefix: String,
    pub(crate) userinfo: Option<String>,
}

impl Endpoint {
    /// Reads `https://host:port/prefix`; a bare `host:port` is http, as upstream's `DefaultServerURL` has it.
    pub(crate) fn parse(server: &str, https_by_default: bool) -> Option<Endpoint> {
        let with_scheme = match server.contains("://") {
            true => server.to_string(),
            false if https_by_default => format!("https://{server}"),
            false => format!("http://{server}"),
        };
        let (scheme, rest) = with_scheme.split_once("://")?;
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            "socks5" | "socks5h" => 1080,
            _ => return None,
        };
        let uri: Uri = format!("http://{rest}").parse().ok()?;
        let authority = uri.authority()?.as_str();
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user.to_string()), authority),
            None => (None, authority),
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_string();
        if host.is_empty() {
            return None;
        }
        Some(Endpoint {
            https: scheme == "https",
            port: uri.port_u16().unwrap_or(default_port),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_string(),
            host,
            userinfo,
        })
    }

    fn host_and_port(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ProxyKind {
    Connect,
    Socks5,
}

/// Opens connections to one server.
pub(crate) struct Connector {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Arc<TlsSource>,
    proxy: Option<(ProxyKind, Endpoint)>,
    /// For a proxy that itself speaks TLS: the system's roots, no client certificate.
    proxy_tls: Option<TlsSource>,
}

/// An open connection and whether HTTP/2 was agreed on.
pub(crate) struct Connection {
    pub(crate) io: Box<dyn Io>,
    pub(crate) http2: bool,
}

impl Connector {
    pub(crate) fn new(config: &Config, tls: Arc<TlsSource>) -> Result<Connector, ConfigError> {
        // With TLS settings at hand a bare host:port means https.
        let has_tls = config.tls.ca.is_some() || config.tls.client_cert.is_some() || config.tls.insecure_skip_verify;
        let endpoint = Endpoint::parse(&config.server, has_tls).ok_or_else(|| ConfigError::Server(config.server.clone()))?;
        let proxy = match config.proxy_url.as_deref() {
            None | Some("") => None,
            Some(url) => {
                let kind = if url.starts_with("socks5") { ProxyKind::Socks5 } else { ProxyKind::Connect };
                let parsed = Some(url).filter(|url| url.contains("://")).and_then(|url| Endpoint::parse(url, false));
                Some((kind, parsed.ok_or_else(|| ConfigError::Proxy(url.to_string()))?))
            }
        };
        let proxy_tls = match &proxy {
            Some((_, proxy)) if proxy.https => Some(TlsSource::new(&crate::TlsSettings::default())?),
            _ => None,
        };
        Ok(Connector { endpoint, tls, proxy, proxy_tls })
    }

    /// Opens a connection. `http1_only` keeps HTTP/2 out of the negotiation: upgrades need HTTP/1.1.
    pub(crate) async fn connect(&self, http1_only: bool) -> Result<Connection, Error> {
        let io = match &self.proxy {
            None => Box::new(self.dial(&self.endpoint).await?) as Box<dyn Io>,
            Some((kind, proxy)) => self.dial_through(*kind, proxy).await?,
        };
        if !self.endpoint.https {
            return Ok(Connection { io, http2: false });
        }
        let name = self.tls.server_name().unwrap_or(&self.endpoint.host);
        let tls = self.handshake(&self.tls, name, http1_only, io).await?;
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Connection { io: Box::new(tls), http2 })
    }

    async fn dial(&self, to: &Endpoint) -> Result<TcpStream, Error> {
        let failed = |source| Error::Connect { address: to.host_and_port(), source };
        let connected = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect((to.host.as_str(), to.port))).await;
        let stream = connected.map_err(|_| failed(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")))?.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }

    async fn handshake(
        &self,
        tls: &TlsSource,
        name: &str,
        http1_only: bool,
        io: Box<dyn Io>,
    ) -> Result<tokio_rustls::client::TlsStream<Box<dyn Io>>, Error> {
        let failed = |source| Error::Tls { server: name.to_string(), source };
        let server_name =
            ServerName::try_from(name.to_string()).map_err(|err| failed(io::Error::new(io::ErrorKind::InvalidInput, err.to_string())))?;
        let handshake = TlsConnector::from(tls.config(http1_only)).connect(server_name, io);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(failed(io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timeout"))),
        }
    }

    async fn dial_through(&self, kind: ProxyKind, proxy: &Endpoint) -> Result<Box<dyn Io>, Error> {
        let mut io = Box::new(self.dial(proxy).await?) as Box<dyn Io>;
        if let Some(tls) = &self.proxy_tls {
            io = Box::new(self.handshake(tls, &proxy.host, true, io).await?);
        }
        let told = match kind {
            ProxyKind::Connect => http_connect(&mut io, proxy, &self.endpoint.host_and_port()).await,
            ProxyKind::Socks5 => socks5_connect(&mut io, proxy, &self.endpoint).await,
        };
        told.map_err(|source| Error::Connect { address: format!("proxy {}", proxy.host_and_port()), source })?;
        Ok(io)
    }
}

async fn http_connect(io: &mut Box<dyn Io>, proxy: &Endpoint, target: &str) -> io::Result<()> {
    let mut ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(userinfo) = &proxy.userinfo {
        ask.push_str(&format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(percent_decoded(userinfo))));
    }
    ask.push_str("\r\n");
    io.write_all(ask.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the empty line belongs to the server behind the proxy.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_CONNECT_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer to CONNECT is too long"));
        }
        answer.push(io.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_string();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::other(format!("the proxy refused CONNECT: {line}"))),
    }
}

/// RFC 1928, and RFC 1929 when the URL names a user. The proxy resolves the name.
async fn socks5_connect(io: &mut Box<dyn Io>, proxy: &Endpoint, target: &Endpoint) -> io::Result<()> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("socks5: {what}"));
    let (user, password) = proxy.userinfo.as_deref().map_or(("", ""), |both| both.split_once(':').unwrap_or((both, "")));
    let (user, password) = (percent_decoded(user), percent_decoded(password));
    if user.len() > 255 || password.len() > 255 || target.host.len() > 255 {
        return Err(invalid("user, password or host is longer than 255 bytes"));
    }
    io.write_all(&[5, 1, if user.is_empty() { 0 } else { 2 }]).await?;
    let mut method = [0; 2];
    io.read_exact(&mut method).await?;
    match (method, user.is_empty()) {
        ([5, 0], true) => {}
        ([5, 2], false) => {
            let mut login = vec![1, user.len() as u8];
            login.extend_from_slice(&user);
            login.push(password.len() as u8);
            login.extend_from_slice(&password);
            io.write_all(&login).await?;
            let mut verdict = [0; 2];
            io.read_exact(&mut verdict).await?;
            if verdict[1] != 0 {
                return Err(invalid("username/password authentication failed"));
            }
        }
        _ => return Err(invalid("no acceptable authentication method")),
    }
    let mut ask = vec![5, 1, 0, 3, target.host.len() as u8];
    ask.extend_from_slice(target.host.as_bytes());
    ask.extend_from_slice(&target.port.to_be_bytes());
    io.write_all(&ask).await?;
    let mut head = [0; 4];
    io.read_exact(&mut head).await?;
    if head[1] != 0 {
        return Err(invalid(&format!("the proxy refused the connection with code {}", head[1])));
    }
    let address_len = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(io.read_u8().await?),
        _ => return Err(invalid("unknown address type in the answer")),
    };
    let mut bound = vec![0; address_len + 2];
    io.read_exact(&mut bound).await?;
    Ok(())
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(server: &str, expected: &str) {
        let told = Endpoint::parse(server, false).map_or("none".to_string(), |e| {
            format!("{} {} {} {} {:?} {:?}", e.https, e.host, e.port, e.authority, e.prefix, e.userinfo.as_deref().unwrap_or("-"))
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn server_urls_are_taken_apart() {
        check("https://10.0.0.1:6443", r#"true 10.0.0.1 6443 10.0.0.1:6443 "" "-""#);
        check("https://[::1]:6443/k8s/", r#"true ::1 6443 [::1]:6443 "/k8s" "-""#);
        check("https://example.org", r#"true example.org 443 example.org "" "-""#);
        check("localhost:8080", r#"false localhost 8080 localhost:8080 "" "-""#);
        check("http://me:se%40cret@proxy:3128", r#"false proxy 3128 proxy:3128 "" "me:se%40cret""#);
        check("ftp://x", "none");
        check("https://", "none");
        assert_eq!(percent_decoded("se%40cret%"), b"se@cret%");
    }
}
