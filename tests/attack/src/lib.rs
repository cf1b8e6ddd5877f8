//! What attackers of a node do, for tests: requests for every operation, signed in every way and then spoilt, and a
//! fingerprint of what they must not have changed.

mod form;
mod raw;
mod request;
mod rows;
mod sign;
mod stage;

pub use form::{FORM_KEY, Form};
pub use raw::Malformed;
pub use request::{Request, Sent};
pub use rows::{BUCKET, NEW_BUCKET, Names, Row, rows};
pub use sign::{Keys, Kind, Signer, encode};
pub use stage::{ALLOW_ALL, Stage, changes, form_request, text, told};
