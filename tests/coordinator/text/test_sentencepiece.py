"""tokenizer.model: ids equal those of the package sentencepiece, special tokens are found, text comes back."""
import json
import re

import pytest
import sentencepiece

import compare_tokenizers
import made_tokenizers
import tokenizer_texts

NAMES = ["bpe_bytes", "bpe_plain", "bpe_no_prefix", "unigram", "unigram_bytes"]
STRINGS = 1000


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return made_tokenizers.sentencepiece_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def write(tmp_path):
    def write_files(model, **config):
        (tmp_path / "tokenizer.model").write_bytes(model)
        if config:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return tmp_path

    return write_files


def expected(processor, text, specials):
    """What the package gives for the parts between special tokens, which it does not look for."""
    ids = []
    for part in re.split("(" + "|".join(map(re.escape, specials)) + ")", text):
        ids += [specials[part]] if part in specials else processor.encode(part)
    return ids


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_text(models, write, name):
    folder = write(models[name])
    processor = sentencepiece.SentencePieceProcessor(model_proto=models[name])
    texts = tokenizer_texts.texts(STRINGS, 3, "\n".join(made_tokenizers.books()))
    texts += [text.encode() for text in made_tokenizers.books()[:20]]  # long enough to be taken in parts
    if name.startswith("bpe"):
        # Of two equally good ways Unigram takes what the rounding of sums says, and versions of the library round differently.
        texts += [b"".join(texts[begin : begin + 40]) for begin in range(0, 1000, 40)]
    specials = {token: processor.piece_to_id(token) for token in ("<unk>", "<s>", "</s>")}
    ids = [expected(processor, text.decode("utf-8", "replace"), specials) for text in texts]
    compare_tokenizers.expect(texts, compare_tokenizers.ask(folder, ["p " + text.hex() for text in texts]), [" ".join(map(str, row)) for row in ids])
    # The unknown token has another text than in the package, which also drops all spaces at the beginning.
    whole = [row for row in ids if not set(row) & set(specials.values())]
    back = compare_tokenizers.ask(folder, ["d " + " ".join(map(str, row)) for row in whole])
    compare_tokenizers.expect(whole, [bytes.fromhex(line.split("\t")[1]).decode().lstrip(" ") for line in back], [processor.decode(row).lstrip(" ") for row in whole])
    assert len(whole) > STRINGS / 10


def test_what_the_configuration_adds(models, write):
    added = {
        "1000": {"content": "<|user|>", "special": True, "normalized": False, "rstrip": True},
        "1001": {"content": "<|end|>", "special": True, "normalized": False},
    }
    folder = write(models["bpe_bytes"], add_bos_token=False, add_eos_token=True, added_tokens_decoder=added)
    processor = sentencepiece.SentencePieceProcessor(model_proto=models["bpe_bytes"])
    ask = compare_tokenizers.ask
    assert ask(folder, ["e " + "<|user|>  hi<|end|>".encode().hex()]) == [" ".join(map(str, [1000, *processor.encode("hi"), 1001, 2]))]
    assert bytes.fromhex(ask(folder, ["d 1000 1001"])[0].split("\t")[0]).decode() == "<|user|><|end|>"


def test_a_beginning_is_marked(models, write):
    folder = write(models["unigram"])
    assert compare_tokenizers.ask(folder, ["e " + b"a".hex()])[0].split()[0] == "1"


def test_what_is_no_model(write):
    folder = write(b"no model at all")
    with pytest.raises(AssertionError, match="tokenizer.model: not a SentencePiece model"):
        compare_tokenizers.ask(folder, ["p 61"])
