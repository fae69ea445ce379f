//! The hash of a pack's files.
//!
//! `sha256:` and the SHA-256, in lower-case hexadecimal, of this text: for each file, sorted by the bytes of its path inside the
//! pack, one line of the SHA-256 of its content in lower-case hexadecimal, two spaces, and the path. That is what `sha256sum`
//! prints of sorted files. Modes are no part of it: some sources of content do not know them. Files and folders whose name
//! begins with `.` or ends with `~` are no part of a pack.

use super::super::{FileKind, Tree};
use ring::digest::{Context, SHA256, digest};
use std::fmt::Write as _;

/// Why files have no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// There are no files.
    #[error("there is no file")]
    Nothing,
    /// Something that is no plain file, or has no plain name.
    #[error("{path}: {what}")]
    NotPlain {
        /// Path inside the pack.
        path: String,
        /// What it is.
        what: &'static str,
    },
}

/// The files of the pack in a folder (empty: the root) that its hash is made of, by their paths inside it.
pub fn hashed_files<'a>(tree: &'a Tree, folder: &str) -> impl Iterator<Item = (&'a str, &'a super::super::File)> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let first = prefix.clone();
    tree.files
        .range(first..)
        .map_while(move |(path, file)| path.strip_prefix(&prefix).map(|inside| (inside, file)))
        .filter(|(inside, _)| !hidden(inside))
}

/// Whether a path is no part of a pack: hidden, or an editor's copy.
pub(crate) fn hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.') || part.ends_with('~'))
}

/// The hash of the pack in a folder of a tree.
///
/// # Errors
/// [`HashError`]: there is nothing, or a link, a submodule, or a name with a control character or a backslash.
pub fn hash_of(tree: &Tree, folder: &str) -> Result<String, HashError> {
    let mut whole = Context::new(&SHA256);
    let mut count = 0_usize;
    // A tree is sorted by the bytes of whole paths, as its map is.
    for (path, file) in hashed_files(tree, folder) {
        let not_plain = |what| HashError::NotPlain { path: path.to_owned(), what };
        match file.kind {
            FileKind::Symlink => return Err(not_plain("a symbolic link")),
            FileKind::Submodule => return Err(not_plain("a submodule")),
            FileKind::Special => return Err(not_plain("a named pipe, socket or device")),
            FileKind::Regular | FileKind::Executable => {}
        }
        if path.chars().any(|c| c.is_control() || c == '\\') {
            return Err(not_plain("its name holds a control character or a backslash"));
        }
        whole.update(format!("{}  {path}\n", hexadecimal(digest(&SHA256, &file.bytes).as_ref())).as_bytes());
        count += 1;
    }
    if count == 0 {
        return Err(HashError::Nothing);
    }
    Ok(format!("sha256:{}", hexadecimal(whole.finish().as_ref())))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::File;
    use std::sync::Arc;

    #[test]
    fn the_hash_is_that_of_what_sha256sum_prints_of_the_sorted_files() {
        // printf a > x; printf bb > y/z; sha256sum x y/z | sha256sum
        let tree = Tree::from_texts([
            ("p/x", "a"),
            ("p/y/z", "bb"),
            ("p/.hidden", "no"),
            ("p/old~/x", "no"),
            ("p2/x", "no"),
            ("p", "no"),
        ]);
        let expected = "sha256:9d2f5577ea8048b9bedb5ee3ec8ed7601e13d7a0d21954b09ce5140d758a9487";
        assert_eq!(hash_of(&tree, "p").as_deref(), Ok(expected));
        assert_eq!(hash_of(&Tree::from_texts([("x", "a"), ("y/z", "bb")]), "").as_deref(), Ok(expected));
        assert_eq!(hash_of(&tree, "q"), Err(HashError::Nothing));
    }

    #[test]
    fn links_submodules_and_names_that_could_forge_a_line_have_no_hash() {
        for (path, kind) in [
            ("p/x", FileKind::Symlink),
            ("p/x", FileKind::Submodule),
            ("p/x", FileKind::Special),
            ("p/x\ny", FileKind::Regular),
            ("p/x\\", FileKind::Regular),
        ] {
            let mut tree = Tree::from_texts([("p/a", "a")]);
            tree.files.insert(path.to_owned(), File { bytes: Arc::from([].as_slice()), kind, blob: None });
            assert!(matches!(hash_of(&tree, "p"), Err(HashError::NotPlain { .. })), "{path:?}");
        }
    }
}
