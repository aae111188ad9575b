"""What came out: a line for each program, a closing line, build/apps-results.json, and the table of doc/what-survives.md."""

import json

from driver.stage import ROOT

RESULTS = ROOT / "build/apps-results.json"


class Report:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0
        try:
            self.results = json.loads(RESULTS.read_text())
        except (OSError, ValueError):
            self.results = {}

    def record(self, program, account, length, result, **details):
        setattr(self, result, getattr(self, result) + 1)
        entry = self.results.setdefault(program.name, {})
        entry |= {"about": program.about, "kind": program.kind}
        if version := details.pop("version", ""):
            entry["version"] = version
        entry[account.kind] = {"result": result, "length": length, **details}

    def save(self):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(self.results, indent=1, sort_keys=True) + "\n")

    def closing_line(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def _cell(entry):
    if not entry:
        return "not run"
    if entry["result"] == "passed":
        return f"yes, {entry['cuts']} cuts" if entry["cuts"] != 1 else "yes, 1 cut"
    return "no" if entry["result"] == "failed" else "skipped"


def table():
    """The markdown table of all results there are."""
    lines = ["| program | version | kind | as an ordinary user | as root | note |", "|---|---|---|---|---|---|"]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for entry in results.values():
        runs = [entry.get("user"), entry.get("root")]
        notes = {run["note"] for run in runs if run and run.get("note")}
        cells = [entry["about"], entry.get("version", ""), entry["kind"], _cell(runs[0]), _cell(runs[1]), "; ".join(sorted(notes))]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
