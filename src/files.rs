//! Reads files that a user names, up to a size limit, and writes private ones. Pipes and devices
//! are refused because they may never end; standard input is allowed because the user asked for it
//! by name.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Opens a regular file, or `/dev/stdin`.
///
/// # Errors
/// The file system's error, and [`ErrorKind::InvalidInput`] for a directory, a pipe or a device.
pub fn open(path: &Path) -> Result<File> {
    // Opening a pipe blocks, so the file type is checked first.
    let found = std::fs::metadata(path).map_err(without_number)?;
    if !found.is_file() && path != Path::new("/dev/stdin") {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path).map_err(without_number)
}

/// Checks that `program` is a file that may be run.
///
/// # Errors
/// Why it cannot be run.
pub fn check_program(program: &str) -> std::result::Result<(), String> {
    match std::fs::metadata(program).map_err(without_number) {
        Err(error) => Err(format!(
            "`{program}` cannot be run: {}",
            error.to_string().to_lowercase()
        )),
        Ok(found) if !found.is_file() => Err(format!("`{program}` is not a file")),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Err(format!("`{program}` is not executable"))
        }
        Ok(_) => Ok(()),
    }
}

/// Returns the error without the OS error number, which means nothing to people.
fn without_number(error: Error) -> Error {
    match error.to_string().split_once(" (os error ") {
        Some((text, _)) => Error::new(error.kind(), text),
        None => error,
    }
}

/// Reads the file at `path`, of at most `limit` bytes.
///
/// # Errors
/// Those of [`open`], and [`ErrorKind::FileTooLarge`].
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = open(path)?.take(limit + 1);
    file.read_to_end(&mut bytes).map_err(without_number)?;
    if bytes.len() as u64 > limit {
        let message = match limit >> 20 {
            0 => format!("larger than {} KiB", limit >> 10),
            mebibytes => format!("larger than {mebibytes} MiB"),
        };
        return Err(Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Reads the file like [`read`], as UTF-8 text.
///
/// # Errors
/// Those of [`read`], and [`ErrorKind::InvalidData`].
pub fn read_to_string(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8"))
}

/// Writes a JSON file that only its owner may read, atomically by rename.
///
/// # Errors
/// The file system's error.
pub fn write_private(path: &Path, text: &[u8]) -> Result<()> {
    let temporary = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text)?;
    std::fs::rename(temporary, path)
}

/// The size limit of a file with a key, a password or a token, in bytes.
pub const MAX_SECRET: u64 = 64 << 10;
