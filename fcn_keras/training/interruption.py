"""Ctrl-C and SIGTERM, noted so that a training can finish its step and save before it ends."""

import signal
import sys
import threading
from types import FrameType
from typing import Any


class Stopped(SystemExit):
    """A training that was asked to stop, and has saved; the exit status is the shell's for it."""

    def __init__(self, number: int, message: str) -> None:
        """For the signal of that number; the message goes to the standard error output."""
        super().__init__(128 + number)
        print(message, file=sys.stderr)


class StopSignals:
    """Notes the first Ctrl-C or SIGTERM in `received`; a second Ctrl-C stops at once, as usual."""

    def __init__(self) -> None:
        """Does nothing yet."""
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Takes the signals over; in the main thread only, where Python can."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)

    def close(self) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        print("stopping: finishing the step and saving ...", file=sys.stderr)
