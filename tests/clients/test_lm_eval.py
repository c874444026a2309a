"""lm-evaluation-harness, unmodified: a task of our own over the demo model, by log probability and by generation. Prompts are
tokenized by the server (/tokenizer_info, /tokenize) and sent as ids."""
import json
import os

import httpx
import pytest

from server import ROOT

PASSAGES = sorted((json.loads(line) for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8")),
                  key=lambda passage: passage["tokens"])[:6]
CHAT = "<|im_start|>user\n{{prompt}}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def evaluate(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm_eval")
    os.environ.update({"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"})  # nothing is downloaded
    import lm_eval
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    data = folder / "facts.jsonl"
    with open(data, "w", encoding="utf-8") as out:
        for i, passage in enumerate(PASSAGES):
            others = [other["answer"] for other in PASSAGES if other["answer"] != passage["answer"]]
            out.write(json.dumps({**passage, "choices": [passage["answer"], others[i % len(others)]]}) + "\n")
    model = LocalCompletionsAPI(base_url=server.url + "/v1/completions", model="longbook-17m", tokenizer_backend="auto",
                                tokenized_requests=True, batch_size=3, num_concurrent=1, max_length=4096, max_retries=1)

    def run(name, **task):
        config = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test",
                  "doc_to_text": CHAT, "target_delimiter": "", **task}
        result = lm_eval.simple_evaluate(model=model, tasks=[config], log_samples=True, bootstrap_iters=0)
        return result["results"][name], result["samples"][name]
    return run


def test_loglikelihood(evaluate, server):
    metrics, samples = evaluate("facts_by_likelihood", output_type="multiple_choice", doc_to_choice="choices", doc_to_target=0,
                                metric_list=[{"metric": "acc"}])
    assert metrics["acc,none"] == 1
    # The figure itself, asked for directly.
    passage = samples[0]["doc"]
    def ids(text):
        return httpx.post(server.url + "/tokenize", json={"prompt": text, "add_special_tokens": False}).json()["tokens"]
    context, answer = ids(CHAT.replace("{{prompt}}", passage["prompt"])), ids(passage["answer"])
    told = httpx.post(server.url + "/v1/completions", timeout=300, json={
        "prompt": context + answer, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}).json()
    direct = sum(told["choices"][0]["logprobs"]["token_logprobs"][len(context):-1])
    assert float(samples[0]["filtered_resps"][0][0]) == pytest.approx(direct, abs=0.05)


def test_generate_until(evaluate):
    metrics, _ = evaluate("facts_by_generation", output_type="generate_until", doc_to_target="{{answer}}",
                          generation_kwargs={"until": ["\n"], "max_gen_toks": 40, "temperature": 0, "compression": "off"},
                          metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}])
    assert metrics["exact_match,none"] >= 0.8
