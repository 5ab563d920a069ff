//! What a service-account token says. Upstream: pkg/serviceaccount/claims.go.

use apimachinery::Value;
use apimachinery::value::Object;

/// An object a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    pub name: String,
    pub uid: String,
}

/// The claims of a token, in seconds since Unix' epoch where they are times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub issuer: String,
    pub audiences: Vec<String>,
    pub issued_at: i64,
    pub not_before: i64,
    pub expires_at: i64,
    /// Unique id, shown as the credential id.
    pub id: String,
    pub namespace: String,
    pub service_account: Bound,
    pub pod: Option<Bound>,
    pub secret: Option<Bound>,
    pub node: Option<Bound>,
    /// After this time a use of the token is a sign of a client that does not renew it.
    pub warn_after: Option<i64>,
}

impl Claims {
    /// `system:serviceaccount:NAMESPACE:NAME`
    pub fn subject(&self) -> String {
        format!("{}{}:{}", crate::authentication::names::SERVICE_ACCOUNT_PREFIX, self.namespace, self.service_account.name)
    }

    /// As JSON, keys in the order of Go's sorted maps.
    pub fn to_value(&self) -> Value {
        let bound = |bound: &Bound| {
            let mut object = Object::default();
            object.insert("name", bound.name.as_str());
            object.insert("uid", bound.uid.as_str());
            Value::Object(object)
        };
        let mut kubernetes = Object::default();
        kubernetes.insert("namespace", self.namespace.as_str());
        for (key, value) in [("node", &self.node), ("pod", &self.pod), ("secret", &self.secret)] {
            if let Some(value) = value {
                kubernetes.insert(key, bound(value));
            }
        }
        kubernetes.insert("serviceaccount", bound(&self.service_account));
        if let Some(at) = self.warn_after {
            kubernetes.insert("warnafter", Value::Int(at));
        }
        let mut claims = Object::default();
        claims.insert("aud", Value::Array(self.audiences.iter().map(|audience| Value::String(audience.clone())).collect()));
        claims.insert("exp", Value::Int(self.expires_at));
        claims.insert("iat", Value::Int(self.issued_at));
        claims.insert("iss", self.issuer.as_str());
        claims.insert("jti", self.id.as_str());
        claims.insert("kubernetes.io", Value::Object(kubernetes));
        claims.insert("nbf", Value::Int(self.not_before));
        claims.insert("sub", self.subject());
        Value::Object(claims)
    }

    /// Reads the claims of a bound token. `None` if it is not one.
    pub fn from_value(value: &Value) -> Option<Self> {
        let kubernetes = value.get("kubernetes.io")?;
        let bound = |key: &str| {
            let object = kubernetes.get(key)?;
            Some(Bound { name: object.str_at(&["name"])?.to_owned(), uid: object.str_at(&["uid"]).unwrap_or("").to_owned() })
        };
        let number = |key: &str| value.get(key).and_then(|v| v.as_i64().or_else(|| v.as_f64().map(|f| f as i64)));
        let audiences = match value.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Some(Self {
            issuer: value.str_at(&["iss"])?.to_owned(),
            audiences,
            issued_at: number("iat").unwrap_or(0),
            not_before: number("nbf").unwrap_or(0),
            expires_at: number("exp")?,
            id: value.str_at(&["jti"]).unwrap_or("").to_owned(),
            namespace: kubernetes.str_at(&["namespace"])?.to_owned(),
            service_account: bound("serviceaccount")?,
            pod: bound("pod"),
            secret: bound("secret"),
            node: bound("node"),
            warn_after: kubernetes.get("warnafter").and_then(Value::as_i64),
        })
    }
}
