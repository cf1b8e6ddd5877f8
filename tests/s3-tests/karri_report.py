"""A plugin for pytest: gives each worker its own configuration of the suite and writes one line per case.

The line has, between tabs: the case (file and name), its outcome, its seconds, its markers and the last line of
what went wrong.
"""

import os
import sys


def pytest_addoption(parser):
    parser.addoption("--karri-report", help="file that gets a line per case")
    parser.addoption("--karri-excluded", help="file with the cases that are not run, each before its reason")
    parser.addoption("--karri-configurations", help="folder with 0.conf, 1.conf... for worker 0, 1...")


def pytest_configure(config):
    worker = getattr(config, "workerinput", {}).get("workerid")
    number = 0 if worker is None else int(worker.removeprefix("gw"))
    folder = config.getoption("--karri-configurations")
    if folder:
        os.environ["S3TEST_CONF"] = os.path.join(folder, f"{number}.conf")
    report = config.getoption("--karri-report")
    if report and worker is None:
        config.pluginmanager.register(Reporter(report), "karri-reporter")


def pytest_collection_modifyitems(config, items):
    path = config.getoption("--karri-excluded")
    if not path:
        return
    with open(path, encoding="utf-8") as file:
        excluded = {line.split()[0] for line in file if line.strip() and not line.startswith("#")}
    items[:] = [item for item in items if short(item.nodeid) not in excluded]
    # In the suite's own order, however they were named: some cases want that later ones have not made their buckets yet.
    items.sort(key=lambda item: item.location[:2])


def pytest_runtest_logreport(report):
    # The suite empties its buckets before and after each case. One that cannot be emptied would fail all cases that
    # follow; they get another prefix.
    if report.failed and report.when != "call":
        suite = sys.modules.get("s3tests.functional")
        if suite is not None:
            suite.prefix = suite.choose_bucket_prefix(template="karri-{random}-")


class Reporter:
    """Sees the reports of all workers, and joins a case's setup, call and teardown."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.cases = {}

    def pytest_runtest_logreport(self, report):
        case = self.cases.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "message": ""})
        case["seconds"] += report.duration
        if report.outcome != "passed" and case["outcome"] == "passed":
            case["outcome"] = report.outcome
            case["message"] = f"{report.when}: {reason(report)}" if report.when != "call" else reason(report)
        if report.when == "teardown":
            self.write(report, self.cases.pop(report.nodeid))

    def pytest_collectreport(self, report):
        if report.failed:
            self.file.write(f"{short(report.nodeid)}\tuncollected\t0\t\t{one_line(report.longreprtext)}\n")
            self.file.flush()

    def pytest_sessionfinish(self):
        # What has begun and not ended was cut off with its worker.
        for nodeid, case in self.cases.items():
            self.file.write(f"{short(nodeid)}\tfailed\t{case['seconds']:.1f}\t\tdid not end\n")
        self.file.close()

    def write(self, report, case):
        markers = ",".join(sorted(mark for mark in report.keywords if is_marker(mark)))
        line = [short(report.nodeid), case["outcome"], f"{case['seconds']:.1f}", markers, case["message"]]
        self.file.write("\t".join(line) + "\n")
        self.file.flush()


def short(nodeid):
    file, _, case = nodeid.partition("::")
    return f"{os.path.basename(file)}::{case}"


def is_marker(keyword):
    return not keyword.startswith("test_") and not keyword.endswith(".py") and "/" not in keyword and keyword.islower()


def reason(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return one_line(crash.message)
    if isinstance(report.longrepr, tuple):
        return one_line(report.longrepr[-1])
    return one_line(str(report.longrepr or ""))


def one_line(text):
    return " ".join(text.split())[:400]
