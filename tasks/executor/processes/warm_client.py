"""The caller's side of `tasks.executor.processes.warm_server`: start a server, ask it for processes, follow them, end
them."""

import codecs
import contextlib
import itertools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.executor.processes.warm_server import EXIT_CODE, HEADER, STARTED

SCRIPT = Path(__file__).with_name("warm_server.py")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GRACE = 2.0
"""Seconds between asking a process group to end and killing it."""


class Server:
    """A server that can be asked for processes. What it started for us ends when this process does.

    Args:
        channel: leads to it.
        is_importing: whether it may still have to import its libraries.
    """

    def __init__(self, channel: socket.socket, *, is_importing: bool) -> None:
        self._socket, self.is_importing = channel, is_importing
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._lost = False

    @property
    def alive(self) -> bool:
        """Whether it can be asked for more."""
        return not self._lost

    def launch(self, request: dict[str, Any]) -> tuple[int, int, int]:
        """Ask for a process: its number, the descriptor of its output, the descriptor of its fate.

        Raises:
            ConnectionError: the server is gone.
        """
        number = next(self._numbers)
        output, output_end = os.pipe()
        report, report_end = os.pipe()
        try:
            keep = request["keep"]
            self._send({**request, "number": number}, [output_end, report_end, *keep])
        except OSError:
            os.close(output)
            os.close(report)
            raise
        finally:
            os.close(output_end)
            os.close(report_end)
        return number, output, report

    def send_signal(self, number: int, which: signal.Signals) -> None:
        """Send a signal to a process and its group; nothing happens if it has ended."""
        with contextlib.suppress(OSError):
            self._send({"number": number, "signal": which}, [])

    def abort(self) -> None:
        """Have what was asked of it end at once, and ask it for nothing more."""
        self._lost = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all that it started for us."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR if self.is_importing else socket.SHUT_WR)
            self._socket.recv(1)  # ends after what it started
        self._socket.close()

    def _send(self, message: dict[str, Any], descriptors: list[int]) -> None:
        body = json.dumps(message).encode()
        with self._lock:
            socket.send_fds(self._socket, [HEADER.pack(len(body))], descriptors)
            self._socket.sendall(body)


class OwnServer(Server):
    """A server that is started here. It ends, and with it all that it started, when this process does.

    Args:
        preload: modules that it imports before it serves; those that are missing are passed over.
        listener: a socket at which others may attach, and end with it too.
        key: what those have to say.
    """

    def __init__(self, preload: tuple[str, ...], listener: socket.socket | None = None, key: str = "") -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours, is_importing=bool(preload) and not listener)  # of a shared one we ask nothing
        # The libraries are imported with one thread each: a pool of theirs would not survive the fork. Nor would CUDA:
        # a library that asks on import whether there is a GPU must not start the driver to find out.
        survive = {**dict.fromkeys(THREAD_VARIABLES, "1"), "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        # OpenMP's threads spin while they wait for each other: where cores are busy that costs many times the work.
        waiting = {"OMP_WAIT_POLICY": "passive"}
        environment = waiting | {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        passed = [end.fileno() for end in (theirs, listener) if end]
        ends = (passed[0], passed[1] if listener else "")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *map(str, ends), key, *preload],
                env={**environment, **survive},
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for the caller, who decides what to end
            )

    @property
    def alive(self) -> bool:
        """Whether it can be asked for more."""
        return not self._lost and self._process.poll() is None

    def abort(self) -> None:
        """End it at once, in the middle of its imports, and ask it for nothing more."""
        self._lost = True
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it and all that it started."""
        self._socket.close()
        if self.is_importing:
            self.abort()
        self._process.wait()


Choice = tuple[Callable[[], Server], dict[str, Any]]


class Process:
    """A command on a server.

    Args:
        choices: servers and what to ask them for. The first is taken; the next if that server ends before it has begun.
        on_line: gets each line of output.
    """

    def __init__(self, choices: list[Choice], on_line: Callable[[str], None]) -> None:
        self._choices, self._on_line = choices, on_line
        self._killed = False
        self._lock = threading.Lock()

    def start(self) -> "Process":
        """Ask for it, and return at once."""
        while True:
            find, request = self._choices.pop(0)
            try:
                self._server = find()
                self._number, self._output, self._report = self._server.launch(request)
            except ConnectionError:
                self._server.abort()
                if not self._choices:
                    raise
            else:
                return self

    def wait(self) -> int:
        """Pass its lines on until it ends; the exit code (negative: the signal that ended it)."""
        while True:
            try:
                fate = self._follow()
            except BaseException:
                self.kill()  # nobody would wait for it any more
                raise
            finally:
                os.close(self._output)
                os.close(self._report)
            if len(fate) > STARTED.size:
                return int(EXIT_CODE.unpack(fate[STARTED.size :])[0])
            with self._lock:
                self._server.abort()
                if fate:  # the command ended with its server; what it had started may live on
                    _end_group(*STARTED.unpack(fate))
                if fate or self._killed or not self._choices:
                    return -signal.SIGKILL  # the server was killed, and its children with it
                self.start()

    def kill(self) -> None:
        """End it and all that it started: asked to first, killed after a moment of grace."""
        with self._lock:
            self._killed = True
            if self._server.is_importing:
                self._server.abort()  # it would not listen for seconds, and nothing runs in it
                return
        self._server.send_signal(self._number, signal.SIGTERM)
        timer = threading.Timer(GRACE, self._server.send_signal, (self._number, signal.SIGKILL))
        timer.daemon = True
        timer.start()

    def _follow(self) -> bytes:
        """Everything the server reports of this process; its lines are passed on meanwhile."""
        lines, fate = Lines(self._on_line), b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._report, selectors.EVENT_READ)
            while selector.get_map().get(self._report):
                for key, _ in selector.select():
                    chunk = os.read(key.fd, 65536)
                    if key.fd == self._report:
                        fate += chunk
                        self._server.is_importing = False
                    else:
                        lines.feed(chunk)
                    if not chunk:
                        selector.unregister(key.fd)
        os.set_blocking(self._output, False)  # what is left; a process that left its group may hold the pipe open
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._output, 65536):
                lines.feed(chunk)
        lines.end()
        return fate


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class Lines:
    """Cuts a stream of bytes into lines; of a line that was drawn again and again (a progress bar), the last."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> None:
        """Take more of the stream."""
        *lines, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        for line in lines:
            self._on_line(_last_drawn(line).rstrip("\r"))
        self._rest = _last_drawn(self._rest)

    def end(self) -> None:
        """Take what is left as the last line."""
        if self._rest:
            self.feed(b"\n")


def _last_drawn(line: str) -> str:
    """What a terminal would show of a line with carriage returns in it."""
    return line[line.rfind("\r", 0, len(line) - 1) + 1 :]
