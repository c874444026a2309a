"""docs/proof.md: one section per proof, written anew by each run, with what ran, when and where."""
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "proof.md"
HEAD = """# Proof

What `scripts/proof` measured, each section by the run that it names. docs/reliability.md says what is promised.
"""


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}"


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def commit():
    changed = git("status", "--porcelain", "--", ".", ":!docs/proof.md")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def table(rows):
    """Rows of dicts with the same keys, as Markdown."""
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    return "\n".join(lines + ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in rows])


def write(name, command, body):
    """Puts the section in its place; prints it too."""
    ran = f"`{command}`, {datetime.now(timezone.utc):%Y-%m-%d}, commit {commit()}, {machine()}."
    section = f"## {name}\n\n{ran}\n\n{body.strip()}\n"
    print(section)
    text = FILE.read_text() if FILE.exists() else HEAD
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.M | re.S)
    text = pattern.sub(lambda _: section + "\n", text) if pattern.search(text) else text.rstrip() + "\n\n" + section
    FILE.write_text(text.rstrip() + "\n")
