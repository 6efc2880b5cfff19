"""Stop a run at a safe moment when a signal asks for it."""

import contextlib
import os
import signal
import sys
import threading


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run, which was saved first.

    Args:
        signal_number: the signal; a program's exit code is 128 more by custom.
        progress: how far the run was when it was saved; its text says so in words.
        function: name of the public function that continues in the folder `run_dir`. Default "resume".
    """

    def __init__(
        self, signal_number: int, progress: object, run_dir: str | os.PathLike, function: str = "resume"
    ) -> None:
        how = f"davidnet_keras.{function}({str(run_dir)!r}) continues from there"
        super().__init__(f"{signal.Signals(signal_number).name}: saved after {progress}; {how}.")
        self.signal_number, self.progress = signal_number, progress


class StopSignals:
    """Context that only notes the first Ctrl-C, SIGTERM or SIGHUP, so that the run can act on it between two batches.

    The second signal ends a program at once; every file is safe against that. In an interactive session it has its
    usual effect: Ctrl-C raises KeyboardInterrupt. A signal that the program ignores (`nohup`) stays ignored, and
    outside the main thread nothing changes. `received` is the signal's number, or None.

    Args:
        announce: whether to print to standard error that the batch is being finished.
    """

    def __init__(self, announce: bool = True) -> None:
        self.announce = announce
        self.received: int | None = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)):
                # getsignal returns None for a handler that was not installed from Python.
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number, frame):
        self.received = number
        interactive = hasattr(sys, "ps1") or "ipykernel" in sys.modules  # a prompt or a notebook
        for other, handler in self._before.items():
            signal.signal(other, handler if interactive else signal.SIG_DFL)
        if self.announce:
            with contextlib.suppress(OSError):  # after SIGHUP the terminal is gone
                # Not print, which this signal may have interrupted.
                os.write(2, b"\nFinishing this batch and saving. Interrupt again to stop at once.\n")
