//! Texts about pod templates and selectors that tables and `scale` of all workloads show.

use api::core::v1::PodSpec;
use apimachinery::labels::Selector;
use apimachinery::meta::v1::LabelSelector;

use crate::printers::or_none;

/// The names of the containers and their images, each with commas between.
pub fn containers_and_images(spec: &PodSpec) -> (String, String) {
    let names: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
    let images: Vec<&str> = spec.containers.iter().map(|container| container.image.as_str()).collect();
    (names.join(","), images.join(","))
}

/// The selector as text; the empty text for none or a bad one.
pub fn selector_text(selector: Option<&LabelSelector>) -> String {
    selector.and_then(|selector| Selector::of(selector).ok()).map(|selector| selector.to_string()).unwrap_or_default()
}

/// As [`selector_text`], with `<none>` for nothing.
pub fn label_selector_text(selector: Option<&LabelSelector>) -> String {
    or_none(selector_text(selector))
}
