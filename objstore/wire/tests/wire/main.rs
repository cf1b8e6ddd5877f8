//! The wire layer seen from outside: requests in, answers out.

mod answers;
mod hostile;
mod requests;
mod router;
mod support;
