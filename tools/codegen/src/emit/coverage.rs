//! The page that says which operations are served.

use std::fmt::Write;

use super::protocol::Protocol;
use crate::plan::Plan;
use crate::settings::Settings;

pub(crate) fn emit(plan: &Plan, settings: &Settings) -> String {
    let served = plan.coverage.values().filter(|served| **served).count();
    let title = &settings.title;
    let refusal = match plan.protocol {
        Protocol::Json => "with `UnknownOperationException` (400)",
        _ if plan.routing.is_some() => "by name with `NotImplemented` (501)",
        _ => "with `InvalidAction` (400)",
    };
    let mut page = format!(
        "# {title} operations\n\n{served} of {} operations are served. Every other one is refused {refusal}{}.\n\n\
         | Operation | State |{}\n|---|---|{}\n",
        plan.coverage.len(),
        if settings.notes.is_empty() { "" } else { " unless something else is said of it" },
        if settings.tests.is_empty() { "" } else { " Test |" },
        if settings.tests.is_empty() { "" } else { "---|" },
    );
    for (name, served) in &plan.coverage {
        let state = if *served { "implemented" } else { "not implemented" };
        let note = settings.notes.get(name).map(|note| format!("; {note}")).unwrap_or_default();
        let _ = write!(page, "| `{name}` | {state}{note} |");
        if !settings.tests.is_empty() {
            let tested = settings.tests.iter().filter(|(_, operations)| *served && operations.contains(name));
            let files: Vec<_> = tested.map(|(file, _)| format!("`{file}`")).collect();
            let _ = write!(page, " {} |", files.join(", "));
        }
        page.push('\n');
    }
    page
}
