"""Facts planted in passages of novels: how many exact answers survive compression, by score."""
import asyncio
import json

import httpx
import pytest

from server import MODEL, ROOT, Server

PASSAGES = [json.loads(line) for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8")]


def right_answers(server, compression, share=None, passages=PASSAGES):
    """How many of the passages are answered exactly, in one mode, keeping `share` of each prompt."""
    async def ask(http, passage):
        body = {"messages": [{"role": "user", "content": passage["prompt"]}], "temperature": 0, "max_tokens": 40,
                "compression": compression}
        if share:
            body["kv_budget"] = int(passage["tokens"] * share)
        answer = await http.post(server.url + "/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        figures = answer.json()["batchmax"]
        assert (figures["tokens_evicted"] > 0) == (compression != "off")
        return answer.json()["choices"][0]["message"]["content"].strip() == passage["answer"]

    async def ask_all():
        async with httpx.AsyncClient(timeout=None) as http:  # ctest has a limit for all of it
            return sum(await asyncio.gather(*(ask(http, passage) for passage in passages)))
    return asyncio.run(ask_all())


@pytest.fixture(scope="module")
def report(request):
    """Lines for the terminal, whatever pytest captures."""
    lines = []
    yield lines
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nexact answers of {len(PASSAGES)}, keeping 25 % of the prompt: " + "; ".join(lines))


def test_there_are_enough_passages_of_many_lengths():
    lengths = [passage["tokens"] for passage in PASSAGES]
    assert len(lengths) >= 30
    assert min(lengths) >= 1400 and max(lengths) <= 3900 and max(lengths) - min(lengths) > 2000


def test_the_default_score_keeps_the_answers(tmp_path, report):
    with Server(tmp_path / "log", model=MODEL) as server:
        whole = right_answers(server, "off")
        kept = right_answers(server, "full", 0.25)
        report.append(f"off {whole}, full {kept} (key_distance)")
    assert whole >= 0.95 * len(PASSAGES)
    assert kept >= whole - 0.10 * len(PASSAGES)


@pytest.mark.parametrize("score", ["average", "random"])
def test_other_scores_answer_too(tmp_path, report, score):
    some = PASSAGES[::3]  # reported beside the default; docs/performance.md has all
    with Server(tmp_path / "log", "--score", score, model=MODEL) as server:
        kept = right_answers(server, "full", 0.25, some)
    report.append(f"full {kept} of {len(some)} ({score})")
    assert kept > 0  # whatever the score, what the window and the question's surroundings hold is answered
