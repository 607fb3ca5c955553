"""Lets a training finish its step and save before it ends.

It ends on Ctrl-C, SIGTERM or SIGHUP, or when the reader of its output has gone, as in
`train | head -3`.
"""

import errno
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOST = (errno.EPIPE, errno.EIO)  # The reader of a pipe has gone; the terminal is closed.


class Stopped(SystemExit):
    """The training was stopped by a signal and saved; exits with status 128 + signal number."""

    def __init__(self, number: int, message: str) -> None:
        """Prints the message to stderr.

        Args:
            number: The signal's number.
            message: What to print.
        """
        super().__init__(128 + number)
        print(message, file=sys.stderr)


class StopSignals:
    """Stores the first signal in `received`; a second Ctrl-C interrupts at once.

    Output that nobody reads any more counts as SIGPIPE.
    """

    def __init__(self) -> None:
        """Creates the object; `listen` installs the handlers."""
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._outputs: dict[str, _Output] = {}

    def listen(self) -> None:
        """Installs the signal handlers; Python allows this in the main thread only.

        Signals that the parent process ignores, as `nohup` does, stay ignored.
        """
        if threading.current_thread() is not threading.main_thread() or self._outputs:
            return
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)
        for name in ("stdout", "stderr"):
            if (stream := getattr(sys, name)) is not None:
                self._outputs[name] = _Output(stream, self._reader_has_gone)
                setattr(sys, name, self._outputs[name])

    def close(self) -> None:
        """Restores the previous signal handlers, and the outputs unless their reader has gone."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.received not in (signal.SIGPIPE, signal.SIGHUP):
            for name, output in self._outputs.items():
                if getattr(sys, name) is output:
                    setattr(sys, name, output.stream)
        self._before, self._outputs = {}, {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        print("stopping: finishing the step and saving ...", file=sys.stderr)

    def _reader_has_gone(self) -> None:
        if self.received is None:
            self._note(signal.SIGPIPE, None)


class _Output:
    """A text stream that drops what it cannot write, so that no print ends the training."""

    def __init__(self, stream: TextIO, reader_has_gone: Callable[[], None]) -> None:
        self.stream, self.reader_has_gone = stream, reader_has_gone

    def write(self, text: str) -> int:
        self._attempt(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._attempt(self.stream.flush)

    def _attempt(self, action: Callable[..., object], *arguments: str) -> None:
        try:
            action(*arguments)
        except OSError as error:
            if error.errno in LOST:
                self.reader_has_gone()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
