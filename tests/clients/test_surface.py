"""What requests ask of choices, logits and log probabilities: the unmodified openai client against the real programs."""
import math

import httpx
import openai
import pytest

from server import Server, eventually

MODEL = "longbook-17m"
OPENING = "It was a dark night, and the old house at the end of the lane"
CHAT = [{"role": "user", "content": "Tell me about the sea."}]


@pytest.fixture(scope="module")
def ids(server):
    def encode(text):
        return httpx.post(server.url + "/tokenize", json={"prompt": text, "add_special_tokens": False}).json()["tokens"]
    return encode


@pytest.fixture(scope="module")
def exact_client(tmp_path_factory):
    """Of a server that computes in fp32: in bf16 a matrix product may round a row otherwise where fewer rows stand beside it."""
    flags = ("-tp", 2, "--kv-cache-memory-bytes", "256MiB", "--threads", 1, "--dtype", "float32")
    with Server(tmp_path_factory.mktemp("exact") / "log", *flags) as one:
        yield openai.OpenAI(base_url=one.url + "/v1", api_key="none", max_retries=0, timeout=300)


def complete(client, prompt=OPENING, **fields):
    body = {"ignore_eos": True, **fields.pop("extra_body", {})}
    return client.completions.create(model=MODEL, prompt=prompt, extra_body=body, **{"max_tokens": 12, "temperature": 0, **fields})


def test_choices_differ_and_a_seed_repeats_them(client):
    first, again = (complete(client, n=4, temperature=1, seed=5) for _ in range(2))
    texts = [choice.text for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2, 3]
    assert len(set(texts)) > 1
    assert texts == [choice.text for choice in again.choices]
    assert first.usage.completion_tokens == 48
    prompts = complete(client, [OPENING, "The sea"], n=2)
    assert [choice.index for choice in prompts.choices] == [0, 1, 2, 3]
    assert prompts.choices[0].text == prompts.choices[1].text == complete(client).choices[0].text
    assert prompts.choices[2].text == complete(client, "The sea").choices[0].text


def test_choices_stream_side_by_side(client):
    chunks = list(complete(client, n=3, temperature=1, seed=5, stream=True))
    whole = complete(client, n=3, temperature=1, seed=5)
    for index in range(3):
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert "".join(choice.text for choice in own) == whole.choices[index].text
        assert [choice.finish_reason for choice in own].count("length") == 1


def test_a_choice_that_stops_harms_no_other(client, server):
    texts = [choice.text for choice in complete(client, n=3, temperature=1, seed=5).choices]
    stop = next(word for word in texts[0].split() if len(word) > 3 and not any(word in text for text in texts[1:]))
    cut = complete(client, n=3, temperature=1, seed=5, stop=stop).choices
    assert cut[0].finish_reason == "stop" and cut[0].text == texts[0][:texts[0].index(stop)]
    assert [choice.text for choice in cut[1:]] == texts[1:]
    eventually(server.idle, "idle again")


def test_logprobs_of_greedy_tokens_are_the_best(client):
    told = complete(client, logprobs=3).choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset) == 12
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs):
        assert logprob == max(top.values()) == top[token]
        assert sum(math.exp(value) for value in top.values()) <= 1 + 1e-4
    streamed = list(complete(client, logprobs=3, stream=True))
    assert [chunk.choices[0].logprobs.token_logprobs[0] for chunk in streamed[:-1]] == pytest.approx(told.token_logprobs, abs=1e-3)


def test_chat_logprobs(client):
    answer = client.chat.completions.create(model=MODEL, messages=CHAT, temperature=0, max_tokens=6, logprobs=True, top_logprobs=2,
                                            extra_body={"ignore_eos": True})
    content = answer.choices[0].logprobs.content
    assert len(content) == 6
    assert "".join(entry.token for entry in content) == answer.choices[0].message.content
    for entry in content:
        assert bytes(entry.bytes).decode() == entry.token
        assert len(entry.top_logprobs) == 2 and entry.top_logprobs[0].logprob == entry.logprob


@pytest.mark.parametrize("compression", ["off", "decode", "full"])
def test_echo_scores_a_prompt_as_drawing_it_would(exact_client, passage, ids, compression):
    """A prompt's log probabilities are those of shorter prompts, and of drawing; eviction goes on meanwhile."""
    prompt = ids(passage["prompt"])
    extra = {"compression": compression, "kv_budget": 256}
    drawn = complete(exact_client, prompt, logprobs=1, max_tokens=1, extra_body=extra).choices[0].logprobs
    echo = complete(exact_client, prompt, logprobs=1, max_tokens=1, echo=True, extra_body=extra)
    told = echo.choices[0].logprobs
    assert len(told.token_logprobs) == len(prompt) + 1
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    assert all(value <= 0 for value in told.token_logprobs[1:])
    assert told.token_logprobs[-1] == pytest.approx(drawn.token_logprobs[0], abs=1e-3)
    for length in (1, 40, len(prompt) // 2):
        one = complete(exact_client, prompt[:length], logprobs=20, max_tokens=1, echo=True, extra_body=extra).choices[0].logprobs
        assert one.token_logprobs[1:length] == pytest.approx(told.token_logprobs[1:length], abs=1e-3)
        assert max(one.top_logprobs[length].values()) == pytest.approx(max(told.top_logprobs[length].values()), abs=1e-3)


def test_echo_streams_the_prompt_first(client):
    chunks = list(complete(client, echo=True, logprobs=0, stream=True, max_tokens=3))
    assert chunks[0].choices[0].text == OPENING
    assert "".join(chunk.choices[0].text for chunk in chunks) == complete(client, echo=True, max_tokens=3).choices[0].text


def test_logit_bias_forces_and_forbids(client, ids):
    sea = ids(" sea")
    assert len(sea) == 1
    forced = complete(client, logit_bias={str(sea[0]): 100}, max_tokens=5)
    assert forced.choices[0].text == " sea" * 5
    told = complete(client, logit_bias={str(sea[0]): 100}, max_tokens=2, logprobs=2).choices[0].logprobs
    assert " sea" in told.top_logprobs[0] and told.token_logprobs[0] < max(told.top_logprobs[0].values()), "without the bias"
    first = complete(client, max_tokens=1).choices[0].text
    other = complete(client, max_tokens=1, logit_bias={str(ids(first)[0]): -100}).choices[0].text
    assert other != first


def test_penalties_end_repetition(client, ids):
    plain = complete(client, "the sea, the sea, the sea, the", max_tokens=40).choices[0].text
    for penalty in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"extra_body": {"repetition_penalty": 2}}):
        told = complete(client, "the sea, the sea, the sea, the", max_tokens=40, **penalty).choices[0].text
        assert len(set(ids(told))) > len(set(ids(plain))), penalty


def test_min_tokens_holds_the_end_back(client, passage):
    def ask(**extra):
        return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": passage["prompt"]}], temperature=0,
                                              max_tokens=60, extra_body={"compression": "off", **extra})
    plain = ask()
    assert plain.choices[0].finish_reason == "stop" and plain.usage.completion_tokens < 40
    longer = ask(min_tokens=45)
    assert longer.usage.completion_tokens >= 45
    assert longer.choices[0].message.content.startswith(plain.choices[0].message.content)


def test_continues_the_final_message(client):
    messages = CHAT + [{"role": "assistant", "content": "The sea is"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False, "ignore_eos": True}
    answer = client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=8, extra_body=extra)
    asked = answer.usage.prompt_tokens
    whole = client.chat.completions.create(model=MODEL, messages=CHAT, max_tokens=1).usage.prompt_tokens
    assert whole < asked <= whole + 4


def test_tokenizes_chats(server, client):
    told = httpx.post(server.url + "/tokenize", json={"messages": CHAT}).json()
    answer = client.chat.completions.create(model=MODEL, messages=CHAT, max_tokens=1)
    assert told["count"] == len(told["tokens"]) == answer.usage.prompt_tokens
    info = httpx.get(server.url + "/tokenizer_info").json()
    assert info["vocab_size"] == 8192 and info["eos_token"] and "messages" in info["chat_template"]


@pytest.mark.parametrize("fields, code", [
    ({"n": 17}, "invalid_value"), ({"logprobs": 21}, "invalid_value"), ({"presence_penalty": 3}, "invalid_value"),
    ({"logit_bias": {"8192": 1}}, "invalid_value"), ({"extra_body": {"min_tokens": 13}}, "invalid_value"),
    ({"best_of": 3}, "unsupported_field"), ({"extra_body": {"response_format": {"type": "json_object"}}}, "unsupported_field"),
    ({"extra_body": {"tools": [{"type": "function"}]}}, "unsupported_field"),
])
def test_refuses_by_name(client, fields, code):
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, **fields)
    assert refused.value.code == code
    assert refused.value.param in {**fields, **fields.get("extra_body", {})}
