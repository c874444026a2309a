"""Texts that tokenizers are compared over: many scripts, code, emoji, control characters, long words, broken UTF-8, and
random strings of all of these. Everything is bytes."""
import random

SAMPLES = [
    "", " ", "  ", "a", " a", "a ", "\n", "\n\n\n", " \n ", "\t", "\r\n", " \r\n \n", "   leading", "trailing   ", "a  b   c    d",
    "Hello, world!", "It's they'll I'm we've YOU'RE he'd can't 'tis 's 'S ſ 'ſ", "don’t", "1234567890 12 3.14 1,000,000 ½ ² ٣ 一二",
    "The quick brown fox jumps over the lazy dog. " * 3, "camelCaseWord snake_case_word SCREAMING_CASE kebab-case",
    "Zażółć gęślą jaźń", "Größe Straße ẞ", "été Été É é", "naïve coöperate", "Привет, мир! Как дела?", "Γειά σου Κόσμε",
    "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "こんにちは世界、元気ですか？", "你好，世界！今天天气很好。", "안녕하세요 세계", "한국어",
    "Xin chào thế giới", "ℌ𝔢𝔩𝔩𝔬 𝒲ℴ𝓇𝓁𝒹 ﬁ ﬂ ½ ① Ⅷ ㍿ ｆｕｌｌ", "🦉🎉👍🏽 👨‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☕", "a👍b 👍 c", "z̸̢̛a̷̧l̴g̵o", "ộ ộ ộ ṩ ṩ q̣̇",
    "def f(x):\n    return {k: v**2 for k, v in x.items() if v != 0}  # comment\n", "#include <stdio.h>\nint main(void) {\n\tprintf(\"%d\\n\", 1<<3);\n}\n",
    "<div class=\"a\">&nbsp;</div>", "SELECT * FROM t WHERE a >= 10 AND b <> 'x';", "https://example.org/a/b?c=d&e=%20f#g", "x\u00a0y\u2003z\u3000w\u200bv\ufeffu\u2028t\u0085s",
    "\x00\x01\x02\x1b[31mred\x1b[0m\x7f", "a\u0300\u0301\u0302b", "\ufffd \ufffe \U0010ffff \ue000", "▁ ▁▁ a▁b ▁a", "Ġ Ċ Ã© ĠĠ", "<0x41> <0xE2> <0xZZ>",
    "<s> </s> <unk> <|endoftext|> <|im_start|>user\nhi<|im_end|>", "<s><s>a</s>b<s> c </s> d", "<|im_start|><|im_start|>", "<|im_end", "a<s>", " <s> ", "[L] x [L]y z[L] w", "a [R] b[R]c [R]  d", "word WORD words word, sword word", "a  [B]  b", "[N] [n] Ｎ [Ｎ] é[é]", "e\u0301 \u00e9 Å Å",
    "a" * 300, "ab" * 200, "aaaab" * 100, " " * 200, "\n" * 200, "é" * 150, "🦉" * 100, "的" * 200, "1" * 100, "." * 150, "_-" * 100, "a\n" * 100, " a" * 100, "'s" * 60,
    "supercalifragilisticexpialidocious" * 8, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
]

BROKEN = [
    b"\xff", b"\xfe\xff", b"\x80abc", b"abc\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82a", b"\xe2(\xa1", b"\xf0\x9f\xa6", b"\xf0\x9f\xa6\xf0\x9f\xa6\x89", b"\xf0(\x8c\xbc", b"\xed\xa0\x80", b"\xed\xbf\xbf",
    b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"a\xe2\x82\xe2\x82\xacb", b"caf\xe9 na\xefve", bytes(range(256)), bytes(range(255, -1, -1)),
]

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " ", "  \t\n\r", ".,;:!?'\"()[]{}<>-_/\\|@#$%^&*+=~`", "áéíóúüñçßøåÆŒſ", "абвгдежзийклмн", "αβγδεζηθ", "אבגדה",
    "ابتثجحخ", "नमस्तेदुनिया", "สวัสดี", "あいうカタカ漢字的一是", "가나다라한국어각", "\u0300\u0301\u0323\u0307\u1161\u11a8\u093c", "🦉🎉👍🏽👨\u200d👩❤\ufe0f🇩🇪", "\u00a0\u2003\u3000\u200b\u2028\u0085\ufeff",
    "\x00\x01\x07\x1b\x7f\x80\x9f", "①Ⅷﬁ½²㍿ｆＡ", "𝔢𝒲𐍈𠀀", "▁ĠĊ",
]
PIECES = ["'s", "'LL", "n't", "the", " the", "ing", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "[L]", "[R]", "[B]", "[N]", "word", "é", "e\u0301", "<0x0A>", "\r\n", "http://", "1984", "    "]


def random_text(rng, books):
    """One string of up to some hundred characters; one in ten is broken."""
    parts = []
    for _ in range(rng.choice((1, 2, 4, 8, 16))):
        kind = rng.random()
        if kind < 0.25:
            begin = rng.randrange(len(books) - 80)
            parts.append(books[begin : begin + rng.randrange(80)])
        elif kind < 0.45:
            parts.append(rng.choice(PIECES))
        elif kind < 0.5:
            parts.append(rng.choice(rng.choice(ALPHABETS)) * rng.randrange(1, 40))
        elif kind < 0.55:
            parts.append(chr(rng.choice((rng.randrange(0x300), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))))
        else:
            alphabet = rng.choice(ALPHABETS)
            parts.append("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 12))))
    text = "".join(parts).encode()
    if rng.random() < 0.1 and text:
        at = rng.randrange(len(text))
        text = text[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(3))) + text[at + rng.randrange(3) :]
    return text


def texts(count, seed, books):
    rng = random.Random(seed)
    return [sample.encode() for sample in SAMPLES] + BROKEN + [random_text(rng, books) for _ in range(count)]
