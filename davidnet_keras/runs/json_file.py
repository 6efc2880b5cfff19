"""The JSON files of a run folder: written whole, read back with limits."""

import json
from collections.abc import Callable
from pathlib import Path

from davidnet_callbacks import atomic_write
from davidnet_keras.errors import UserError


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path, kind: str, parse: Callable[[dict], object], advice: str, limit: int = 1 << 20):
    """Return `parse(content)` of a JSON file that this program wrote.

    Args:
        kind: what the file should be, for the message: "recipe".
        parse: function of the file's JSON object; may raise ValueError, KeyError, TypeError or AttributeError.
        advice: what to do about a file that cannot be used, for the message.
        limit: largest size in bytes. Default: 1 MiB, a thousand times what a run writes.

    Raises:
        UserError: one sentence on a file that is missing, too large, damaged or foreign.
    """
    try:
        if path.stat().st_size > limit:
            raise ValueError(f"it is larger than {limit:,} bytes")
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return parse(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]  # the file's own words may be long
        raise UserError(f"{path} is not a {kind} that this version wrote ({reason}); {advice}.") from None
