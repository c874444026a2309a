"""The unmodified openai client against the real programs."""
import httpx
import openai
import pytest

MODEL = "longbook-17m"
OPENING = "It was a dark night, and the old house at the end of the lane"


def complete(client, prompt=OPENING, **fields):
    return client.completions.create(**{"model": MODEL, "prompt": prompt, "max_tokens": 24, "temperature": 0, **fields})


def test_models(client):
    models = client.models.list().data
    assert [model.id for model in models] == [MODEL]
    assert models[0].max_model_len == 4096
    assert client.models.retrieve(MODEL) == models[0]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")


def test_chat_answers_a_question_about_a_passage(client, passage):
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": passage["prompt"]}], temperature=0, max_tokens=48,
        extra_body={"compression": "off"})
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.strip() == passage["answer"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == answer.usage.total_tokens


def test_chat_streams_what_it_answers_whole(client):
    fields = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me about the sea."}], "temperature": 0,
              "max_tokens": 24, "extra_body": {"ignore_eos": True}}
    whole = client.chat.completions.create(**fields)
    chunks = list(client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(not chunk.choices or chunk.choices[0].delta.role is None for chunk in chunks[1:])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len(chunks) == 24 + 2  # one per token, the end, the usage


def test_completion_streams_what_it_answers_whole(client):
    whole = complete(client, extra_body={"ignore_eos": True})
    chunks = list(complete(client, stream=True, extra_body={"ignore_eos": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert whole.choices[0].text
    assert whole.usage.completion_tokens == 24
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 24 + ["length"]


def test_prompts_in_four_shapes_mean_the_same(client, server):
    ids = httpx.post(server.url + "/tokenize", json={"prompt": OPENING}).json()["tokens"]
    text = complete(client).choices[0].text
    assert complete(client, ids).choices[0].text == text
    both = complete(client, [OPENING, "Once upon a time"])
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == text
    assert complete(client, [ids, ids]).choices[1].text == text
    assert httpx.post(server.url + "/detokenize", json={"tokens": ids}).json()["prompt"] == OPENING


def test_stop_strings_end_the_text(client):
    text = complete(client, extra_body={"ignore_eos": True}).choices[0].text
    stop = text[len(text) // 2:len(text) // 2 + 4]
    cut = complete(client, stop=["never to be seen", stop], extra_body={"ignore_eos": True}).choices[0]
    assert cut.text == text[:text.index(stop)]
    assert cut.finish_reason == "stop"
    streamed = "".join(chunk.choices[0].text
                       for chunk in complete(client, stop=stop, stream=True, extra_body={"ignore_eos": True}))
    assert streamed == cut.text


def test_stop_tokens_end_the_text(client, server):
    text = complete(client, extra_body={"ignore_eos": True}).choices[0].text
    ids = httpx.post(server.url + "/tokenize", json={"prompt": text, "add_special_tokens": False}).json()["tokens"]
    stopped = complete(client, extra_body={"ignore_eos": True, "stop_token_ids": [ids[5]]})
    assert stopped.choices[0].finish_reason == "stop"
    assert text.startswith(stopped.choices[0].text)
    assert stopped.usage.completion_tokens <= 6


def test_a_seed_repeats_the_draw(client):
    fields = {"temperature": 1.5, "max_tokens": 32, "extra_body": {"ignore_eos": True}}
    texts = {complete(client, seed=11, **fields).choices[0].text for _ in range(3)}
    assert len(texts) == 1
    assert len({complete(client, seed=seed, **fields).choices[0].text for seed in range(4)}) > 1
    assert len({complete(client, **fields).choices[0].text for _ in range(4)}) > 1


def test_figures_show_what_compression_saves(client, passage):
    figures = {}
    for mode in ("off", "decode", "full"):
        answer = complete(client, passage["prompt"], extra_body={"compression": mode, "kv_budget": 512, "ignore_eos": True})
        figures[mode] = answer.model_extra["batchmax"]
        assert figures[mode]["compression"] == mode
    assert figures["off"]["tokens_evicted"] == 0
    assert figures["full"]["tokens_evicted"] > 0
    assert figures["full"]["kv_bytes_held"] < figures["off"]["kv_bytes_held"]
    assert figures["full"]["kv_bytes_peak"] < figures["decode"]["kv_bytes_peak"] <= figures["off"]["kv_bytes_peak"]
    assert figures["full"]["kv_bytes_reserved"] < figures["off"]["kv_bytes_reserved"]


@pytest.mark.parametrize("fields, kind, code, param", [
    ({"temperature": 5}, openai.BadRequestError, "invalid_value", "temperature"),
    ({"max_tokens": 0}, openai.BadRequestError, "invalid_value", "max_tokens"),
    ({"best_of": 2}, openai.BadRequestError, "unsupported_field", "best_of"),
    ({"suffix": "a"}, openai.BadRequestError, "unsupported_field", "suffix"),
    ({"model": "other"}, openai.NotFoundError, "model_not_found", "model"),
    ({"max_tokens": 4096}, openai.BadRequestError, "context_length_exceeded", "prompt"),
    ({"extra_body": {"kv_budget": 3}}, openai.BadRequestError, "invalid_value", "kv_budget"),
    ({"extra_body": {"compression": "half"}}, openai.BadRequestError, "invalid_value", "compression"),
])
def test_errors_are_raised_as_what_they_are(client, fields, kind, code, param):
    with pytest.raises(kind) as raised:
        complete(client, **fields)
    assert raised.value.code == code
    assert raised.value.param == param
    with pytest.raises(kind):  # before a stream begins, too
        complete(client, stream=True, **fields)


def test_context_length_is_named_first(client):
    with pytest.raises(openai.BadRequestError) as raised:
        complete(client, [5] * 5000)
    assert raised.value.body["message"].startswith("This model's maximum context length is 4096 tokens")


def test_tools_are_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}],
                                       tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
    assert raised.value.param == "tools"


def test_service_endpoints(server):
    assert httpx.get(server.url + "/health").status_code == 200
    assert httpx.get(server.url + "/readyz").status_code == 200
    assert httpx.get(server.url + "/livez").status_code == 200
    assert httpx.get(server.url + "/version").json()["version"]
    assert httpx.get(server.url + "/nothing").status_code == 404
    assert httpx.get(server.url + "/v1/completions").status_code == 405
