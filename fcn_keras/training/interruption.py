"""Handles Ctrl-C and SIGTERM so that training can finish its step and save before it ends."""

import signal
import sys
import threading
from types import FrameType
from typing import Any


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
    """Stores the first Ctrl-C or SIGTERM in `received`; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        """Creates the object; `listen` installs the handlers."""
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Installs the signal handlers; Python allows this in the main thread only."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)

    def close(self) -> None:
        """Restores the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        print("stopping: finishing the step and saving ...", file=sys.stderr)
