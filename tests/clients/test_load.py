"""Many clients at once, clients that leave, and a memory that holds only a few."""
import asyncio

import httpx
import openai
import pytest

from server import Server, eventually

MODEL = "longbook-17m"


def long_request(stream):
    return {"model": MODEL, "prompt": "Chapter one.", "max_tokens": 4000, "ignore_eos": True, "stream": stream}


def test_a_stream_that_is_left_frees_its_pages(client, server):
    stream = client.completions.create(**{key: value for key, value in long_request(True).items() if key != "ignore_eos"},
                                       extra_body={"ignore_eos": True})
    for _ in zip(range(3), stream):
        pass
    eventually(lambda: not server.idle(), "a running sequence")
    stream.close()
    eventually(server.idle, "free pages")


def test_a_whole_answer_that_nobody_waits_for_frees_its_pages(server):
    async def leave():
        async with httpx.AsyncClient(timeout=None) as http:
            request = asyncio.create_task(http.post(server.url + "/v1/completions", json=long_request(False)))
            while not request.done() and server.idle():
                await asyncio.sleep(0.05)
            assert not request.done()
            request.cancel()
    asyncio.run(leave())
    eventually(server.idle, "free pages")


@pytest.fixture(scope="module")
def small_server(tmp_path_factory):
    """KV memory for four sequences at a budget of 256 slots: 16 pages of 64 slots."""
    slot = 8 * 4 * (2 * 64 * 4 + 8)  # layers x KV heads x (K and V in float32, position and mass)
    with Server(tmp_path_factory.mktemp("small") / "log", "--kv-cache-dtype", "float32", "--kv-budget", 256, "--prefill-block",
                64, "--kv-cache-memory-bytes", 16 * 64 * slot, "--threads", 1) as one:
        assert one.metric("batchmax_kv_pages_total") == 16
        yield one


def test_64_requests_share_a_memory_that_holds_4(small_server, passage):
    most_running = most_waiting = 0

    async def ask(client, number):
        answer = await client.completions.create(model=MODEL, prompt=passage["prompt"][:1200 + 7 * number], max_tokens=8,
                                                 temperature=0, extra_body={"ignore_eos": True})
        return answer.usage.completion_tokens

    async def watch(stop):
        nonlocal most_running, most_waiting
        while not stop.is_set():
            most_running = max(most_running, await asyncio.to_thread(small_server.metric, "batchmax_sequences_running"))
            most_waiting = max(most_waiting, await asyncio.to_thread(small_server.metric, "batchmax_requests_waiting"))
            await asyncio.sleep(0.02)

    async def all_at_once():
        stop = asyncio.Event()
        watcher = asyncio.create_task(watch(stop))
        async with openai.AsyncOpenAI(base_url=small_server.url + "/v1", api_key="none", max_retries=0, timeout=300) as client:
            counts = await asyncio.gather(*(ask(client, number) for number in range(64)))
        stop.set()
        await watcher
        return counts

    assert asyncio.run(all_at_once()) == [8] * 64
    assert 1 <= most_running <= 4
    assert most_waiting > 0
    eventually(small_server.idle, "free pages")


def test_what_can_never_fit_is_refused_with_what_would(small_server):
    with openai.OpenAI(base_url=small_server.url + "/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            client.completions.create(model=MODEL, prompt=[5] * 2000, max_tokens=8, extra_body={"compression": "off"})
        assert raised.value.code == "kv_memory_exceeded"
        assert "1024" in raised.value.body["message"].replace(",", "")
        assert client.completions.create(model=MODEL, prompt=[5] * 2000, max_tokens=8).usage.prompt_tokens == 2000


def test_a_full_queue_is_said_at_once(tmp_path):
    with Server(tmp_path / "log", "--max-num-seqs", 1, "--max-num-queued-reqs", 1, "--threads", 1) as one:
        async def three():
            async with httpx.AsyncClient(timeout=None) as http:
                tasks = [asyncio.create_task(http.post(one.url + "/v1/completions", json=long_request(False)))]
                while one.idle():
                    await asyncio.sleep(0.05)
                tasks.append(asyncio.create_task(http.post(one.url + "/v1/completions", json=long_request(False))))
                while one.metric("batchmax_requests_waiting") == 0:
                    await asyncio.sleep(0.05)
                refused = await http.post(one.url + "/v1/completions", json=long_request(False))
                for task in tasks:
                    task.cancel()
                return refused
        refused = asyncio.run(three())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "queue_full"
        assert 1 <= int(refused.headers["retry-after"]) <= 30
