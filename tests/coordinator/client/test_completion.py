"""Completion in the real shells: what they offer is what the commands' own help lists."""
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BATCHMAX = Path(os.environ.get("BATCHMAX_BIN", ROOT / "build" / "release" / "bin")) / "batchmax"
needs = {shell: pytest.mark.skipif(not shutil.which(shell), reason=f"no {shell} here") for shell in ("zsh", "fish")}


def batchmax(*arguments):
    return subprocess.run([str(BATCHMAX), *arguments], capture_output=True, text=True, check=True).stdout


def flags_in_help(command):
    return set(re.findall(r"^  (--[\w-]+)", batchmax(command, "--help"), re.MULTILINE))


def bash(*words, folder=ROOT):
    """What bash's own function for `batchmax` puts into COMPREPLY for these words, the last of which has the cursor."""
    script = 'source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _batchmax; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "--norc", "-c", script, str(BATCHMAX), *words], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_the_commands():
    assert bash("batchmax", "") == re.findall(r"^  batchmax (\w+)", batchmax("help"), re.MULTILINE)
    assert bash("batchmax", "ch") == ["chat"]


@pytest.mark.parametrize("command", ["serve", "chat", "bench"])
def test_bash_offers_every_flag_of_a_command(command):
    flags = flags_in_help(command)
    assert len(flags) > 5
    assert flags <= set(bash("batchmax", command, "--"))


@pytest.mark.parametrize("words, offered", [
    (["serve", "--compression", ""], ["off", "decode", "full"]),
    (["serve", "--compression", "=", "f"], ["full"]),
    (["serve", "--compression", "="], ["off", "decode", "full"]),
    (["chat", "--compression", "d"], ["decode"]),
    (["completion", ""], ["bash", "zsh", "fish"]),
    (["serve", "--port", ""], []),
    (["serve", "-t"], ["-tp"]),
    (["version", ""], []),
    (["nonsense", "-"], []),
])
def test_bash_offers_the_values_of_a_flag(words, offered):
    assert bash("batchmax", *words) == offered


def test_bash_offers_files_and_folders_where_they_are_wanted(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "mode.txt").touch()
    assert bash("batchmax", "serve", "mo", folder=tmp_path) == ["model"]
    assert sorted(bash("batchmax", "chat", "--file", "mo", folder=tmp_path)) == ["mode.txt", "model"]


def shell_session(command, environment, typed):
    """What an interactive shell shows, with these keys typed, until a line begins with "ran:"."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, {"PATH": os.environ["PATH"], "TERM": "dumb", **environment})
    shown = b""
    try:
        os.write(terminal, typed)
        end = time.monotonic() + 60
        while time.monotonic() < end and not re.search(rb"[\r\n]ran: [^\r\n]*[\r\n]", shown):
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 4096)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return shown.decode(errors="replace")


def test_bash_completes_what_is_typed(tmp_path):
    """Readline itself, with its own idea of words: the line that runs is the completed one."""
    shown = shell_session(["bash", "--norc", "--noprofile"], {"HOME": str(tmp_path)},
                          f'PS1=; batchmax() {{ echo "ran:" "$@"; }}; source <({BATCHMAX} completion bash)\n'
                          "batchmax serve --compr\tfu\t--eviction-sc\tla\t\n".encode())
    assert "ran: serve --compression full --eviction-scope layer" in shown


@needs["zsh"]
def test_zsh_completes_what_is_typed(tmp_path):
    (tmp_path / "_batchmax").write_text(batchmax("completion", "zsh"))
    shown = shell_session(["zsh", "-f", "-i"], {"HOME": str(tmp_path)},
                          f"PS1=; fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D; batchmax() {{ echo ran: $@ }}\n"
                          "batchmax serve --compr\tfu\t--eviction-sc\tla\t\n".encode())
    assert "ran: serve --compression full --eviction-scope layer" in shown


@needs["fish"]
def test_fish_offers_commands_flags_and_values(tmp_path):
    (tmp_path / "batchmax.fish").write_text(batchmax("completion", "fish"))

    def offered(line):
        done = subprocess.run(["fish", "--no-config", "-c", f"source {tmp_path}/batchmax.fish; complete -C '{line}'"], check=True,
                              capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
        return {line.split("\t")[0] for line in done.stdout.splitlines()}
    assert offered("batchmax ") == set(bash("batchmax", ""))
    assert offered("batchmax serve --compression ") == {"off", "decode", "full"}
    assert flags_in_help("serve") <= offered("batchmax serve --")


def test_another_shell_is_refused_by_name():
    done = subprocess.run([str(BATCHMAX), "completion", "tcsh"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "bash, zsh or fish" in done.stderr
