//! The code of an error of the database or the storage: `UNAVAILABLE` if a retry can succeed, `BYTES_LOST` if recorded
//! bytes are lost, else `INTERNAL`.

use crate::error::Error;

impl From<crate::db::Error> for Error {
    fn from(error: crate::db::Error) -> Self {
        if error.is_unavailable() {
            Error::unavailable("the database cannot accept the request now", error)
        } else {
            Error::internal(error)
        }
    }
}

impl From<crate::storage::Error> for Error {
    fn from(error: crate::storage::Error) -> Self {
        match error {
            error if error.is_full() => Error::unavailable("the storage is full", error),
            error if error.is_out_of_descriptors() => Error::unavailable("the server has too many files open", error),
            error @ crate::storage::Error::Refused { .. } => {
                Error::unavailable("the storage refused the request", error)
            }
            error @ crate::storage::Error::MemoryTimeout(_) => {
                Error::unavailable("too many parts are under way; try again later", error)
            }
            error @ crate::storage::Error::Store { .. } => {
                Error::unavailable("the storage cannot accept the request now", error)
            }
            error @ crate::storage::Error::Lost(_) => Error::bytes_lost(error),
            error => Error::internal(error),
        }
    }
}
