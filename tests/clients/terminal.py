"""A program on a terminal of its own: what it shows, and keys for it."""
import os
import pty
import re
import select
import time

from server import PATIENCE


class Terminal:
    """Use as a context manager; who is left running is hung up on."""

    def __init__(self, command, environment):
        self.shown = ""  # with the terminal's echo of what was typed
        self.seen = 0
        self.status = None
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.terminal)
        if self.status is None:
            os.waitpid(self.pid, 0)

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def _read(self):
        if select.select([self.terminal], [], [], 0.1)[0]:
            try:
                data = os.read(self.terminal, 4096)
            except OSError:  # the program has ended
                data = b""
            self.shown += data.decode().replace("\r\n", "\n")
            return bool(data)
        return True

    def expect(self, pattern):
        """Waits until what came since the last expect() matches; what was shown up to its end."""
        end = time.monotonic() + PATIENCE
        while True:
            found = re.compile(pattern).search(self.shown, self.seen)
            if found:
                begin, self.seen = self.seen, found.end()
                return self.shown[begin:self.seen]
            assert time.monotonic() < end, f"no {pattern!r} in {self.shown[self.seen:]!r}"
            assert self._read(), f"it ended without {pattern!r}: {self.shown[self.seen:]!r}"

    def wait(self):
        """The exit status, minus the signal's number where one ended it."""
        while self._read():
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status
