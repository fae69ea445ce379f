//! Embeds the packs of `content-packs/` into the program: writes a table of their files for `catalog::builtin_packs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=content-packs");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("content-packs");
    let mut files = Vec::new();
    if root.is_dir() {
        collect(&root, "", &mut files)?;
    }
    files.sort();
    // Each row: pack, path inside the pack, bytes.
    let mut table = String::from("&[\n");
    for (path, absolute) in &files {
        if let Some((pack, inside)) = path.split_once('/') {
            let _ = writeln!(table, "    ({pack:?}, {inside:?}, include_bytes!({absolute:?})),");
        }
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("builtin_packs.rs");
    fs::write(out, table)
}

/// All files below `folder`, hidden ones left out, as (path from the root, absolute path).
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        // A link is not followed here either: packs are read the same from the program and from a repository.
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else if entry.file_type()?.is_file() {
            files.push((path, entry.path()));
        }
    }
    Ok(())
}
