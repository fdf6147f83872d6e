"""The process that stage processes are forked from: heavy libraries imported once, a child in hundredths of a second.

Run by `tasks.executor.processes.warm_client` as a script, `warm_server.py SOCKET_FD LISTENER_FD KEY [MODULE ...]`. It
uses nothing but the standard library, so that no module of a project is loaded here and every child sees the project's
code as it is on disk. `multiprocessing`'s own forkserver would import the caller's main module again in each child,
and would let the children live on when the caller is killed.

A message is a header with its length, two file descriptors (or none), and JSON. A child reports on its second
descriptor: its process before it begins, then its exit code. When the socket closes, because the caller ended or was
killed, every process group that was started here is killed, and the server ends after them.

A server may be shared (`tasks.executor.processes.shared_server`): it listens at a socket, and forks for each caller
that attaches a server of its own, with the libraries imported. So callers have nothing in common but the memory of the
libraries. All of them end with the caller that started the shared one, its owner.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

HEADER = struct.Struct("!I")
EXIT_CODE = struct.Struct("!i")
STARTED = struct.Struct("!i")
"""First of what is told of a command: its process, 0 if none could be started. Its exit code follows."""
CANNOT_START = 127
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MOST_DESCRIPTORS = 8
"""Of one request: output, report, and what the process is to keep open."""

Children = dict[int, tuple[int, int]]  # process id -> (number of the request, descriptor for its exit code)


def serve(channel: socket.socket, lifelines: Collection[int] = (), key: str = "") -> dict[str, Any] | None:
    """Start what is asked for until the caller is gone (None), or return in a child what it has to become.

    Args:
        channel: of the caller.
        lifelines: descriptors that become readable when others end, with whom this server ends.
        key: what the first message of an attached caller has to say, else it is left alone.
    """
    children: Children = {}
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # to wait for what a child started, too
    wake, waker = os.pipe()
    for end in (wake, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        readable, _, _ = select.select([channel.fileno(), wake, *lifelines], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _reap(children)
        ends = any(lifeline in readable for lifeline in lifelines)
        if ends or channel.fileno() in readable:
            message, descriptors = (None, []) if ends else _receive(channel)
            if message is None or message.get("key", key) != key:
                for pid in children:
                    _end_group(pid)
                return None
            if "signal" in message:
                for pid, (number, _) in children.items():
                    if number == message["number"]:
                        _signal_group(pid, message["signal"])
            elif "key" not in message and _fork(message, descriptors, children):
                reports = (report for _, report in children.values())
                for left_open in (channel.fileno(), wake, waker, *lifelines, *reports):
                    os.close(left_open)
                return message


def _receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    header, descriptors, _, _ = socket.recv_fds(channel, HEADER.size, MOST_DESCRIPTORS)
    header += _exactly(channel, HEADER.size - len(header)) if header else b""
    if not header:
        return None, []
    body = _exactly(channel, HEADER.unpack(header)[0])
    return (json.loads(body) if body else None), descriptors


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = []
    while size and (part := channel.recv(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts) if not size else b""


def _reap(children: Children) -> None:
    """Report the children that have ended, and end what they left running in their process group."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        if pid not in children:  # left its group and lost its parent: it is collected here, and nobody's business
            continue
        _end_group(pid)  # before its end is told: what is still running may still be writing
        _, report = children.pop(pid)
        _report(report, EXIT_CODE.pack(os.waitstatus_to_exitcode(status)))
        os.close(report)


def _report(descriptor: int, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for this one any more
        os.write(descriptor, content)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says "not permitted" of zombies
        os.killpg(pid, number)


def _end_group(pid: int) -> None:
    """Kill a child's process group, and return when those that this process can wait for are gone."""
    _signal_group(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-pid, 0)


def _fork(message: dict[str, Any], descriptors: list[int], children: Children) -> bool:
    """True in the child, which has its own process group and its output connected."""
    output, report, *kept = descriptors
    server, (gate, opener) = os.getpid(), os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.write(output, f"cannot start a process: {error}\n".encode())
        _report(report, STARTED.pack(0) + EXIT_CODE.pack(CANNOT_START))
        for descriptor in (*descriptors, gate, opener):
            os.close(descriptor)
        return False
    if pid:
        with contextlib.suppress(OSError):  # the child does so too: whoever comes first, it has its group from here on
            os.setpgid(pid, pid)
        children[pid] = (message["number"], report)
        _report(report, STARTED.pack(pid))
        os.write(opener, b" ")
        for descriptor in (output, gate, opener, *kept):
            os.close(descriptor)
        return False
    os.close(opener)
    if not os.read(gate, 1):  # a command that nobody has been told of must not begin: it would be begun once more
        os._exit(CANNOT_START)
    for descriptor in (gate, report):
        os.close(descriptor)
    for descriptor in kept:
        os.set_inheritable(descriptor, True)
    _settle_down(server, output)
    return True


def _settle_down(server: int, output: int) -> None:
    """Make this child a process of its own: group, signals, input and output."""
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # do not outlive the server
        if os.getppid() != server:
            os._exit(CANNOT_START)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def become(message: dict[str, Any], base_path: list[str]) -> NoReturn:
    """Turn this fresh child into the asked-for program: a shell command, or a module as `python -m` runs it."""
    os.environ.clear()
    os.environ.update(message["env"])
    try:
        os.chdir(message["cwd"])
        if "module" not in message:
            for name in {"SIGPIPE", "SIGXFZ", "SIGXFSZ"} & set(signal.Signals.__members__):  # as subprocess does:
                signal.signal(signal.Signals[name], signal.SIG_DFL)  # Python ignores them, a shell counts on them
            os.execvpe(message["argv"][0], message["argv"], message["env"])  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot start: {error}")
    extra = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]  # noqa: PTH100
    sys.path[:] = [os.getcwd(), *extra, *base_path]  # noqa: PTH109
    sys.argv = ["-m", *message["argv"]]
    sys.orig_argv = [sys.executable, "-m", message["module"], *message["argv"]]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if torch := sys.modules.get("torch"):  # it read the environment when it was imported
        torch.set_num_threads(message["threads"])
    _end(_run_module(message["module"]))


def _run_module(module: str) -> int:
    """Run `module` as the main program; the exit code that the interpreter would end with."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException as error:  # whatever a program may raise: the interpreter prints it and ends
        error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)  # without this frame
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """End as the interpreter does, but for taking the preloaded libraries apart (seconds, in a forked process)."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are not daemons
    atexit._run_exitfuncs()
    files = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    left_open = [item for item in gc.get_objects() if issubclass(type(item), files)]  # none of a frozen library's
    for file in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__, *left_open):
        with contextlib.suppress(Exception):  # closed, detached, or nobody listens
            file.flush()
    os._exit(code & 0xFF)


def share(owner: socket.socket, listener: socket.socket, waiting: list[socket.socket]) -> tuple[socket.socket, int]:
    """Fork a server for each caller that attaches, until the owner is gone: all end then, and this process too.

    Returns in such a server the channel of its caller, and a descriptor that is readable when this process has ended.
    """
    lifeline, held = os.pipe()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a server ended: the system collects it
    while True:
        while waiting:
            caller = waiting.pop()
            if not _hung_up(caller) and _fork_server() == 0:
                os.close(held)
                for ours in (owner, listener, *waiting):
                    ours.close()
                return caller, lifeline
            caller.close()
        readable, _, _ = select.select([owner, listener], [], [])
        if owner in readable:
            os.close(held)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)  # returns when the last one has ended: nobody may be left after the owner
            _end_sharing(listener)
        waiting.append(listener.accept()[0])


def _fork_server() -> int:
    try:
        return os.fork()
    except OSError:  # its channel is closed, and the caller starts a server of its own
        return -1


def _hung_up(caller: socket.socket) -> bool:
    """Whether a caller that attached is gone: what it had asked for must not begin any more."""
    poll = select.poll()
    poll.register(caller, 0)
    return bool(poll.poll(0))


def _end_sharing(listener: socket.socket | None) -> NoReturn:
    with contextlib.suppress(OSError):
        if listener is not None:
            os.unlink(listener.getsockname())  # noqa: PTH108
    os._exit(0)  # without taking the libraries apart: nobody waits for it


@contextlib.contextmanager
def _ending_with_the_caller(
    channel: socket.socket, listener: socket.socket | None
) -> Iterator[dict[int, socket.socket]]:
    """End at once if the caller does within the block: imports may take a while in which nobody reads the channel.

    Linux could do so by itself (PR_SET_PDEATHSIG), but takes the thread that started this process for the caller.
    Yields the callers that have attached meanwhile and not hung up, by their descriptors.
    """
    waiting: dict[int, socket.socket] = {}
    stop, stopper = os.pipe()
    poll = select.poll()
    poll.register(channel.fileno(), 0)  # that it was closed is told unasked
    poll.register(stop, select.POLLIN)
    if listener is not None:
        poll.register(listener, select.POLLIN)

    def watch() -> None:
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == channel.fileno():
                    _end_sharing(listener)
                elif descriptor == stop:
                    return
                elif descriptor in waiting:
                    poll.unregister(descriptor)
                    waiting.pop(descriptor).close()
                elif listener is not None:
                    caller, _ = listener.accept()
                    waiting[caller.fileno()] = caller
                    poll.register(caller, 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield waiting
    finally:
        os.write(stopper, b" ")
        watcher.join()  # no thread may be left: it would not survive a fork
        os.close(stop)
        os.close(stopper)


def main() -> None:
    """Import the libraries, then serve."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    base_path = [entry for entry in sys.path if entry != here]
    sys.path[:] = base_path
    channel, listener = (socket.socket(fileno=int(number)) if number else None for number in sys.argv[1:3])
    assert channel is not None
    key, *modules = sys.argv[3:]
    with _ending_with_the_caller(channel, listener) as waiting:
        for module in modules:
            with contextlib.suppress(ImportError):  # not installed: stages that want it will say so themselves
                importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a child's collector then leaves the shared pages alone
    lifelines: list[int] = []
    if listener is not None:
        channel, *lifelines = share(channel, listener, list(waiting.values()))
    message = serve(channel, lifelines, key)
    if message is None:
        os._exit(0)  # without taking the libraries apart: nobody waits for it
    channel.detach()
    become(message, base_path)


if __name__ == "__main__":
    main()
