"""Ends this process if a call takes too long that Python cannot interrupt.

A C function that holds Python's GIL stops all threads and signal handlers of the process, so
another process watches the time. This module does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, cast

# A terminal and most schedulers send a signal to all processes of a group, so also to this one. Its
# input ends when the watched call, or the watched process, has ended.
_CODE = """
import os, select, signal, sys
seconds, watched, line = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def end(number=None, frame=None):
    if number is None:
        print(line, file=sys.stderr, flush=True)
    os.kill(watched, signal.SIGKILL)
    os._exit(0)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, end)
print("ready", flush=True)
if not select.select([sys.stdin], [], [], seconds)[0]:
    end()
"""


@contextlib.contextmanager
def time_limit(seconds: float, line: str) -> Iterator[None]:
    """Kills this process if the block takes longer, or on Ctrl-C, SIGTERM or SIGHUP to its group.

    Args:
        seconds: The limit.
        line: Printed to stderr after the limit.
    """
    arguments = [sys.executable, "-I", "-c", _CODE, str(seconds), str(os.getpid()), line]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe) as watching:
        cast(IO[bytes], watching.stdout).readline()  # It listens to signals from now on.
        try:
            yield
        finally:
            watching.communicate()  # Closes its input.
