"""The alert rules as they ship: sound, tested by promtool, about metrics that exist, each with a line that says what to do."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "monitoring" / "alerts"
RULES = [rule for group in yaml.safe_load((ALERTS / "batchmax.rules.yml").read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES if "alert" in rule]


def promtool(*arguments):
    beside = Path(sys.executable).parent / "promtool"
    tool = str(beside) if beside.exists() else shutil.which("promtool")
    assert tool, "promtool is missing: scripts/dependencies --tests puts it into .venv/bin"
    return subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, cwd=ALERTS)


def test_promtool_accepts_the_rules():
    done = promtool("check", "rules", "batchmax.rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_on_what_it_is_for():
    done = promtool("test", "rules", "batchmax.rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_shown_to_fire_and_to_stay_quiet(name):
    tests = yaml.safe_load((ALERTS / "batchmax.rules.test.yml").read_text())["tests"]
    seen = {bool(case["exp_alerts"]) for test in tests for case in test["alert_rule_test"] if case["alertname"] == name}
    assert seen == {True, False}


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_says_what_to_do(name):
    rule = next(rule for rule in RULES if rule.get("alert") == name)
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    runbook = (ROOT / "docs" / "operations.md").read_text()
    section = re.search(rf"^### {name}\n+(\S.*?)(?=^#|\Z)", runbook, re.MULTILINE | re.DOTALL)
    assert section, f"docs/operations.md has no section {name}"


def test_rules_speak_of_metrics_that_exist():
    known = set(re.findall(r'"(batchmax_[a-z_]+)"', (ROOT / "monitoring" / "metrics.cc").read_text()))
    for rule in RULES:
        for name in re.findall(r"\bbatchmax_[a-z_]+", rule["expr"]):
            assert name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known, name
