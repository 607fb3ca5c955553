"""Stops tf.data's calls into Python before the interpreter shuts down.

While an iterator is alive, TensorFlow's threads call our Python functions to prefetch batches. A
thread that waits for the GIL during shutdown never gets it, and the process hangs or aborts,
whatever its exit status should have been. An exit hook therefore makes every function that reads
examples fail, waits until TensorFlow's threads are idle, and only then lets the shutdown continue.

Exit hooks run last in, first out: a hook that still reads batches must be registered after this
module is imported.
"""

import atexit
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, TypeVarTuple

QUIET = 0.1  # Seconds without a call after which TensorFlow's threads count as idle.
PATIENCE = 30.0  # Most seconds to wait for running calls, such as reads from a slow disk.

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


def stopped_at_exit(load: Callable[[*Arguments], T]) -> Callable[[*Arguments], T]:
    """Wraps a function that reads examples, so that it fails once the process is ending.

    Args:
        load: The function that `tf.numpy_function` calls inside `Dataset.map`.

    Returns:
        The wrapped function.
    """

    @functools.wraps(load)
    def call(*args: *Arguments) -> T:
        with _calls:
            if _calls.are_over:
                # TensorFlow logs a traceback for every exception except this one. Inside `map` it
                # still reaches the consumer as an error, not as the end of the data.
                raise StopIteration(
                    "DataError: the process is ending and reads no more examples. If it was "
                    "`fcn-keras data serve`, start it again and resume training (--resume)."
                )
            return load(*args)

    return call


def ended_at_exit(order: Callable[[], Iterable[T]]) -> Callable[[], Iterator[T]]:
    """Wraps a generator of read requests, so that it ends once the process is ending.

    Args:
        order: The generator function, without arguments, for `Dataset.from_generator`.

    Returns:
        The wrapped function.
    """

    @functools.wraps(order)
    def items() -> Iterator[T]:
        for item in order():
            with _calls:
                is_last = _calls.are_over
            yield item
            if is_last:  # Reading this item fails: the consumer gets an error, not the end.
                return

    return items


class _Calls:
    """Counts the running calls from TensorFlow's threads."""

    def __init__(self) -> None:
        self.are_over = False
        self._lock, self._running, self._last = threading.Lock(), 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._running += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._running -= 1
            self._last = time.monotonic()

    def end(self) -> None:
        """Makes calls fail from now on, and waits until no more arrive."""
        self.are_over = True
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and not self._is_quiet():
            time.sleep(QUIET / 10)

    def _is_quiet(self) -> bool:
        with self._lock:
            return not self._running and time.monotonic() - self._last > QUIET


_calls = _Calls()
atexit.register(_calls.end)
