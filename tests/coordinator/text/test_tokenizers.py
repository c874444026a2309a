"""Ids and texts equal those of the Python packages. compare_tokenizers.py does the same over many more strings."""
import pytest

import compare_tokenizers
import made_tokenizers

# Over all tokenizers some ten thousand.
STRINGS = 600
MADE = made_tokenizers.all_of_them()


@pytest.mark.parametrize("name", MADE)
def test_made(name):
    compare_tokenizers.compare_made(MADE[name], STRINGS, seed=7)


def test_the_demo():
    compare_tokenizers.compare_file(made_tokenizers.ROOT / "demo" / "longbook-17m" / "tokenizer.json", STRINGS, seed=7)
