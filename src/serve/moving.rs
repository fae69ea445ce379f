//! A site's store moves out of where it is kept, and into another place.
//!
//! At most one store of a state directory serves: what its files and `store-elsewhere` say is looked at before anything is made.

use super::keeping::Keeping;
use super::site::{SiteError, StateDirectory};
#[cfg(feature = "kubernetes")]
use crate::store::kubernetes::{client, moving as kubernetes};
use crate::store::moving::{Exported, Header, Imported, MoveFile, Whose};
use crate::store::{StoreError, Watch, embedded};
use std::path::Path;

/// Marks the site's store as moved, and writes it to the new file `to`.
///
/// # Errors
/// [`SiteError`]: there is no store or no keys, a server has it, or the file cannot be written.
pub fn export(keeping: &Keeping, state: &StateDirectory, to: &Path, watch: &dyn Watch) -> Result<Exported, SiteError> {
    let authority = authority(state)?;
    let from = keeping.elsewhere();
    let whose = Whose { authority: &authority, from: from.as_deref() };
    if let (Keeping::Embedded, Some(elsewhere), false) = (keeping, state.store_elsewhere(), embedded::exists(&state.0))
    {
        return Err(refused(format!(
            "the store of the site in {} is no file here: it lies in {elsewhere}; say so with --store kubernetes and \
             --store-namespace",
            state.0.display()
        )));
    }
    Ok(match keeping {
        Keeping::Embedded => embedded::export(&state.0, whose, to, watch)?,
        #[cfg(feature = "kubernetes")]
        Keeping::Kubernetes { config, namespace, .. } => {
            let connect = || client::connect(kube::Config::clone(config), namespace.clone());
            let now_ms = keeping.clock().now_ms();
            let seen = super::keeping::store_seen(&state.0);
            let place = kubernetes::Place { connect: &connect, authority: &authority, now_ms, seen: Some(&seen) };
            kubernetes::export(&place, whose, to, watch)?
        }
    })
}

/// Makes the store of a file that was read whole, or puts back the one that it was written of; and remembers where it is.
///
/// # Errors
/// [`SiteError`]: the keys are another site's, the site has a store, or none can be made.
pub fn import(
    keeping: &Keeping,
    state: &StateDirectory,
    file: &MoveFile,
    watch: &dyn Watch,
) -> Result<Imported, SiteError> {
    let authority = authority(state)?;
    is_of_own_authority(&file.header, &authority, state)?;
    is_not_elsewhere(&file.header, state, keeping.elsewhere())?;
    #[cfg(feature = "kubernetes")]
    kubernetes::is_not_older(file, &super::keeping::store_seen(&state.0))?;
    let imported = match keeping {
        Keeping::Embedded => {
            let imported = embedded::import(file, &state.0, watch)?;
            state.forget_store_elsewhere()?;
            imported
        }
        #[cfg(feature = "kubernetes")]
        Keeping::Kubernetes { config, namespace, .. } => {
            is_not_here(state)?;
            let connect = || client::connect(kube::Config::clone(config), namespace.clone());
            let now_ms = keeping.clock().now_ms();
            let seen = super::keeping::store_seen(&state.0);
            let place = kubernetes::Place { connect: &connect, authority: &authority, now_ms, seen: Some(&seen) };
            kubernetes::import(file, &place, watch)?
        }
    };
    state.remember_store(keeping)?;
    Ok(imported)
}

fn authority(state: &StateDirectory) -> Result<String, SiteError> {
    let keys = state.keys().map_err(|error| match error {
        SiteError::Missing { path, .. } | SiteError::NoKeys { path } => {
            let path = path.display();
            let text = format!("{path} holds no keys of a site; bring along that of the site, all but store.redb");
            StoreError::Path(text).into()
        }
        other => other,
    })?;
    Ok(crate::identity::ca_fingerprint(keys.authority_certificate())?)
}

fn is_of_own_authority(header: &Header, authority: &str, state: &StateDirectory) -> Result<(), SiteError> {
    if header.authority == authority {
        return Ok(());
    }
    Err(refused(format!(
        "the file is of site {} with the authority SHA-256 {}, and the keys in {} are those of another, {authority}; give \
         --state-dir the directory with the keys of that site",
        header.site,
        header.authority,
        state.0.display()
    )))
}

/// A site whose store moved on to another place than the file is from would have two.
fn is_not_elsewhere(header: &Header, state: &StateDirectory, to: Option<String>) -> Result<(), SiteError> {
    match state.store_elsewhere() {
        Some(elsewhere) if header.from.as_ref() != Some(&elsewhere) && to.as_ref() != Some(&elsewhere) => {
            Err(refused(format!(
                "the store of the site in {} lies in {elsewhere}, and this file was not written of that one: export it. Where it \
                 was given up, remove {} first",
                state.0.display(),
                state.elsewhere_file().display()
            )))
        }
        _ => Ok(()),
    }
}

/// A store that goes elsewhere leaves none here that serves.
#[cfg(feature = "kubernetes")]
fn is_not_here(state: &StateDirectory) -> Result<(), SiteError> {
    if !embedded::exists(&state.0) || embedded::moved(&state.0)?.is_some() {
        return Ok(());
    }
    Err(refused(format!(
        "there is a store in {} that serves the site; export that one, or take it away where it is old",
        state.0.display()
    )))
}

fn refused(text: String) -> SiteError {
    StoreError::Open(text).into()
}
