//! One HTTP GET as probes and hooks make it: a new connection, no certificate check, redirects within the host.

use crate::lifecycle::resolve_port;
use api::core::v1::{Container, HTTPGetAction};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// More of an answer is not looked at.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub https: bool,
    /// Where to connect.
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Request {
    fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    pub fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// What an action asks for, with the pod's address where it names no host.
pub fn request(action: &HTTPGetAction, container: Option<&Container>, pod_ip: &str, agent: &str) -> Result<Request, String> {
    let port = resolve_port(&action.port, container)?;
    let host = if action.host.is_empty() { pod_ip } else { &action.host };
    if host.is_empty() {
        return Err("the pod has no address yet".to_owned());
    }
    let path = if action.path.starts_with('/') { action.path.clone() } else { format!("/{}", action.path) };
    let mut headers: Vec<(String, String)> = action
        .http_headers
        .iter()
        .map(|header| (header.name.clone(), header.value.clone()))
        .filter(|(_, value)| !value.contains(['\r', '\n']))
        .collect();
    let has = |headers: &[(String, String)], name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !has(&headers, "user-agent") {
        headers.push(("User-Agent".into(), format!("{agent}/1.36")));
    }
    if !has(&headers, "accept") {
        headers.push(("Accept".into(), "*/*".into()));
    }
    // An empty value takes a default header away.
    headers.retain(|(_, value)| !value.is_empty());
    Ok(Request { https: action.scheme.eq_ignore_ascii_case("https"), host: host.to_owned(), port, path, headers })
}

/// Errors read as upstream's do: `Get "URL": cause`.
pub async fn get(request: &Request, timeout: Duration) -> Result<Answer, String> {
    let url = request.url();
    match tokio::time::timeout(timeout, follow(request.clone())).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(err)) => Err(format!("Get \"{url}\": {err}")),
        Err(_) => Err(format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
    }
}

async fn follow(mut request: Request) -> Result<Answer, String> {
    for _ in 0..MAX_REDIRECTS {
        let (answer, location) = once(&request).await?;
        match location {
            Some(location) if (300..400).contains(&answer.status) => match redirect(&request, &location) {
                Some(next) => request = next,
                // To another host: that this one answers is enough.
                None => return Ok(answer),
            },
            _ => return Ok(answer),
        }
    }
    Err("stopped after 10 redirects".to_owned())
}

fn redirect(request: &Request, location: &str) -> Option<Request> {
    let mut next = request.clone();
    if location.starts_with('/') && !location.starts_with("//") {
        next.path = location.to_owned();
        return Some(next);
    }
    let uri: hyper::Uri = location.parse().ok()?;
    if uri.host()?.trim_matches(['[', ']']) != request.host {
        return None;
    }
    next.https = uri.scheme_str() == Some("https");
    next.port = uri.port_u16().unwrap_or(if next.https { 443 } else { 80 });
    next.path = uri.path_and_query().map_or_else(|| "/".to_owned(), |path| path.to_string());
    Some(next)
}

async fn once(request: &Request) -> Result<(Answer, Option<String>), String> {
    let address = request.authority();
    let stream = TcpStream::connect(&address).await.map_err(|err| format!("dial tcp {address}: {}", connect_error(&err)))?;
    let _ = stream.set_nodelay(true);
    if !request.https {
        return exchange(stream, request).await;
    }
    let name = rustls::pki_types::ServerName::try_from(request.host.clone()).map_err(|err| err.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(any_certificate()));
    let stream = connector.connect(name, stream).await.map_err(|err| err.to_string())?;
    exchange(stream, request).await
}

fn connect_error(err: &std::io::Error) -> String {
    match err.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => err.to_string(),
    }
}

async fn exchange<S>(stream: S, request: &Request) -> Result<(Answer, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|err| err.to_string())?;
    let exchange = async {
        let mut builder = hyper::Request::get(&request.path);
        let mut host = request.authority();
        for (name, value) in &request.headers {
            if name.eq_ignore_ascii_case("host") {
                host = value.clone();
            } else {
                builder = builder.header(name, value);
            }
        }
        let message = builder.header("Host", host).header("Connection", "close").body(Empty::new()).map_err(|err| err.to_string())?;
        let answer = sender
            .send_request(message)
            .await
            .map_err(|err| if err.is_incomplete_message() { "EOF".to_owned() } else { err.to_string() })?;
        let status = answer.status().as_u16();
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        // A body that is too long or breaks off says nothing about the health the status has told.
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((Answer { status, body: String::from_utf8_lossy(&body).into_owned() }, location))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    // Both arms are cancel-safe: the connection only moves bytes for the exchange, which ends everything.
    tokio::select! {
        result = &mut exchange => result,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(err) => Err(err.to_string()),
        },
    }
}

/// Probes ask whether a server answers, not who it is.
fn any_certificate() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn serve(answers: Vec<&'static str>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.unwrap();
                let asked = String::from_utf8_lossy(&buffer[..count]).into_owned();
                stream.write_all(answer.replace("{asked}", asked.lines().next().unwrap_or_default()).as_bytes()).await.unwrap();
            }
        });
        port
    }

    fn at(port: u16, path: &str) -> Request {
        let action = HTTPGetAction { path: path.into(), port: apimachinery::IntOrString::Int(port.into()), ..Default::default() };
        request(&action, None, "127.0.0.1", "kube-probe").unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn answers_and_redirects() {
        let port = serve(vec![
            "HTTP/1.1 302 Found\r\nLocation: /there?x=1\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        ])
        .await;
        assert_eq!(get(&at(port, "here"), LIMIT).await, Ok(Answer { status: 503, body: "busy".into() }));
        let port = serve(vec!["HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"]).await;
        assert_eq!(get(&at(port, "/"), LIMIT).await.unwrap().status, 301);
    }

    #[tokio::test]
    async fn errors_read_as_upstreams() {
        let port = serve(vec![]).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap().port();
        drop(listener);
        let err = get(&at(closed, "/x"), LIMIT).await.unwrap_err();
        assert_eq!(err, format!("Get \"http://127.0.0.1:{closed}/x\": dial tcp 127.0.0.1:{closed}: connect: connection refused"));
        let _ = port;
    }

    #[test]
    fn default_headers_can_be_replaced_and_removed() {
        let header = |name: &str, value: &str| api::core::v1::HTTPHeader { name: name.into(), value: value.into() };
        let mut action = HTTPGetAction { port: apimachinery::IntOrString::Int(80), ..Default::default() };
        assert_eq!(request(&action, None, "::1", "kube-probe").unwrap().url(), "http://[::1]:80/");
        action.http_headers = vec![header("user-agent", "me"), header("Accept", "")].into();
        let made = request(&action, None, "::1", "kube-probe").unwrap();
        assert_eq!(made.headers, [("user-agent".to_owned(), "me".to_owned())]);
    }
}
