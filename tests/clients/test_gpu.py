"""The real programs on a GPU: many clients at once, clients that leave, a killed rank. Without a device: nothing runs."""
import asyncio
import os
import signal
from pathlib import Path

import openai
import pytest

from server import Server, eventually

MODEL = "longbook-17m"
REQUESTS = 256
GPUS = len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))
pytestmark = pytest.mark.skipif(GPUS == 0, reason="no device")


@pytest.fixture(scope="module")
def gpu_server(tmp_path_factory):
    """As many ranks as the machine has GPUs and the model allows."""
    ranks = 2 if GPUS >= 2 else 1
    with Server(tmp_path_factory.mktemp("gpu") / "log", "-tp", ranks, "--backend", "cuda", "--max-num-seqs", 128) as server:
        yield server


async def stream(client, passage, number, leave_after=None):
    """The number of tokens that came, and how the stream ended."""
    tokens, finish = 0, None
    answer = await client.completions.create(model=MODEL, prompt=passage["prompt"][:400 + 11 * number], max_tokens=64,
                                             temperature=0, stream=True, extra_body={"ignore_eos": True})
    try:
        async for chunk in answer:
            tokens += 1
            finish = chunk.choices[0].finish_reason or finish
            if leave_after is not None and tokens >= leave_after:
                await answer.close()
                return tokens, "left"
    except openai.APIError as error:
        return tokens, f"error: {error.message}"
    return tokens, finish


def all_at_once(server, passage, leavers=0, during=None):
    async def run():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=300) as client:
            tasks = [asyncio.create_task(stream(client, passage, i, 5 if i < leavers else None)) for i in range(REQUESTS)]
            if during:
                await asyncio.sleep(0.5)
                during()
            return await asyncio.gather(*tasks)
    return asyncio.run(run())


def test_256_requests_and_those_who_leave(gpu_server, passage):
    ends = all_at_once(gpu_server, passage, leavers=64)
    assert [end for _, end in ends[:64]] == ["left"] * 64
    assert ends[64:] == [(65, "length")] * (REQUESTS - 64) or ends[64:] == [(64, "length")] * (REQUESTS - 64)
    eventually(gpu_server.idle, "free pages")


def test_a_killed_rank_costs_no_client_its_end(gpu_server, passage):
    before = gpu_server.ranks()
    ends = all_at_once(gpu_server, passage, during=lambda: os.kill(before[-1], signal.SIGKILL))
    assert all(end == "length" or end.startswith("error") for _, end in ends), ends
    eventually(lambda: gpu_server.status("/health") == 200 and not set(gpu_server.ranks()) & set(before), "a new group")
    eventually(gpu_server.idle, "free pages")


@pytest.mark.skipif(GPUS < 2, reason="one device")
def test_a_killed_group_loses_nothing_where_another_serves(passage, tmp_path):
    with Server(tmp_path / "log", "--groups", 2, "--backend", "cuda", "--max-num-seqs", 128) as server:
        eventually(lambda: len(server.ranks()) == 2 and server.metric("batchmax_group_up") == 2, "two groups")
        victim = server.ranks()[0]
        ends = all_at_once(server, passage, during=lambda: os.kill(victim, signal.SIGKILL))
        assert {end for _, end in ends} == {"length"}
        eventually(lambda: server.metric("batchmax_group_up") == 2 and victim not in server.ranks(), "both groups")
        eventually(server.idle, "free pages")


def test_the_answer_is_that_of_the_cpu(gpu_server, passage, tmp_path):
    async def ask(server):
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=300) as client:
            answer = await client.chat.completions.create(model=MODEL, temperature=0, max_tokens=48,
                                                          messages=[{"role": "user", "content": passage["prompt"]}])
            return answer.choices[0].message.content.strip()
    assert asyncio.run(ask(gpu_server)) == passage["answer"]
    with Server(tmp_path / "log", "--backend", "cpu") as server:
        assert asyncio.run(ask(server)) == passage["answer"]
