"""Small tokenizers of every kind that is published, trained from the demo's book passages: each a dict that makes a
tokenizer.json."""
import base64
import json
import pathlib
import sys
import tempfile

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[3]
MARK = "▁"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def books():
    lines = (ROOT / "demo" / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines]


def train(model, pre_tokenizer, trainer):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(books(), trainer)
    return json.loads(tokenizer.to_str())["model"]


def byte_bpe():
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    return train(models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False), trainer)


def sentence_bpe(byte_fallback=True):
    """Like the BPE models of SentencePiece: <unk>, <s>, </s>, bytes, then pieces that begin with a mark."""
    trainer = trainers.BpeTrainer(vocab_size=1200, show_progress=False)
    model = train(models.BPE(), pre_tokenizers.Metaspace(), trainer)
    first = ["<unk>", "<s>", "</s>"] + ([f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else [])
    tokens = first + [token for token in sorted(model["vocab"], key=model["vocab"].get) if token not in first]
    return model | {
        "vocab": {token: id for id, token in enumerate(tokens)},
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": byte_fallback,
    }


def unigram(byte_fallback=False):
    first = ["<unk>", "<s>", "</s>"] + ([f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else [])
    trainer = trainers.UnigramTrainer(vocab_size=1000, unk_token="<unk>", special_tokens=first, show_progress=False)
    return train(models.Unigram(), pre_tokenizers.Metaspace(), trainer) | {"byte_fallback": byte_fallback}


def added(content, id=0, special=False, **options):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special} | options
    return {"id": id, "content": content, "special": special} | flags


def document(model, normalizer=None, pre_tokenizer=None, decoder=None, post_processor=None, added_tokens=()):
    size = len(model["vocab"])
    tokens = []
    for token in added_tokens:
        known = model["vocab"].get(token["content"]) if isinstance(model["vocab"], dict) else next(
            (id for id, (piece, _) in enumerate(model["vocab"]) if piece == token["content"]), None)
        if known is None:
            known, size = size, size + 1
        tokens.append(token | {"id": known})
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": sorted(tokens, key=lambda t: t["id"]),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model}


def byte_level(add_prefix_space=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def sequence(key, *items):
    return {"type": "Sequence", key: list(items)}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def regex_split(pattern):
    return sequence("pretokenizers", split({"Regex": pattern}), byte_level(use_regex=False))


def replace(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def begin_with(token, id):
    pieces = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": pieces, "pair": pieces + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}}


CHAT = [added(token, special=True) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
SENTENCE = [added(token, special=True) for token in ("<unk>", "<s>", "</s>")]
ODD = [
    added("[L]", lstrip=True), added("[R]", rstrip=True, special=True), added("[B]", lstrip=True, rstrip=True, normalized=False),
    added("word", single_word=True), added("[N]", normalized=True), added("[é]", normalized=True, special=True), added("<s>", special=True), added("<|im_start|>", special=True, normalized=True),
]
# A special token that its normalizer changes is skipped by us, yet given out by tokenizers 0.23: none of them here.
ODD_SENTENCE = ODD[:5] + [added("[é]")]
LLAMA2_NORMALIZER = sequence("normalizers", {"type": "Prepend", "prepend": MARK}, replace(" ", MARK))
LLAMA2_DECODER = sequence("decoders", replace(MARK, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})


def metaspace(scheme="always", split=True):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split}


def fields(message):
    """The fields of a protocol buffer: {number: bytes or integer}; of a repeated one the last."""
    found, at = {}, 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(message):
        key = varint()
        size = {0: None, 1: 8, 2: None, 5: 4}[key & 7]
        if key & 7 == 0:
            found[key >> 3] = varint()
            continue
        size = varint() if size is None else size
        found[key >> 3] = message[at : at + size]
        at += size
    return found


def charsmap(name):
    """The table of replacements of a model that SentencePiece trains with this rule."""
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        prefix = pathlib.Path(folder) / "m"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(" ".join(books()).split(". ")), model_prefix=str(prefix), vocab_size=500, minloglevel=2, normalization_rule_name=name)
        return base64.b64encode(fields(fields(prefix.with_suffix(".model").read_bytes())[3])[2]).decode()


def precompiled(name):
    return {"type": "Precompiled", "precompiled_charsmap": charsmap(name)}


def all_of_them():
    bytes_, sentence, plain = byte_bpe(), sentence_bpe(), sentence_bpe(byte_fallback=False)
    one, fallback = unigram(), unigram(byte_fallback=True)
    level = byte_level()
    start = begin_with("<s>", 1)
    nfc, nfkc, nfd = {"type": "NFC"}, {"type": "NFKC"}, {"type": "NFD"}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    return {
        "gpt2": document(bytes_, None, level, level, level, CHAT[:1]),
        "gpt2_prefix": document(bytes_, nfkc, byte_level(True), level, None, CHAT),
        "llama3": document(bytes_ | {"ignore_merges": True}, None, regex_split(LLAMA3), level, begin_with("<|endoftext|>", 1500), CHAT),
        "qwen": document(bytes_, nfc, regex_split(QWEN), level, level, CHAT),
        "digits": document(bytes_, nfd, sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, level), level, None, CHAT),
        "odd_bytes": document(bytes_, nfc, level, level, None, ODD),
        "other_regex": document(bytes_, None, regex_split(r"[\r\n]|\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+|\s?\p{P}+|\s+$|[一-龥]+|\p{N}{1,2}"), level, None, CHAT),
        "merged": document(bytes_, None, sequence("pretokenizers", split({"String": " "}, "MergedWithNext"), split({"Regex": "[.,]"}, "MergedWithPrevious"), split({"String": "-"}, "Contiguous"), split({"Regex": "[a-z]+"}, "Removed", True), byte_level(use_regex=False)), level, None, CHAT),
        "llama2": document(sentence, LLAMA2_NORMALIZER, None, LLAMA2_DECODER, start, SENTENCE),
        "phi": document(sentence, LLAMA2_NORMALIZER, None, LLAMA2_DECODER, start, SENTENCE[:2] + [added("</s>", rstrip=True), added("<|im_end|>", special=True, rstrip=True)]),
        "mistral": document(sentence, None, metaspace("first", False), sequence("decoders", replace(MARK, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}), start, SENTENCE),
        "gemma": document(sentence, replace(" ", MARK), split({"String": " "}, "MergedWithPrevious"), sequence("decoders", replace(MARK, " "), {"type": "ByteFallback"}, {"type": "Fuse"}), start, SENTENCE),
        "no_fallback": document(plain | {"fuse_unk": False}, sequence("normalizers", strip, nfkc), metaspace(), metaspace(), start, SENTENCE + ODD[:6]),
        "fused_unknown": document(plain, None, metaspace("never"), metaspace("never"), start, SENTENCE + ODD[:6]),
        "odd_sentence": document(sentence, LLAMA2_NORMALIZER, None, LLAMA2_DECODER, start, SENTENCE + ODD_SENTENCE),
        "unigram": document(one, nfkc, metaspace(), metaspace(), start, SENTENCE),
        "unigram_bytes": document(fallback, sequence("normalizers", strip, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}), metaspace(), sequence("decoders", {"type": "ByteFallback"}, metaspace()), start, SENTENCE + ODD[:6]),
        "xlm_roberta": document(one, sequence("normalizers", precompiled("nmt_nfkc"), {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}), sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace()), metaspace(), start, SENTENCE),
        "albert": document(one, sequence("normalizers", replace("``", '"'), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, precompiled("nmt_nfkc_cf")), metaspace(), metaspace(), start, SENTENCE),
        "nmt": document(fallback, {"type": "Nmt"}, metaspace(), sequence("decoders", {"type": "ByteFallback"}, metaspace()), start, SENTENCE),
        "falcon": document(bytes_, None, sequence("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, level, {"type": "Digits", "individual_digits": False}, split({"Regex": "[0-9][0-9][0-9]"})), level, None, CHAT),
        "words": document(bytes_, {"type": "Lowercase"}, sequence("pretokenizers", {"type": "Whitespace"}, {"type": "Punctuation"}, byte_level(True, False)), level, None, CHAT),
        "set_in_set": document(bytes_, None, regex_split(r" ?[^(\s|[.,!?…。，、।۔،])]+"), level, None, CHAT),
        "regex_dialect": document(bytes_, None, sequence("pretokenizers", *(split({"Regex": regex}, "MergedWithPrevious") for regex in (r"\w+(?![\w\d])", r"\p{N}{1,3}+", r"^\s+$", r"[\p{Han}&&[^一-三]]{2,}", r"\h+x")), byte_level(True, False)), level, None, CHAT),
        "first_word": document(one, None, sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("first")), metaspace("first"), start, SENTENCE),
        "empty_matches": document(bytes_, None, sequence("pretokenizers", split({"Regex": "x*"}, "MergedWithPrevious"), split({"Regex": "(?=a)|c*"}, "Contiguous"), level), level, None, CHAT),
        "no_decoder": document(plain, None, metaspace(), None, None, SENTENCE),
    }


def sentencepiece_models(folder):
    """tokenizer.model of several kinds: {name: bytes}."""
    import sentencepiece

    corpus = pathlib.Path(folder) / "corpus.txt"
    corpus.write_text("\n".join(books()).replace(". ", ".\n"), encoding="utf-8")
    kinds = {
        "bpe_bytes": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        "bpe_plain": {"model_type": "bpe", "add_dummy_prefix": False, "user_defined_symbols": ["[L]", "word"]},
        "bpe_no_prefix": {"model_type": "bpe", "byte_fallback": True, "add_dummy_prefix": False, "remove_extra_whitespaces": False, "normalization_rule_name": "identity"},
        "unigram": {"model_type": "unigram"},
        "unigram_bytes": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "nfkc", "split_digits": True},
    }
    models = {}
    for name, options in kinds.items():
        prefix = pathlib.Path(folder) / name
        sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(prefix), vocab_size=1000, minloglevel=2, **options)
        models[name] = prefix.with_suffix(".model").read_bytes()
    return models


def main():
    """Writes every tokenizer into a folder of its own below the one that is named, for bench_text."""
    target = pathlib.Path(sys.argv[1])
    files = {name: ("tokenizer.json", json.dumps(made, ensure_ascii=False).encode()) for name, made in all_of_them().items()}
    with tempfile.TemporaryDirectory() as scratch:
        files |= {"spm_" + name: ("tokenizer.model", model) for name, model in sentencepiece_models(scratch).items()}
    for name, (file, content) in files.items():
        (target / name).mkdir(parents=True, exist_ok=True)
        (target / name / file).write_bytes(content)


if __name__ == "__main__":
    main()
