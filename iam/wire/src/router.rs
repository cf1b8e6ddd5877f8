//! `Action` and `Version` to an operation.

use crate::error::WireError;
use crate::form::Form;

/// Finds the operation, or says why there is none.
pub(crate) fn find<T>(form: &Form, version: &str, operation: impl Fn(&str) -> Option<T>) -> Result<T, WireError> {
    let Some(action) = form.text("Action").filter(|action| !action.is_empty()) else {
        let message = "The request must contain the parameter Action";
        return Err(WireError::new("MissingAction", 400, message));
    };
    let asked = form.text("Version").unwrap_or("NO_VERSION_SPECIFIED");
    let found = if asked == version { operation(action) } else { None };
    found.ok_or_else(|| {
        let message = format!("Could not find operation {action} for version {asked}");
        WireError::new("InvalidAction", 400, message)
    })
}
