#!/usr/bin/env python3
"""Writes coordinator/text/unicode_ranges.h: the code points that the Python package `tokenizers` takes for letters,
numbers, white space, word characters, punctuation and accents. Needs `tokenizers`; its regular-expression engines
decide, so that the scanners of this repository cut where they cut.

Usage: scripts/make_unicode_ranges.py > coordinator/text/unicode_ranges.h
"""
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def matched(pattern):
    """The code points that a Split pre-tokenizer matches with this pattern."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    text = "".join(map(chr, CODE_POINTS))
    return [CODE_POINTS[i] for _, (a, b) in split.pre_tokenize_str(text) for i in range(a, b)]


def word_characters():
    """The code points beside which an added token with single_word is not recognised."""
    tokenizer = Tokenizer(models.BPE({"<w>": 0}, []))
    tokenizer.add_tokens([AddedToken("<w>", single_word=True, normalized=False)])
    return [c for c in CODE_POINTS if not tokenizer.encode("<w>" + chr(c)).ids]


def punctuation():
    split = pre_tokenizers.Punctuation("removed")
    return [c for c in CODE_POINTS if not split.pre_tokenize_str(chr(c))]


def accents():
    return [c for c in CODE_POINTS if not normalizers.StripAccents().normalize_str(chr(c))]


def ranges(code_points):
    out = []
    for c in code_points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def main():
    print("// Made by scripts/make_unicode_ranges.py with tokenizers " + tokenizers.__version__ + "; not edited by hand.")
    print("// Inclusive ranges of code points, ascending.")
    print("#pragma once\n\nnamespace batchmax::coordinator {\n")
    print("struct CodePointRange {\n  char32_t first;\n  char32_t last;\n};\n")
    print("// clang-format off")
    for name, members in [("Letter", matched(r"\p{L}")), ("Number", matched(r"\p{N}")),
                          ("Space", matched(r"\s")), ("Word", word_characters()),
                          ("Punctuation", punctuation()), ("Accent", accents())]:
        print(f"inline constexpr CodePointRange k{name}Ranges[] = {{")
        items = [f"{{0x{a:x}, 0x{b:x}}}," for a, b in ranges(members)]
        for i in range(0, len(items), 6):
            print("    " + " ".join(items[i:i + 6]))
        print("};")
    print("// clang-format on\n\n}  // namespace batchmax::coordinator")


main()
