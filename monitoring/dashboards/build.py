#!/usr/bin/env python3
"""Writes the Grafana boards of this folder: throughput.json, memory.json, health.json.

    build.py            write them
    build.py --check    compare them with what stands here; non-zero exit and the names where they differ
    build.py --queries  print every query, one a line: board, panel, expression, separated by tabs

Fails on a query that names a metric which the coordinator does not have, and on a metric that no board shows and
NOT_SHOWN does not excuse.
"""
import json
import re
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import health
import memory
import throughput

HERE = Path(__file__).resolve().parent
BOARDS = {"throughput": throughput.BOARD, "memory": memory.BOARD, "health": health.BOARD}
# Metrics without a panel, and why.
NOT_SHOWN = {}


def known_metrics(source=HERE.parent / "metrics.cc"):
    """Names of our own metrics, as the coordinator's source has them."""
    return set(re.findall(r'"(batchmax_[a-z_]+)"', source.read_text(encoding="utf-8")))


def metric_of(name, known):
    """The metric behind a series: a histogram's have a suffix. None: there is none."""
    if name in known:
        return name
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return stem if stem in known else None


def queries():
    """(board, panel, expression) of every query, variables included."""
    for name, board in BOARDS.items():
        for variable in board.templating.list_val:
            if variable.type_val == "query":
                yield name, f"variable {variable.name}", variable.query
        for panel in board.panels:
            for target in getattr(panel, "targets", None) or []:
                yield name, panel.title, target.expr


def faults(known):
    """What is wrong between queries and metrics, a line each."""
    shown = set()
    for board, panel, expression in queries():
        for name in re.findall(r"\b(?:batchmax_|vllm:)[a-z_]+", expression):
            metric = metric_of(name, known)
            shown.add(metric)
            if metric is None:
                yield f"{board}, {panel}: the coordinator has no metric {name}"
    for name in sorted(known - shown - set(NOT_SHOWN)):
        yield f"no board shows {name}, and NOT_SHOWN does not say why"
    for name in sorted(set(NOT_SHOWN) & (shown | (set(NOT_SHOWN) - known))):
        yield f"NOT_SHOWN lists {name}, which is shown or does not exist"


def main(arguments):
    if arguments == ["--queries"]:
        for line in queries():
            print(*line, sep="\t")
        return 0
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wrong = list(faults(known_metrics()))
    for name, board in BOARDS.items():
        text = json.dumps(board, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
        file = HERE / f"{name}.json"
        if not arguments:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            wrong.append(f"{file.name} is not what build.py writes: run it again")
    for line in wrong:
        print(f"build.py: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
