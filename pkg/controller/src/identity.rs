//! As whom controllers write: all as the program, or each as a service account of its own.
//!
//! Upstream: `ControllerClientBuilder` of component-helpers/.../clientbuilder.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::authentication::v1::TokenRequest;
use api::core::v1::ServiceAccount;
use client::{Api, Client, ConfigError, TokenError, TokenSource, default_user_agent};
use component_base::clock::Clock;
use parking_lot::Mutex;

/// Where the accounts of controllers live.
const NAMESPACE: &str = "kube-system";
/// How long a token is asked to be good for; upstream's number.
const EXPIRATION_SECONDS: i64 = 3600;
/// A token is renewed once this much of its life is over, so that a slow API server does not find it expired.
const RENEW_AFTER: f64 = 0.75;

/// Makes clients for controllers.
#[derive(Clone, Debug)]
pub struct Identities {
    qps: f32,
    burst: u32,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Shared(Client),
    PerController {
        /// Has the right to make accounts and tokens.
        root: Client,
        /// Without any credentials; all controllers' tokens go over its connections.
        bare: Client,
        clock: Arc<dyn Clock>,
    },
}

impl Identities {
    /// All controllers write as the program itself.
    pub fn shared(root: Client, qps: f32, burst: u32) -> Identities {
        Identities { qps, burst, kind: Kind::Shared(root) }
    }

    /// Each controller writes as the service account of its name: `--use-service-account-credentials`.
    pub fn per_controller(root: Client, bare: Client, clock: Arc<dyn Clock>, qps: f32, burst: u32) -> Identities {
        Identities { qps, burst, kind: Kind::PerController { root, bare, clock } }
    }

    /// A client for the controller whose account this is.
    pub fn client(&self, account: &str) -> Result<Client, ConfigError> {
        self.client_with_rate(account, 1.0, 1)
    }

    /// As [`client`](Self::client), with the rate limit raised by these factors.
    pub fn client_with_rate(&self, account: &str, qps_factor: f32, burst_factor: u32) -> Result<Client, ConfigError> {
        let (qps, burst) = (self.qps * qps_factor, self.burst.saturating_mul(burst_factor));
        let agent = format!("{}/system:serviceaccount:{NAMESPACE}:{account}", default_user_agent("kube-controller-manager"));
        match &self.kind {
            Kind::Shared(client) => client.with_user_agent(&agent, qps, burst),
            Kind::PerController { root, bare, clock } => {
                let tokens = AccountTokens {
                    root: root.clone(),
                    account: account.to_string(),
                    clock: clock.clone(),
                    refused: Mutex::new(false),
                    last: tokio::sync::Mutex::new(None),
                };
                bare.with_tokens(Arc::new(tokens)).with_user_agent(&agent, qps, burst)
            }
        }
    }
}

/// Tokens of one service account, asked for when needed and renewed in time.
#[derive(Debug)]
struct AccountTokens {
    root: Client,
    account: String,
    clock: Arc<dyn Clock>,
    /// The server did not like the last token: the account may have been made anew.
    refused: Mutex<bool>,
    /// Held while a token is asked for, so that one request serves all who wait.
    last: tokio::sync::Mutex<Option<Token>>,
}

#[derive(Debug)]
struct Token {
    text: String,
    renew_at: std::time::Instant,
}

impl TokenSource for AccountTokens {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send + '_>> {
        Box::pin(async move {
            let mut last = self.last.lock().await;
            let refused = std::mem::take(&mut *self.refused.lock());
            if let Some(token) = &*last
                && !refused
                && self.clock.instant() < token.renew_at
            {
                return Ok(token.text.clone());
            }
            let token = self.ask().await?;
            let text = token.text.clone();
            *last = Some(token);
            Ok(text)
        })
    }

    fn refused(&self) {
        *self.refused.lock() = true;
    }
}

impl AccountTokens {
    async fn ask(&self) -> Result<Token, client::Error> {
        let accounts = Api::<ServiceAccount>::namespaced(&self.root, NAMESPACE);
        let mut request = TokenRequest::default();
        request.spec.expiration_seconds = Some(EXPIRATION_SECONDS);
        let asked_at = self.clock.instant();
        let answer: TokenRequest = match accounts.create_subresource(&self.account, "token", &request).await {
            Err(err) if err.is_not_found() => {
                self.make_account(&accounts).await?;
                accounts.create_subresource(&self.account, "token", &request).await?
            }
            other => other?,
        };
        let life = answer.status.expiration_timestamp.seconds_since(self.clock.now().into());
        let life = Duration::from_secs(u64::try_from(life).unwrap_or(0));
        Ok(Token { text: answer.status.token, renew_at: asked_at + life.mul_f64(RENEW_AFTER) })
    }

    async fn make_account(&self, accounts: &Api<ServiceAccount>) -> Result<(), client::Error> {
        let mut account = ServiceAccount::default();
        account.metadata.name = self.account.clone();
        account.metadata.namespace = NAMESPACE.into();
        match accounts.create(&account).await {
            Err(err) if err.is_already_exists() => Ok(()),
            // Right after the first start nobody has made the namespace yet.
            Err(err) if err.is_not_found() => {
                let mut namespace = api::core::v1::Namespace::default();
                namespace.metadata.name = NAMESPACE.into();
                match Api::all(&self.root).create(&namespace).await {
                    Err(err) if !err.is_already_exists() => return Err(err),
                    _ => {}
                }
                accounts.create(&account).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use client::testing::{Answer, Seen, Server};
    use component_base::clock::TestClock;

    use super::*;

    #[tokio::test]
    async fn an_account_is_made_once_and_its_token_used_until_it_ages_or_is_refused() {
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let known = AtomicBool::new(false);
        let server = Server::start(move |seen: &Seen| match seen.line().as_str() {
            "POST /api/v1/namespaces/kube-system/serviceaccounts/job-controller/token" if !known.load(Ordering::SeqCst) => {
                Answer::failure(404, "NotFound", "no such account")
            }
            "POST /api/v1/namespaces/kube-system/serviceaccounts/job-controller/token" => Answer::json(
                201,
                r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","status":{"token":"secret","expirationTimestamp":"1970-01-12T14:46:40Z"}}"#,
            ),
            "POST /api/v1/namespaces/kube-system/serviceaccounts" => {
                known.store(true, Ordering::SeqCst);
                Answer::json(201, seen.body.clone())
            }
            "GET /api/v1/namespaces/kube-system/serviceaccounts/x" => match seen.header("authorization") {
                "Bearer secret" => Answer::ok(r#"{"kind":"ServiceAccount","apiVersion":"v1"}"#),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        })
        .await;
        let root = Client::new(&server.config()).unwrap();
        let clock = TestClock::at(now);
        let identities = Identities::per_controller(root.clone(), root, Arc::new(clock.clone()), -1.0, 0);
        let client = identities.client("job-controller").unwrap();
        let api = Api::<ServiceAccount>::namespaced(&client, NAMESPACE);
        let ask = || async { api.get("x").await.unwrap() };
        let asked = || server.lines().iter().filter(|line| line.ends_with("/token")).count();
        ask().await;
        ask().await;
        // One that found no account, one that worked.
        assert_eq!(asked(), 2);
        clock.advance(Duration::from_secs(2701));
        ask().await;
        assert_eq!(asked(), 3);
        let agent = server.seen().last().unwrap().header("user-agent").to_string();
        assert!(
            agent.starts_with("kube-controller-manager/v1") && agent.ends_with("/system:serviceaccount:kube-system:job-controller"),
            "{agent}"
        );
    }
}
