"""Results of a scenario: printed as tables or JSON, or recorded in `docs/benchmarks/runs`."""

import datetime
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.lib.binary import ROOT
from bench.lib.tables import Table

RUNS_PATH = "docs/benchmarks/runs"


@dataclass
class Outcome:
    """What a scenario measured. `tables` holds medians by title, `rounds` the figures of every round by title."""

    tables: dict[str, Table] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    rounds: dict[str, list] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, title, rows, across=True):
        self.tables[title] = Table(rows, across)

    def document(self):
        report = {title: table.rows for title, table in self.tables.items()}
        document = {"report": report, "rounds": self.rounds, "notes": self.notes, "broken": self.broken}
        return json_value(document)


def json_value(value):
    """The value with `null` for what JSON has no number for: a median of nothing, an event that never came."""
    if isinstance(value, dict):
        return {str(name): json_value(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(of) for of in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def publish(name, outcome, options, arguments):
    """Prints the outcome, or writes it to files with `--record`."""
    if options.json:
        print(json.dumps(outcome.document(), indent=2, ensure_ascii=False))
        return
    if options.record:
        for path in record(name, outcome, options, arguments):
            print(path.relative_to(ROOT))
    else:
        for note in outcome.notes:
            print(note)
        for title, table in outcome.tables.items():
            print(table.text(title))
    for promise in outcome.broken:
        print(f"BROKEN: {promise}")


def record(name, outcome, options, arguments):
    """Writes JSON and Markdown; returns the paths."""
    context = {
        "scenario": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": shlex.join(["python3", "-m", "bench", *arguments]),
        "binary": version_of(options.binary),
        "machine": machine(),
    }
    stem = f"{context['date'][:10]}-{context['commit']}-{name}"
    directory = ROOT / RUNS_PATH
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "json": json.dumps(context | outcome.document(), indent=2, ensure_ascii=False) + "\n",
        "md": markdown(context, outcome),
    }
    paths = [directory / f"{stem}.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values()):
        path.write_text(text)
    return paths


def markdown(context, outcome):
    machine = context["machine"]
    lines = [
        f"# {context['scenario']}",
        "",
        f"- Date: {context['date']}",
        f"- Commit: `{context['commit']}`",
        f"- Command: `{context['command']}`",
        f"- Binary: {context['binary']}",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']}",
        *(f"- {note}" for note in outcome.notes),
        "",
    ]
    lines += [table.markdown(title) for title, table in outcome.tables.items()]
    lines += [Table(rows, across=False).markdown(f"Rounds: {title}") for title, rows in outcome.rounds.items() if rows]
    promises = [f"- {promise}" for promise in outcome.broken] or ["None."]
    lines += ["## Broken promises", "", *promises, ""]
    return "\n".join(lines)


def commit():
    """The commit of the work tree, with `-dirty` where it has changes to tracked files."""
    head = run("git", "rev-parse", "--short=10", "HEAD") or "unknown"
    return f"{head}-dirty" if run("git", "status", "--porcelain", "--untracked-files=no") else head


def version_of(binary):
    return f"{run(binary, '--version') or 'unknown version'} ({os.path.relpath(binary, ROOT)})"


def run(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return ""


def machine():
    cpuinfo, meminfo = Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    kib = int(re.search(r"^MemTotal:\s*(\d+)", meminfo, re.MULTILINE)[1])
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kib / 1024 / 1024, 1),
        "kernel": f"{platform.system()} {platform.release()}",
    }
