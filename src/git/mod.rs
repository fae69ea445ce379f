//! Where revisions come from: a bare repository or a plain directory, watched.
