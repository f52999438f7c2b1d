//! Explains errors about the location of the store file, with what to check.

use rusqlite::ErrorCode;

use super::StoreError;

/// Converts SQLite's errors about the location; returns any other error unchanged.
pub(super) fn explain(error: StoreError) -> StoreError {
    let StoreError::Sqlite { path, source } = error else {
        return error;
    };
    match why(&source) {
        Some(why) => StoreError::Place { path, why },
        None => StoreError::Sqlite { path, source },
    }
}

fn why(error: &rusqlite::Error) -> Option<&'static str> {
    match error.sqlite_error_code()? {
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            Some("the file cannot be created or opened")
        }
        ErrorCode::ReadOnly => Some("it is read-only"),
        ErrorCode::DiskFull => Some("the disk is full"),
        ErrorCode::SystemIoFailure => Some("the disk rejects writes"),
        _ => None,
    }
}
