"""Ends the Python work of `tf.data` before the interpreter ends.

As long as an iterator is alive, TensorFlow's threads call our Python functions ahead of need. A
thread that waits for Python's lock while the interpreter finalizes never gets it, and the process
hangs or aborts, whatever its exit status should have been. So at exit every function that reads
examples starts to raise, TensorFlow fills its buffers at once, and the exit waits until its threads
are idle.
"""

import atexit
import functools
import threading
import time

QUIET = 0.1  # Seconds without a call after which TensorFlow's threads are taken to be idle.
PATIENCE = 30.0  # Seconds for a call that is running, such as one that reads from a slow disk.


def stopped_at_exit(load):
    """Makes a function that a data set maps over its elements safe to run until the process ends.

    Args:
        load: what `tf.numpy_function` calls.

    Returns:
        The same function; it fails once the interpreter is about to end.
    """

    @functools.wraps(load)
    def call(*args):
        with _calls:
            if _calls.are_over:
                # Of all exceptions only this one is not logged with its traceback. Inside `map` it
                # is an error all the same, not the end of the data.
                raise StopIteration(
                    "DataError: the process that makes the batches is ending. If it is `fcn-keras "
                    "data serve`, start it again and resume the training (--resume)."
                )
            return load(*args)

    return call


def noted_at_exit(order):
    """Makes a generator of numbers, which cost nothing to make, known to the wait at exit.

    Args:
        order: what `tf.data.Dataset.from_generator` takes, a function without arguments.

    Returns:
        The same function.
    """

    @functools.wraps(order)
    def items():
        for item in order():
            with _calls:
                pass
            yield item

    return items


class _Calls:
    """The calls of TensorFlow's threads."""

    def __init__(self):
        self.are_over = False
        self._lock, self._running, self._last = threading.Lock(), 0, 0.0

    def __enter__(self):
        with self._lock:
            self._running += 1

    def __exit__(self, *exception):
        with self._lock:
            self._running -= 1
            self._last = time.monotonic()

    def end(self):
        """Lets calls fail from now on, and waits until none has come for a moment."""
        self.are_over = True
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and not self._is_quiet():
            time.sleep(QUIET / 10)

    def _is_quiet(self):
        with self._lock:
            return not self._running and time.monotonic() - self._last > QUIET


_calls = _Calls()
atexit.register(_calls.end)
