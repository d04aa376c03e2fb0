//! What somebody hands in: YAML documents, one after another. Knows their form, not their meaning.

use serde_json::Value;
use thiserror::Error;

/// One object and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// File and, if there are several, the number of the document in it.
    pub source: String,
    /// The object.
    pub object: Value,
}

/// A text that is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{source_name}: {problem}")]
pub struct NoManifest {
    source_name: String,
    problem: String,
}

impl Document {
    /// `kind`, empty without one.
    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// API group without the version; empty for the core.
    pub fn group(&self) -> &str {
        let version = self.object["apiVersion"].as_str().unwrap_or_default();
        version.split_once('/').map_or("", |(group, _)| group)
    }

    /// `metadata.name`, empty without one.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `Kind/name`, as people write it.
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind(), self.name())
    }

    /// A Prometheus rule file: no object of Kubernetes, but groups of rules.
    pub fn is_rule_file(&self) -> bool {
        self.kind().is_empty() && self.object["groups"].is_array()
    }
}

/// Reads a text with any number of documents; lists are taken apart, empty documents left out. `source` is the file's name.
///
/// # Errors
/// The text is no YAML, or a document is neither an object of Kubernetes nor a file of recording rules.
pub fn documents(source: &str, text: &str) -> Result<Vec<Document>, NoManifest> {
    let fail = |source_name: String, problem: String| NoManifest { source_name, problem };
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|e| fail(source.to_owned(), format!("this is no YAML: {e}")))?;
    let several = values.len() > 1;
    let mut out = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let source = if several {
            format!("{source} (document {})", index + 1)
        } else {
            source.to_owned()
        };
        if value.is_null() {
            continue;
        }
        let items = match value["kind"].as_str() {
            Some(kind) if kind.ends_with("List") && value["items"].is_array() => {
                value["items"].as_array().cloned().unwrap_or_default()
            }
            _ => vec![value],
        };
        for object in items {
            let document = Document {
                source: source.clone(),
                object,
            };
            let is_object = !document.kind().is_empty() && document.object["apiVersion"].is_string();
            if !is_object && !document.is_rule_file() {
                return Err(fail(
                    source,
                    "this is neither an object of Kubernetes (it has no apiVersion and kind) nor a file of recording rules \
                     (it has no groups)"
                        .to_owned(),
                ));
            }
            out.push(document);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_lists_and_rule_files_are_told_apart() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n---\n---\ngroups: []\n";
        let read = documents("all.yaml", text).expect("it is YAML");
        let titles: Vec<_> = read.iter().map(|d| (d.title(), d.is_rule_file())).collect();
        assert_eq!(titles, [("Service/a".to_owned(), false), ("/".to_owned(), true)]);
        assert_eq!(read[0].source, "all.yaml (document 1)");
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_file() {
        for (text, part) in [
            ("a: [", "no YAML"),
            ("a: 1", "neither an object"),
            ("just text", "neither an object"),
        ] {
            let error = documents("x.yaml", text).expect_err(text).to_string();
            assert!(error.starts_with("x.yaml") && error.contains(part), "{error}");
        }
    }
}
