"""How a server ends under load, and when it gives up: the real programs on real mpirun groups, a hash chain for a model."""
import asyncio
import os
import random
import shutil
import signal
import subprocess

import pytest

from campaign import flags, groups_of, model_folder
from chain import random_prompt
from server import BIN, PATIENCE, Server, alive, eventually
from streams import Wrong, completion

CLIENTS = 8


@pytest.fixture
def model(tmp_path):
    return model_folder(tmp_path)


async def end_under_load(server, max_tokens, then=lambda: None):
    """SIGTERM once all clients have a token; (kind, detail) of what went wrong for each, and of a newcomer."""
    begun = set()

    async def client(i):
        try:
            await completion(server.port, random_prompt(random.Random(i)), max_tokens, stream=True, on_token=lambda: begun.add(i))
        except Wrong as wrong:
            return wrong.kind, str(wrong)
        return None

    async def until(condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)
    running = [asyncio.create_task(client(i)) for i in range(CLIENTS)]
    await until(lambda: len(begun) == CLIENTS)
    server.send_signal(signal.SIGTERM)
    await until(lambda: "shutting down" in server.log.read_text())
    assert server.status("/readyz") == 503
    assert server.status("/livez") == 200
    assert not any(task.done() for task in running)
    newcomer = await client(CLIENTS)
    then()
    return await asyncio.gather(*running), newcomer


@pytest.mark.parametrize("lost", [None, "leader"], ids=["groups live", "group dies meanwhile"])
def test_sigterm_under_load_costs_no_token(tmp_path, model, lost):
    # The claim is that nobody is cut off who has time left, not how fast this machine is.
    with Server(tmp_path / "log", *flags(groups=2), "--shutdown-timeout", PATIENCE, model=model) as server:
        children = server.descendants()

        def kill():
            if lost:
                os.kill(groups_of(server)["g0"][lost], signal.SIGKILL)
        wrongs, newcomer = asyncio.run(end_under_load(server, 800, kill))
        assert wrongs == [None] * CLIENTS
        assert newcomer[0] == "error" and "503" in newcomer[1]
        assert server.process.wait(PATIENCE) == 0
        eventually(lambda: not any(map(alive, children)), "ended children")


def test_what_the_shutdown_timeout_cuts_off_ends_honestly(tmp_path, model):
    with Server(tmp_path / "log", *flags(groups=2), "--shutdown-timeout", 1, model=model) as server:
        wrongs, _ = asyncio.run(end_under_load(server, 3900))
        assert all(wrong and wrong[0] == "error" and "shutting down" in wrong[1] for wrong in wrongs), wrongs
        assert server.process.wait(PATIENCE) == 0


def test_a_group_that_never_becomes_healthy_is_given_up(tmp_path, model):
    programs = tmp_path / "programs"
    programs.mkdir()
    shutil.copy(BIN / "batchmax", programs)
    worker = programs / "batchmax-worker"
    worker.write_text("#!/bin/sh\necho batchmax-worker: no luck >&2\nexit 1\n")
    worker.chmod(0o755)
    served = subprocess.run([programs / "batchmax", "serve", model, "--port", "0", "--load-format", "dummy", "--groups", "1"],
                            capture_output=True, text=True, timeout=PATIENCE)
    assert served.returncode == 1
    assert served.stderr.count("group started") == 5
    assert "group g0 cannot be started: no luck" in served.stderr
