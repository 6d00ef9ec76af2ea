//! The list of what is in the program, as CycloneDX 1.5: each crate with version, licence, sum and needs.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::crates::{Crate, Crates};
use crate::release::Release;

/// Writes it.
///
/// # Errors
/// When the program is not among its crates.
pub(crate) fn document(crates: &Crates, release: &Release) -> Result<Vec<u8>> {
    let program = ("ppserver".to_owned(), release.version.to_owned());
    let program = crates.0.get(&program).context("ppserver is not among its own crates")?;
    let others = crates.0.values().filter(|one| one.id != program.id);
    let needs = |one: &Crate| -> Vec<String> {
        one.needs.iter().filter_map(|id| crates.0.get(id)).map(Crate::purl).collect()
    };
    let dependencies = crates.0.values();
    let dependencies =
        dependencies.map(|one| json!({ "ref": one.purl(), "dependsOn": needs(one) }));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": release.timestamp(),
            "component": component(program, "application"),
            "properties": [{ "name": "commit", "value": release.commit }],
        },
        "components": others.map(|one| component(one, "library")).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

fn component(one: &Crate, kind: &str) -> Value {
    let (name, version) = &one.id;
    let mut component = json!({
        "type": kind,
        "bom-ref": one.purl(),
        "name": name,
        "version": version,
        "purl": one.purl(),
        "licenses": [{ "expression": one.licence }],
    });
    if let Some(sum) = &one.sha256 {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_program_is_what_the_list_is_of_and_its_crates_are_in_it_with_their_sums() {
        let id = |name: &str| (name.to_owned(), "0.1.0".to_owned());
        let one = |name: &str, sha256: Option<&str>, needs: &[&str]| Crate {
            id: id(name),
            licence: "MIT".to_owned(),
            dir: "/x".into(),
            sha256: sha256.map(str::to_owned),
            needs: needs.iter().map(|name| id(name)).collect::<BTreeSet<_>>(),
        };
        let crates = [one("ppserver", None, &["slab"]), one("slab", Some("beef"), &[])];
        let crates = Crates(crates.map(|one| (one.id.clone(), one)).into_iter().collect());
        let release = Release {
            version: "0.1.0",
            revision: 1,
            commit: "abc".to_owned(),
            epoch: 86_400,
            date: String::new(),
        };
        let text = document(&crates, &release).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["metadata"]["timestamp"], "1970-01-02T00:00:00Z");
        assert_eq!(document["metadata"]["component"]["name"], "ppserver");
        assert_eq!(document["components"][0]["hashes"][0]["content"], "beef");
        assert_eq!(document["components"].as_array().unwrap().len(), 1);
        assert_eq!(document["dependencies"][0]["dependsOn"][0], "pkg:cargo/slab@0.1.0");

        assert!(self::document(&Crates(BTreeMap::new()), &release).is_err());
    }
}
