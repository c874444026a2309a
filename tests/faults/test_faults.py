"""What clients see when ranks, leaders, mpirun and the coordinator die or stand still: the real programs on real mpirun
groups, a hash chain for a model. Every token of every stream is compared with what must come."""
import asyncio
import os
import random
import signal
import subprocess

import pytest

from campaign import flags, groups_of, inject, model_folder
from chain import random_prompt
from server import BIN, PATIENCE, ROOT, Server, alive, eventually, free_port
from streams import Wrong, completion


@pytest.fixture
def model(tmp_path):
    return model_folder(tmp_path)


def without_reports_of_segv():
    """Environment in which the sanitizers leave SIGSEGV alone: here it is sent, and no fault of the program."""
    return {**os.environ, **{name: f"{os.environ.get(name, '')}:handle_segv=0" for name in ("ASAN_OPTIONS", "TSAN_OPTIONS")}}


def test_twenty_faults_cost_no_token(tmp_path, model):
    with Server(tmp_path / "log", *flags(groups=3), model=model, environment=without_reports_of_segv()) as server:
        report = asyncio.run(inject(server, count=20, seed=7))
    assert report["faults"] == 20
    assert report["unnoticed"] == [], report
    assert report["failures"] == [], report
    assert report["answers"]["complete"] > 20
    assert report["replays"] > 0


def long_stream(server, on_token, max_tokens=600):
    return completion(server.port, random_prompt(random.Random(3)), max_tokens, stream=True, on_token=on_token)


class At:
    """Calls act() at the given token numbers."""

    def __init__(self, act, *numbers):
        self.act, self.numbers, self.seen = act, set(numbers), 0

    def __call__(self):
        self.seen += 1
        if self.seen in self.numbers:
            self.act()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["kill", "stop"])
def test_streams_wait_for_the_only_group(tmp_path, model, number):
    with Server(tmp_path / "log", *flags(groups=1), model=model) as server:
        epoch = server.metric("batchmax_group_epoch")
        asyncio.run(long_stream(server, At(lambda: os.kill(groups_of(server)["g0"]["leader"], number), 50)))
        assert server.metric("batchmax_requests_replayed_total") == 1
        assert server.metric("batchmax_group_epoch") > epoch


def test_the_migration_limit_ends_a_request_honestly(tmp_path, model):
    with Server(tmp_path / "log", *flags(groups=1), "--migration-limit", 1, model=model) as server:
        def kill():
            os.kill(groups_of(server)["g0"]["follower"], signal.SIGKILL)
        with pytest.raises(Wrong) as ended:
            asyncio.run(long_stream(server, At(kill, 50, 100), max_tokens=2000))
        assert ended.value.kind == "error"
        assert "attempt 2" in str(ended.value)
        asyncio.run(long_stream(server, lambda: None, max_tokens=20))  # the group comes back all the same


class HandStarted:
    """Coordinator and one group of two ranks, each started by hand; use as a context manager."""

    def __init__(self, folder, model):
        secret = folder / "secret"
        secret.write_text("a secret of this test\n")
        secret.chmod(0o600)
        shared = ["--worker-port", free_port(), "--secret-file", secret, "--load-format", "dummy", "-tp", 2, "--threads", 1]
        self.server = Server(folder / "log", *shared, "--groups", 0, model=model)
        self.mpirun = [str(ROOT / "scripts" / "mpirun"), "2", str(BIN / "batchmax-worker"), str(model), *map(str, shared)]
        self.group_log = folder / "group"

    def __enter__(self):
        self.server.start()
        with open(self.group_log, "w") as log:
            self.group = subprocess.Popen(self.mpirun, stdout=log, stderr=log)
        self.server.wait_healthy()
        return self

    def __exit__(self, *_):
        self.server.end()
        self.group.terminate()
        try:
            self.group.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.group.kill()
            self.group.wait()

    def ranks(self):
        own = self.server.process
        self.server.process = self.group
        try:
            return self.server.ranks()
        finally:
            self.server.process = own


def test_a_coordinator_that_starts_again_finds_its_groups(tmp_path, model):
    with HandStarted(tmp_path, model) as both:
        ranks = both.ranks()
        assert len(ranks) == 2

        def kill():
            both.server.send_signal(signal.SIGKILL)
        with pytest.raises(Wrong) as ended:
            asyncio.run(long_stream(both.server, At(kill, 20)))
        assert ended.value.kind == "cut"
        both.server.process.wait(PATIENCE)
        both.server.start()
        both.server.wait_healthy()
        assert both.ranks() == ranks, "the group was not started again"
        asyncio.run(long_stream(both.server, lambda: None, max_tokens=50))
        eventually(both.server.idle, "nothing left of what the first coordinator had asked for")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_stopped_rank_of_a_group_started_by_hand_ends_the_group(tmp_path, model, victim):
    with HandStarted(tmp_path, model) as both:
        ranks = both.ranks()
        os.kill(ranks[victim], signal.SIGSTOP)
        assert both.group.wait(PATIENCE) != 0
        eventually(lambda: not any(map(alive, ranks)), "ended ranks")
        assert "no progress for" in both.group_log.read_text()
