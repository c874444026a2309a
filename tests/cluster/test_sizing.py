"""scripts/sizing_table, from which docs/operations.md has its table, counts as the product does."""
import json
import re
import subprocess
from pathlib import Path

from test_upgrade import MODEL, Server

ROOT = Path(__file__).resolve().parents[2]


def number(text):
    return int(text.replace(",", ""))


def test_the_table_says_what_a_group_says_of_itself(tmp_path):
    with Server(tmp_path / "log", "-tp", 2, "--threads", 1, "--kv-cache-dtype", "bfloat16", "--kv-cache-memory-bytes", "64MiB",
                "--kv-budget", 512):
        ready = re.search(r"replica ready .*kv_bytes=(\d+) .*KV ([\d,]+) tokens; ([\d,]+) sequences of any prompt length "
                          r"at budget 512 \(([\d,]+) of (\d+) tokens without compression\)", (tmp_path / "log").read_text())
    kv_bytes, tokens, full, off, longest = map(number, ready.groups())
    model = json.loads((MODEL / "config.json").read_text())
    shape = [model["num_hidden_layers"], model["num_key_value_heads"], model["head_dim"]]
    row = subprocess.run([ROOT / "scripts" / "sizing_table", *map(str, [*shape, kv_bytes / 2**30, longest - 512, 512, 512])],
                         capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert (number(cells[4]), number(cells[6])) == (off, full)
    assert tokens == 64 * (kv_bytes // (64 * shape[0] * shape[1] * (4 * shape[2] + 8)))
