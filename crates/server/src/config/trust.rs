//! The `ca_file` of scrip.toml: who may vouch for mail servers besides the authorities that everybody trusts.
//!
//! Owns the certificates as they were read. It checks nobody's.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Certificates of authorities. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trust(Arc<Vec<CertificateDer<'static>>>);

impl Trust {
    /// Reads certificates in PEM; the error says what they must be.
    pub fn parse(pem: &str) -> Result<Trust, &'static str> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(Trust(certificates.into())),
            _ => Err("must be a file of certificates in PEM"),
        }
    }

    /// The certificates.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}
