//! `dkim` of `[[email]]`: the key that signs its mails.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::dkim::{DkimSigningAlgorithm, DkimSigningKey};
use llmwatch_core::protocol::der::{
    INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, element_of,
};

use super::Dkim;
use super::raw::Table;
use crate::files;

/// What a usable key file is.
const USABLE: &str = "set `key_file` to an RSA or Ed25519 private key in PEM format; `openssl genrsa 2048` creates one";

/// Reads `dkim`. The key is loaded now, so that a mistake is reported here.
pub(super) fn read(table: &Table<'_>) -> Option<Dkim> {
    let [selector, domain] =
        ["selector", "domain"].map(|key| table.required(key, "it is needed to sign")?.string());
    let key_file = table.required("key_file", "it is needed to sign");
    table.finish();
    let key_file = key_file.and_then(|value| {
        let path = value.path()?;
        match dkim_key(&path) {
            Err(why) if !value.skips_secrets() => value.error(why, USABLE),
            _ => Some(path),
        }
    });
    Some(Dkim {
        selector: selector?,
        domain: domain?,
        key_file: key_file?,
    })
}

/// Reads the key in the file at `path`.
///
/// # Errors
/// What is wrong with the file, without any of its content.
pub(crate) fn dkim_key(path: &Path) -> Result<DkimSigningKey, String> {
    let shown = path.display();
    let pem = files::read_to_string(path, files::MAX_SECRET)
        .map_err(|e| format!("cannot read the DKIM key `{shown}`: {e}"))?;
    let (algorithm, key) = signing_key(&pem).ok_or_else(|| {
        format!("cannot use the DKIM key `{shown}`: the file contains no private key that can sign")
    })?;
    DkimSigningKey::new(&key, algorithm)
        .map_err(|e| format!("cannot use the DKIM key `{shown}`: {e}"))
}

/// Converts a private key to the formats that lettre reads: PKCS #1 PEM for RSA, the base64 seed
/// for Ed25519. Current tools write PKCS #8, which wraps them.
fn signing_key(pem: &str) -> Option<(DkimSigningAlgorithm, String)> {
    if pem.contains("-----BEGIN RSA PRIVATE KEY-----") {
        return Some((DkimSigningAlgorithm::Rsa, pem.to_owned()));
    }
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let der = STANDARD
        .decode(body.split_whitespace().collect::<String>())
        .ok()?;
    // PrivateKeyInfo ::= SEQUENCE { version INTEGER, algorithm SEQUENCE { OBJECT IDENTIFIER, … },
    // key OCTET STRING, … }
    let (inside, _) = element_of(SEQUENCE, &der)?;
    let (_, rest) = element_of(INTEGER, inside)?;
    let (algorithm, rest) = element_of(SEQUENCE, rest)?;
    let (key, _) = element_of(OCTET_STRING, rest)?;
    match element_of(OBJECT_IDENTIFIER, algorithm)?.0 {
        // rsaEncryption, 1.2.840.113549.1.1.1
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => {
            let text = STANDARD.encode(key);
            let lines: Vec<_> = text
                .as_bytes()
                .chunks(64)
                .map(String::from_utf8_lossy)
                .collect();
            let pem = format!(
                "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
                lines.join("\n")
            );
            Some((DkimSigningAlgorithm::Rsa, pem))
        }
        // id-Ed25519, 1.3.101.112: an octet string in an octet string
        [0x2b, 0x65, 0x70] => Some((
            DkimSigningAlgorithm::Ed25519,
            STANDARD.encode(element_of(OCTET_STRING, key)?.0),
        )),
        _ => None,
    }
}
