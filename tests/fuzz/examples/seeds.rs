//! Writes the committed inputs anew, all but corpus/choices, which are random bytes:
//! `RUSTFLAGS='--cfg fuzzing' cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`.

use std::path::Path;
use std::{fs, io};

use fuzz::seeds;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = [
        ("header", seeds::headers()),
        ("batch", seeds::batches()),
        ("tlvs", seeds::tlvs()),
        ("config", seeds::configs()),
        ("admin", seeds::requests()),
        ("capture", seeds::captures()),
        ("hello", seeds::hellos()),
    ];
    for (kind, seeds) in all {
        let dir = root.join("corpus").join(kind);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        seeds.iter().try_for_each(|(name, seed)| fs::write(dir.join(name), seed))?;
    }
    fs::write(root.join("config.dict"), seeds::dictionary())
}
