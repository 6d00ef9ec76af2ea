//! The crates that are linked into the program, as cargo resolves them for a target.
//!
//! Not those that only build it: procedural macros and build scripts are no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tools::cargo::cargo;

use crate::target::Target;

/// A name and a version.
pub(crate) type Id = (String, String);

#[derive(Clone, Debug)]
pub(crate) struct Crate {
    pub(crate) id: Id,
    /// An SPDX expression.
    pub(crate) licence: String,
    /// Where its files are.
    pub(crate) dir: PathBuf,
    /// Its archive in the registry; none for those of this workspace.
    pub(crate) sha256: Option<String>,
    /// Those of the program that it stands on.
    pub(crate) needs: BTreeSet<Id>,
}

impl Crate {
    /// A crate of this workspace.
    pub(crate) fn is_own(&self) -> bool {
        self.sha256.is_none()
    }

    /// Its package URL.
    pub(crate) fn purl(&self) -> String {
        let (name, version) = &self.id;
        format!("pkg:cargo/{name}@{version}")
    }
}

/// All of them, the program itself among them, by name and version.
#[derive(Debug)]
pub(crate) struct Crates(pub(crate) BTreeMap<Id, Crate>);

impl Crates {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo fails, or says something else than expected.
    pub(crate) fn of(target: Target) -> Result<Self> {
        let triple = target.triple();
        // Features are those of this package alone, which `cargo metadata` does not tell.
        let tree = ["tree", "--locked", "--package", "ppserver", "--target", triple];
        let words = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
        let linked = output(&[&tree[..], &words[..]].concat())?;
        let linked: BTreeSet<Id> = linked.lines().filter_map(read_id).collect();

        let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform", triple];
        let metadata: Value = serde_json::from_str(&output(&words)?)?;
        let lock: toml::Table = std::fs::read_to_string("Cargo.lock")?.parse()?;
        Self::join(&linked, &metadata, &checksums(&lock))
    }

    fn join(linked: &BTreeSet<Id>, metadata: &Value, sums: &BTreeMap<Id, String>) -> Result<Self> {
        let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
            .filter_map(|package| Some((package["id"].as_str()?, package)))
            .collect();
        let id_of = |package: &str| packages.get(package).and_then(|package| id(package));
        let mut needs: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let below = list(&node["deps"]).filter_map(|dep| id_of(dep["pkg"].as_str()?));
            let below = below.filter(|id| linked.contains(id)).collect();
            needs.extend(node["id"].as_str().and_then(id_of).map(|id| (id, below)));
        }
        let mut crates = BTreeMap::new();
        for package in packages.values() {
            let Some(id) = id(package).filter(|id| linked.contains(id)) else { continue };
            let text = |key: &str| {
                let text = package[key].as_str();
                text.with_context(|| format!("{} {} says no {key}", id.0, id.1))
            };
            let manifest = Path::new(text("manifest_path")?);
            let one = Crate {
                // Older manifests have `/` for OR.
                licence: text("license")?.replace(" / ", "/").replace('/', " OR "),
                dir: manifest.parent().unwrap_or(manifest).to_owned(),
                sha256: sums.get(&id).cloned(),
                needs: needs.remove(&id).unwrap_or_default(),
                id: id.clone(),
            };
            crates.insert(id, one);
        }
        if crates.len() != linked.len() {
            bail!("cargo tree has {} crates, and cargo metadata {}", linked.len(), crates.len());
        }
        Ok(Self(crates))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn id(package: &Value) -> Option<Id> {
    Some((package["name"].as_str()?.to_owned(), package["version"].as_str()?.to_owned()))
}

/// `clap v4.5.0`, and what may stand behind it.
fn read_id(line: &str) -> Option<Id> {
    let mut words = line.split(' ');
    Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
}

fn checksums(lock: &toml::Table) -> BTreeMap<Id, String> {
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let read = |package: &toml::Value| {
        let text = |key| package.get(key)?.as_str().map(str::to_owned);
        Some(((text("name")?, text("version")?), text("checksum")?))
    };
    packages.into_iter().flatten().filter_map(read).collect()
}

fn output(words: &[&str]) -> Result<String> {
    let output = cargo().args(words).output().context("cargo does not start")?;
    if !output.status.success() {
        bail!("cargo {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Id {
        (name.to_owned(), "1.0.0".to_owned())
    }

    #[test]
    fn what_is_linked_is_joined_with_what_its_manifests_and_the_lock_say() {
        let package = |name: &str| {
            serde_json::json!({
                "id": name, "name": name, "version": "1.0.0",
                "license": "MIT/Apache-2.0", "manifest_path": format!("/x/{name}/Cargo.toml"),
            })
        };
        let metadata = serde_json::json!({
            "packages": [package("a"), package("b"), package("macro")],
            "resolve": { "nodes": [{ "id": "a", "deps": [{ "pkg": "b" }, { "pkg": "macro" }] }] },
        });
        let lock = "[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"beef\"\n\
                    [[package]]\nname = \"a\"\nversion = \"1.0.0\"\n";
        let sums = checksums(&lock.parse().unwrap());
        let linked = "a v1.0.0 (/x/a)\nb v1.0.0\nb v1.0.0 (*)\n";
        let linked: BTreeSet<Id> = linked.lines().filter_map(read_id).collect();

        let Crates(crates) = Crates::join(&linked, &metadata, &sums).unwrap();
        let [a, b] = ["a", "b"].map(|name| &crates[&named(name)]);
        assert_eq!(crates.len(), 2);
        assert_eq!(a.needs, BTreeSet::from([named("b")]));
        assert!(a.is_own() && b.sha256.as_deref() == Some("beef"));
        assert_eq!((b.licence.as_str(), b.dir.as_path()), ("MIT OR Apache-2.0", Path::new("/x/b")));
        assert_eq!(b.purl(), "pkg:cargo/b@1.0.0");
    }

    #[test]
    fn a_crate_that_metadata_does_not_know_is_an_error() {
        let metadata = serde_json::json!({ "packages": [], "resolve": { "nodes": [] } });
        let linked = BTreeSet::from([named("a")]);
        assert!(Crates::join(&linked, &metadata, &BTreeMap::new()).is_err());
    }
}
