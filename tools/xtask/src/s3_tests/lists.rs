//! The lists that are checked in: cases that pass, which may only grow, and cases that are left out, with reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::report::{Outcome, Report};

pub(super) struct Lists {
    passing_file: PathBuf,
    passing: BTreeSet<String>,
    /// Case to reason.
    excluded: BTreeMap<String, String>,
}

impl Lists {
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let passing_file = folder.join("passing.txt");
        let passing = lines(&passing_file)?.into_iter().collect();
        let mut excluded = BTreeMap::new();
        for line in lines(&folder.join("excluded.txt"))? {
            let Some((case, reason)) = line.split_once(' ') else { bail!("excluded.txt: {line} has no reason") };
            excluded.insert(case.to_owned(), reason.trim().to_owned());
        }
        let lists = Self { passing_file, passing, excluded };
        if let Some(both) = lists.passing.iter().find(|case| lists.excluded.contains_key(*case)) {
            bail!("{both} stands in passing.txt and in excluded.txt");
        }
        Ok(lists)
    }

    /// Listed cases that were run and did not pass.
    pub(super) fn regressions<'r>(&self, report: &'r Report) -> Vec<&'r str> {
        let failed = report.cases.iter().filter(|(_, case)| case.outcome != Outcome::Passed);
        failed.map(|(name, _)| name.as_str()).filter(|name| self.passing.contains(*name)).collect()
    }

    /// Prints the summary, adds new cases when asked, and fails when a listed case did not pass.
    pub(super) fn conclude(&self, report: &Report, update: bool) -> Result<()> {
        let open = || report.cases.iter().filter(|(_, case)| case.outcome != Outcome::Passed);
        let passed = report.cases.iter().filter(|(_, case)| case.outcome == Outcome::Passed);
        let new: Vec<&String> = passed.map(|(name, _)| name).filter(|name| !self.passing.contains(*name)).collect();
        println!("\nnot passing:");
        for (name, case) in open() {
            let skipped = if case.outcome == Outcome::Skipped { "skipped: " } else { "" };
            let ceph = if case.fails_on_aws() { " [not on AWS]" } else { "" };
            println!("  {name}{ceph}  {skipped}{}", case.message);
        }
        let (all, open) = (report.cases.len(), open().count());
        let (passed, new_count, excluded) = (all - open, new.len(), self.excluded.len());
        println!("\n{all} cases: {passed} passed ({new_count} new), {open} did not; {excluded} are excluded");
        let of_aws: Vec<_> = report.cases.values().filter(|case| !case.fails_on_aws()).collect();
        let passed = of_aws.iter().filter(|case| case.outcome == Outcome::Passed).count();
        println!("of those that AWS passes: {passed} of {}", of_aws.len());
        let lost = self.regressions(report);
        if update {
            self.write(new)?;
        }
        ensure!(lost.is_empty(), "these cases are in passing.txt and did not pass:\n  {}", lost.join("\n  "));
        Ok(())
    }

    fn write(&self, new: Vec<&String>) -> Result<()> {
        let all: BTreeSet<&String> = self.passing.iter().chain(new).collect();
        let text: String = all.iter().map(|name| format!("{name}\n")).collect();
        fs::write(&self.passing_file, text).context("write passing.txt")?;
        println!("passing.txt has {} cases", all.len());
        Ok(())
    }
}

/// The lines of a file that are neither empty nor comments.
pub(super) fn lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        Report::parse(text).expect("well-formed")
    }

    #[test]
    fn a_listed_case_that_fails_is_a_regression() {
        let passing = ["a.py::one", "a.py::two"].map(str::to_owned).into();
        let lists = Lists { passing_file: PathBuf::new(), passing, excluded: BTreeMap::new() };
        let run = report(
            "a.py::one\tpassed\t0.1\t\t\na.py::two\tskipped\t0\t\tno\na.py::three\tfailed\t0\tfails_on_aws\tx\n",
        );
        assert_eq!(lists.regressions(&run), ["a.py::two"]);
        assert!(lists.conclude(&run, false).is_err());
        assert!(lists.conclude(&report("a.py::one\tpassed\t0.1\t\t\n"), false).is_ok(), "what is not run is no loss");
    }

    #[test]
    fn the_lists_of_this_tree_are_well_formed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/s3-tests");
        let lists = Lists::load(&folder).expect("readable");
        let text = fs::read_to_string(&lists.passing_file).expect("readable");
        let sorted: Vec<&str> = lists.passing.iter().map(String::as_str).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), sorted);
        assert!(lists.excluded.values().all(|reason| !reason.is_empty()));
    }
}
