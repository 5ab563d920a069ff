//! One exchange with the server, without anything a client library would add to it.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, Method, StatusCode};
use apimachinery::Value;
use bytes::Bytes;
use client::{Client, Request, RequestBody};

/// Longest an answer may take; above the longest watch of the tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it goes over the wire.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub method: String,
    /// Escaped already.
    pub path: String,
    /// Escaped when it is sent.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        Value::parse(&self.body).unwrap_or_default()
    }
}

impl Call {
    /// Sends it. Errors are those of the connection; an answer is an answer whatever its status.
    pub async fn send(&self, client: &Client) -> Result<Answer, String> {
        let method: Method = self.method.parse().map_err(|_| format!("{} is no method", self.method))?;
        // A stream is sent once: nobody may repeat a request because of a Retry-After.
        let mut request =
            Request::new(method, self.path.clone()).timeout(PATIENCE).body_stream(RequestBody::from(Bytes::from(self.body.clone())));
        for (name, value) in &self.query {
            request = request.query(name, value.clone());
        }
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("{name} is no header"))?;
            request = request.header(name, value);
        }
        let response = client.send_raw(request).await.map_err(|error| error.to_string())?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = response.bytes().await.map_err(|error| error.to_string())?;
        Ok(Answer { status, headers, body })
    }
}
