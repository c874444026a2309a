#!/usr/bin/env python3
"""Makes demo/passages.jsonl: passages of public-domain novels with facts planted in them, and known answers.

usage: make_passages.py BOOKS_FOLDER > demo/passages.jsonl      (needs the Python package `tokenizers`)

BOOKS_FOLDER holds plain-text novels (Standard Ebooks, CC0 1.0), paragraphs separated by blank lines. The wording of
facts and questions is the one longbook-17m was trained on (demo/longbook-17m/README.md). Each line:
  {"book", "place": before|after|both, "tokens", "prompt", "question", "answer"}
`prompt` is the whole user message; `tokens` its length with the chat template.
"""
import json
import random
import re
import sys
from pathlib import Path

from tokenizers import Tokenizer

BOOKS = [
    "h-g-wells_the-time-machine", "jane-austen_emma", "jack-london_the-sea-wolf", "saki_short-fiction",
    "robert-louis-stevenson_treasure-island", "mary-shelley_frankenstein", "joseph-conrad_the-secret-agent",
    "f-scott-fitzgerald_the-great-gatsby", "edith-wharton_the-age-of-innocence", "kenneth-grahame_the-wind-in-the-willows",
]
FIRST = ("Agnes Arthur Clara Conrad Daisy Edmund Esther Flora Gilbert Irene Jasper Martin Maud Nora Philip Rosa Rupert "
         "Silas Theodore Ulric Vera Victor Walter").split()
LAST = ("Ashby Bell Birch Cole Drake Fenn Frost Gray Harker Holt Lane Marlow Nash Pell Price Shaw Thorne Trent Vance "
        "Webb Winter Yates").split()
COLOURS = "black blue brown crimson golden green grey orange pink purple red silver violet white yellow".split()
TOWNS = ("Bath Bristol Carlisle Chester Derby Dover Durham Exeter Hull Leeds Lincoln Luton Norwich Oxford Preston Ripon "
         "Stafford Truro Wells York").split()
TRADES = ("baker banker barber carpenter clerk cooper doctor farmer gardener lawyer mason miller painter piper printer "
          "sailor soldier tailor teacher weaver").split()


def value(rng, attribute):
    return {
        "secret code": lambda: str(rng.randint(10000, 99999)),
        "lucky number": lambda: str(rng.randint(100, 999)),
        "favourite colour": lambda: rng.choice(COLOURS),
        "home town": lambda: rng.choice(TOWNS),
        "occupation": lambda: rng.choice(TRADES),
    }[attribute]()


ATTRIBUTES = ["secret code", "lucky number", "favourite colour", "home town", "occupation"]


def sentence(rng, name, attribute, answer):
    return rng.choice([
        f"The {attribute} of {name} is {answer}.",
        f"{name}'s {attribute} is {answer}.",
        f"Remember that the {attribute} of {name} is {answer}.",
    ])


def sentences_of(path):
    text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
    return re.findall(r"[^.!?]+[.!?][”’\"]?\s*", text)


def make(rng, tokenizer, path, target, place, facts):
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], facts)
    planted = []
    for name in names:
        attribute = rng.choice(ATTRIBUTES)
        planted.append((name, attribute, value(rng, attribute)))
    name, attribute, answer = planted[rng.randrange(facts)]
    question = f"What is the {attribute} of {name}?"
    prose = sentences_of(path)
    start = rng.randrange(len(prose) // 2)

    def build(count):
        lines = [line.strip() for line in prose[start:start + count]]
        local = random.Random(f"{path.stem}-{start}-{target}")  # the same places whatever the length tried
        for who, what, is_ in planted:
            lines.insert(local.randrange(len(lines) + 1), sentence(local, who, what, is_))
        body = " ".join(lines)
        parts = {"before": [question, body], "after": [body, question], "both": [question, body, question]}[place]
        prompt = "\n\n".join(parts)
        chat = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        return prompt, len(tokenizer.encode(chat, add_special_tokens=False).ids)

    low, high = 1, 1200
    while low < high:  # most sentences that stay within the target length
        middle = (low + high + 1) // 2
        low, high = (middle, high) if build(middle)[1] <= target else (low, middle - 1)
    prompt, tokens = build(low)
    return {"book": path.stem, "place": place, "tokens": tokens, "prompt": prompt, "question": question,
            "answer": f"The {attribute} of {name} is {answer}."}


def main():
    folder = Path(sys.argv[1])
    tokenizer = Tokenizer.from_file(str(Path(__file__).parent / "longbook-17m" / "tokenizer.json"))
    rng = random.Random(20241)
    for i in range(36):
        path = folder / f"{BOOKS[i % len(BOOKS)]}.txt"
        target = 1500 + (3900 - 1500) * i // 35
        place = ["after", "before", "both"][i % 3]
        print(json.dumps(make(rng, tokenizer, path, target, place, rng.randint(2, 12)), ensure_ascii=False))


if __name__ == "__main__":
    main()
