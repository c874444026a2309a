"""The boards as they ship: what the script writes, and nothing that the coordinator does not measure."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOARDS = ROOT / "monitoring" / "dashboards"


def build(folder, *arguments):
    return subprocess.run([sys.executable, str(folder / "build.py"), *arguments], capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """A copy of monitoring/ that a test may spoil."""
    shutil.copytree(ROOT / "monitoring", tmp_path / "monitoring")
    return tmp_path / "monitoring"


def spoil(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_boards_are_what_the_script_writes():
    done = build(BOARDS, "--check")
    assert done.returncode == 0, done.stderr


def test_a_board_that_was_edited_by_hand_is_named(copy):
    spoil(copy / "dashboards" / "memory.json", '"Pages"', '"Sites"')
    done = build(copy / "dashboards", "--check")
    assert done.returncode == 1
    assert "memory.json" in done.stderr


def test_a_query_for_a_metric_that_is_missing_fails(copy):
    spoil(copy / "dashboards" / "health.py", "batchmax_group_epoch", "batchmax_group_epochs")
    done = build(copy / "dashboards")
    assert done.returncode == 1
    assert "health, Starts in an hour: the coordinator has no metric batchmax_group_epochs" in done.stderr


def test_a_metric_that_no_board_shows_is_named(copy):
    spoil(copy / "metrics.cc", '"batchmax_group_up"', '"batchmax_group_up", "batchmax_group_mood"')
    done = build(copy / "dashboards", "--check")
    assert done.returncode == 1
    assert "no board shows batchmax_group_mood" in done.stderr


@pytest.mark.parametrize("name", ["throughput", "memory", "health"])
def test_panels_have_titles_descriptions_and_places_of_their_own(name):
    board = json.loads((BOARDS / f"{name}.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in panels:
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])
        if panel["type"] == "stat":  # else Grafana's own: red from 80 on
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place.get("x", 0), place.get("x", 0) + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
