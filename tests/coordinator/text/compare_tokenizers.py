#!/usr/bin/env python3
"""Compares our tokenizers with the Python packages over random strings: ids, and the text of random ids.

    tests/coordinator/text/compare_tokenizers.py [--strings 6000] [--seed 1] [--only NAME]   (after ninja tokenizer_probe)
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import tokenizers

import made_tokenizers
import tokenizer_texts

ROOT = made_tokenizers.ROOT
PROBE = pathlib.Path(os.environ.get("BATCHMAX_BIN", ROOT / "build" / "release" / "bin")).parent / "tests" / "tokenizer_probe"


def ask(folder, lines):
    """What the probe answers; lines are its commands."""
    run = subprocess.run([PROBE, folder], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return run.stdout.split("\n")[: len(lines)]


def random_ids(size, count, seed):
    rng = random.Random(seed)
    return [[rng.randrange(size) for _ in range(rng.randrange(12))] for _ in range(count)]


def expect(what, ours, theirs):
    """The first difference ends it, with all that is needed to see it again."""
    for source, one, other in zip(what, ours, theirs, strict=True):
        assert one == other, f"{source!r}\nours:   {one!r}\ntheirs: {other!r}"


def compare(folder, original, texts, id_lists):
    readable = [text.decode("utf-8", "replace") for text in texts]
    for command, special in (("e", True), ("p", False)):
        ours = ask(folder, [f"{command} {text.hex()}" for text in texts])
        theirs = [encoding.ids for encoding in original.encode_batch(readable, add_special_tokens=special)]
        expect(texts, ours, [" ".join(map(str, ids)) for ids in theirs])
    lists = id_lists + theirs
    ours = [line.split("\t") for line in ask(folder, ["d " + " ".join(map(str, ids)) for ids in lists])]
    for part, skip in ((0, False), (1, True)):
        texts_back = original.decode_batch(lists, skip_special_tokens=skip)
        expect(lists, [bytes.fromhex(line[part]).decode() for line in ours], texts_back)


def compare_made(document, count, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        compare_file(path, count, seed)


def compare_file(path, count, seed):
    original = tokenizers.Tokenizer.from_file(str(path))
    books = "\n".join(made_tokenizers.books())
    texts = tokenizer_texts.texts(count, seed, books) + [books[:20_000].encode()]
    texts += [b" ".join(texts[begin : begin + 40]) for begin in range(0, 400, 40)]
    compare(path.parent, original, texts, random_ids(original.get_vocab_size(), max(count // 4, 50), seed))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=6_000, help="random strings for each tokenizer: 10^5 over all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one tokenizer")
    options = parser.parse_args()
    failed = 0
    for name, document in made_tokenizers.all_of_them().items():
        if options.only not in (None, name):
            continue
        try:
            compare_made(document, options.strings, options.seed)
            print(f"{name}: equal", flush=True)
        except AssertionError as difference:
            failed += 1
            print(f"{name}: {difference}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
