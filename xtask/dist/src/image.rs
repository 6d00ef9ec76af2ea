//! The image: the program and its licences in one layer on nothing, for a user that is not root.
//!
//! One tar is an OCI layout and, by its `manifest.json`, what `docker load` has always taken, so that every tool reads
//! it. Health checks are no part of OCI's format; Docker reads them in the same place as of old.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::archive::{Entry, gzip, sha256, tar};
use crate::contents::{Contents, Layout};
use crate::release::Release;
use crate::target::Target;

/// What an image may take, as it is pulled.
const BYTES_MAX: usize = 6 << 20;

/// Of nobody: no image and no distribution has a user of this number.
const USER: &str = "65532:65532";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes the tar.
///
/// # Errors
/// When it is too large.
pub(crate) fn archive(
    contents: &Contents<'_>,
    target: Target,
    release: &Release,
) -> Result<Vec<u8>> {
    pack(&contents.entries(Layout::Image), target, release)
}

fn pack(files: &[Entry], target: Target, release: &Release) -> Result<Vec<u8>> {
    let layer = tar(files, "", release.epoch)?;
    let packed = gzip(&layer)?;
    if packed.len() > BYTES_MAX {
        bail!("the image has {} B, and may have {BYTES_MAX}", packed.len());
    }
    let config = serde_json::to_vec(&config(&sha256(&layer), target, release))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)],
    }))?;
    let name = format!("ppserver:{}", release.version);
    let mut listed = descriptor(MANIFEST, &manifest);
    listed["platform"] = json!({ "os": "linux", "architecture": target.image() });
    listed["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });
    let of_docker = json!([{
        "Config": blob(&config),
        "RepoTags": [name],
        "Layers": [blob(&packed)],
    }]);
    let entries = [
        Entry::new("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        Entry::new("index.json", serde_json::to_vec(&index)?),
        Entry::new("manifest.json", serde_json::to_vec(&of_docker)?),
        Entry::new(blob(&config), config),
        Entry::new(blob(&manifest), manifest),
        Entry::new(blob(&packed), packed),
    ];
    tar(&entries, "", release.epoch)
}

/// How it is run: doors for `ppserver healthcheck` on loopback, so that a root which is read-only does.
fn config(layer: &str, target: Target, release: &Release) -> Value {
    let seconds = |seconds: u64| seconds * 1_000_000_000;
    json!({
        "created": release.timestamp(),
        "os": "linux",
        "architecture": target.image(),
        "config": {
            "User": USER,
            "WorkingDir": "/",
            "Env": [
                "PATH=/usr/bin",
                "PPSERVER_CONFIG=/etc/ppserver/ppserver.toml",
                "PPSERVER_ADMIN=127.0.0.1:9464",
            ],
            "Entrypoint": ["/usr/bin/ppserver"],
            "Cmd": ["run"],
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/ppserver", "healthcheck"],
                "Interval": seconds(10),
                "Timeout": seconds(3),
                "StartPeriod": seconds(5),
                "Retries": 3,
            },
            "Labels": {
                "org.opencontainers.image.title": "ppserver",
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.revision": release.commit,
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created": release.timestamp(), "created_by": "cargo xtask dist" }],
    })
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() })
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn release() -> Release {
        Release {
            version: "0.1.0",
            revision: 1,
            commit: "abc".to_owned(),
            epoch: 86_400,
            date: String::new(),
        }
    }

    /// The files of a tar by their paths.
    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn whatever_is_named_is_there_with_the_sum_and_size_that_are_said() {
        let program = [Entry::program("usr/bin/ppserver", "a program")];
        let files = files(&pack(&program, Target::Aarch64, &release()).unwrap());
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let blob = |descriptor: &Value| -> &[u8] {
            let sum = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{sum}")];
            assert_eq!(
                (sha256(bytes).as_str(), descriptor["size"].as_u64()),
                (sum, u64::try_from(bytes.len()).ok())
            );
            bytes
        };
        let listed = &json(&files["index.json"])["manifests"][0];
        assert_eq!(listed["platform"]["architecture"], "arm64");
        let manifest = json(blob(listed));
        let config = json(blob(&manifest["config"]));
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(blob(&manifest["layers"][0])).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
        assert_eq!(self::files(&layer)["usr/bin/ppserver"], b"a program");

        let of_docker = &json(&files["manifest.json"])[0];
        for path in [&of_docker["Config"], &of_docker["Layers"][0]] {
            assert!(files.contains_key(path.as_str().unwrap()), "{path}");
        }
    }
}
