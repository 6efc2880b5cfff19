"""The command line: which command runs, and with which exit code it ends."""

import importlib
import signal
import sys

from davidnet_keras.cli.options import BAD_INPUT, PROGRAM, nearest
from davidnet_keras.errors import UserError

# A program that a signal ends exits with 128 plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
DONE, SIGNALLED, INTERRUPTED = 0, 128, 130
# Command -> the module whose main(argv) runs it; imported only when asked for.
COMMANDS = {
    "evaluate": "davidnet_keras.cli.evaluate",
    "lr-find": "davidnet_keras.cli.lr_find",
    "plot": "davidnet_keras.cli.plot",
    "predict": "davidnet_keras.cli.predict",
}
TRAIN = "davidnet_keras.cli.train"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal's encoding does not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        module, rest = _command(argv)
        importlib.import_module(module).main(rest)
        return DONE
    except UserError as error:
        print(f"davidnet_keras: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"davidnet_keras: A file cannot be used: {error}. Mend that, or name another.", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as interrupt:
        print(f"\nInterrupted. {interrupt}", file=sys.stderr)
        return SIGNALLED + getattr(interrupt, "signal_number", signal.SIGINT)


def _command(argv):
    """(module, its arguments); UserError for a word that is no command."""
    if not argv or argv[0].startswith("-"):
        return TRAIN, argv
    if argv[0] in COMMANDS:
        return COMMANDS[argv[0]], argv[1:]
    near = nearest(argv[0], COMMANDS)
    hint = f"did you mean {near}?" if near else f"choose {', '.join(COMMANDS)}, or train with {PROGRAM} --help's flags."
    raise UserError(f"There is no command {argv[0]}; {hint}")
