//! Bounds and patterns of the shapes that inputs use.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::plan::Plan;

pub(crate) fn emit(plan: &Plan) -> String {
    let mut patterns: BTreeMap<&(String, String), usize> = BTreeMap::new();
    for pattern in plan.rules.values().filter_map(|rules| rules.pattern.as_ref()) {
        let next = patterns.len();
        patterns.entry(pattern).or_insert(next);
    }
    let mut code = "//! What values of requests must satisfy.\n\nuse crate::rules::{Pattern, Rules};\n\n".to_owned();
    for ((model, ours), index) in &patterns {
        let _ = writeln!(code, "static PATTERN_{index}: Pattern = Pattern::new(r#\"{model}\"#, r#\"{ours}\"#);");
    }
    code.push('\n');
    for (constant, rules) in &plan.rules {
        let pattern = rules.pattern.as_ref().and_then(|pattern| patterns.get(pattern));
        let pattern = pattern.map_or_else(|| "None".to_owned(), |index| format!("Some(&PATTERN_{index})"));
        let _ = writeln!(
            code,
            "pub(crate) static {constant}: Rules = Rules {{ min: {:?}, max: {:?}, pattern: {pattern} }};",
            rules.min, rules.max
        );
    }
    let all: Vec<String> = patterns.values().map(|index| format!("&PATTERN_{index}")).collect();
    let _ = writeln!(
        code,
        "\n/// Every pattern, for the test that reads them.\n#[cfg(test)]\npub(crate) static PATTERNS: &[&Pattern] = &[{}];",
        all.join(", ")
    );
    code
}
