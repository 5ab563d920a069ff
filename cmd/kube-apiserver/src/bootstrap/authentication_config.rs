//! ConfigMap `extension-apiserver-authentication` in kube-system: how aggregated servers authenticate this one's proxy and its users.
//! Upstream: pkg/controlplane/controller/clusterauthenticationtrust.

use std::path::Path;
use std::sync::Arc;

use api::core::v1::ConfigMap;
use apimachinery::{Object, Value};
use apiserver::objects::Objects;
use apiserver::server::Server;
use component_base::http::BoxError;

use super::ensure;
use crate::Config;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

pub(super) async fn publish(server: Arc<Server>, config: Config) -> Result<(), BoxError> {
    let entries = entries(&config)?;
    let objects = server.objects();
    if objects.get("", "configmaps", NAMESPACE, NAME).await?.is_none() {
        let mut map = ConfigMap::default();
        NAME.clone_into(&mut map.metadata.name);
        NAMESPACE.clone_into(&mut map.metadata.namespace);
        map.data = entries.clone().into_iter().collect();
        ensure(objects.as_ref(), Box::new(map)).await?;
    }
    objects
        .update("", "configmaps", NAMESPACE, NAME, &|current| {
            let mut map = current.downcast_ref::<ConfigMap>().cloned().unwrap_or_default();
            let mut changed = false;
            for (key, value) in &entries {
                changed |= map.data.get(key) != Some(value);
                map.data.insert(key.clone(), value.clone());
            }
            Ok(changed.then(|| Box::new(map) as Box<dyn Object>))
        })
        .await?;
    Ok(())
}

fn entries(config: &Config) -> Result<Vec<(String, String)>, BoxError> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let list = |texts: &[String]| texts.iter().map(|text| Value::from(text.as_str())).collect::<Value>().to_string();
    let mut entries = Vec::new();
    if let Some(path) = &config.client_ca_file {
        entries.push(("client-ca-file".to_owned(), read(path)?));
    }
    if let Some(headers) = &config.request_header {
        entries.push(("requestheader-client-ca-file".to_owned(), read(&headers.client_ca_file)?));
        for (key, texts) in [
            ("requestheader-allowed-names", &headers.allowed_names),
            ("requestheader-extra-headers-prefix", &headers.extra_prefixes),
            ("requestheader-group-headers", &headers.group_headers),
            ("requestheader-uid-headers", &headers.uid_headers),
            ("requestheader-username-headers", &headers.username_headers),
        ] {
            entries.push((key.to_owned(), list(texts)));
        }
    }
    Ok(entries)
}
