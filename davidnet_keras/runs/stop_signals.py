"""Stop a run in good order when it is asked to."""

import contextlib
import os
import signal
import sys
import threading


class Interrupted(KeyboardInterrupt):
    """A run that was asked to stop, and has saved itself first.

    Args:
        signal_number: the signal that asked; a program's exit code is 128 more, as shells have it.
        progress: how far the run was when it was saved; its text says so in words.
        run_dir: the run's folder.
        function: name of the function of this package that goes on with such a folder.
    """

    def __init__(self, signal_number, progress, run_dir, function="resume"):
        name = signal.Signals(signal_number).name
        super().__init__(
            f"{name}: saved after {progress}; davidnet_keras.{function}({str(run_dir)!r}) goes on from there."
        )
        self.signal_number = signal_number
        self.progress = progress


class StopSignals:
    """Context in which the first Ctrl-C, SIGTERM or SIGHUP is only noted, for the run to act on between two batches.

    The second one ends a program at once, whatever it is doing: every file is safe against that. In an interactive
    session, which is worth more than the run, the second does what it always did: Ctrl-C raises KeyboardInterrupt.
    A signal that the program ignores (`nohup`) stays ignored, and outside the main thread nothing is changed.

    Args:
        announce: bool, whether to say on standard error that the batch is being finished.

    Attributes:
        received: the signal's number, or None.
    """

    def __init__(self, announce=True):
        self.announce = announce
        self.received = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)):
                # None is also what a handler looks like that was not installed from Python.
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number, frame):
        self.received = number
        for other, handler in self._before.items():
            signal.signal(other, handler if is_interactive() else signal.SIG_DFL)
        if self.announce:
            with contextlib.suppress(OSError):  # after SIGHUP the terminal is gone
                # Not print: the signal may have come in the middle of another one.
                os.write(2, b"\nFinishing the batch and saving; once more ends at once.\n")


def is_interactive():
    """Whether Python is used from a prompt or a notebook."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules
