"""The command line: which command runs, and with which exit code it ends."""

import importlib
import signal
import sys

from davidnet_keras.cli.options import BAD_INPUT, PROGRAM, suggestion
from davidnet_keras.errors import UserError

# A program that a signal ends exits with 128 plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
DONE, SIGNALLED, INTERRUPTED = 0, 128, 130
COMMANDS = ("evaluate", "lr-find", "plot", "predict")  # the modules' names, with a hyphen


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal's encoding does not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        command = "train" if not argv or argv[0].startswith("-") else argv.pop(0)
        if command not in ("train", *COMMANDS):
            others = f"choose {', '.join(COMMANDS)}, or train with {PROGRAM} --help's flags."
            raise UserError(f"There is no command {command}; {suggestion(command, COMMANDS, others)}")
        importlib.import_module(f"davidnet_keras.cli.{command.replace('-', '_')}").main(argv)
        return DONE
    except UserError as error:
        print(f"davidnet_keras: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"davidnet_keras: A file cannot be used: {error}. Fix that, or name another.", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as interrupt:
        print(f"\nInterrupted. {interrupt}", file=sys.stderr)
        return SIGNALLED + getattr(interrupt, "signal_number", signal.SIGINT)
