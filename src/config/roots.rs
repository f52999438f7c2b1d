//! `ca_file`: extra root certificates in PEM form.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::raw::Value;
use crate::files;

/// The size limit of `ca_file`, in bytes. A system's bundle has about 250 KiB.
const MAX_CA_FILE: u64 = 4 << 20;

/// Reads the certificates in the file at `path`.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn extra_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = files::read(path, MAX_CA_FILE).map_err(|e| e.to_string())?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|e| format!("it is not valid PEM: {e}"))?;
    if certificates.is_empty() {
        return Err("the file contains no PEM certificate".to_owned());
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|_| "a certificate in it cannot be used as a root".to_owned())?;
    }
    Ok(certificates)
}

/// Checks the file now, so that a mistake is reported here and not once for each user of it.
pub(super) fn check(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.path()?;
    match extra_roots(&path) {
        Ok(_) => Some(path),
        Err(why) => value.error(
            format!("cannot use `ca_file` `{}`: {why}", path.display()),
            "set it to a readable file with one or more root certificates, each between \
             `-----BEGIN CERTIFICATE-----` and `-----END CERTIFICATE-----`",
        ),
    }
}
