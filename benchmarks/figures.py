"""What every program here measures and prints: a figure with its repetitions."""

import dataclasses
import json
import resource
import statistics
import sys


@dataclasses.dataclass(frozen=True)
class Figure:
    """A named quantity, its unit and each repetition's value."""

    name: str
    unit: str
    values: list

    @property
    def median(self):
        return statistics.median(self.values)

    def __str__(self):
        low, high = min(self.values), max(self.values)
        return f"{self.name}: {self.median:,.4g} {self.unit} (n = {len(self.values)}, {low:,.4g} to {high:,.4g})"


def show(figure):
    """Print the figure: a line to read or, after --json, one for another program."""
    print(json.dumps(dataclasses.asdict(figure)) if "--json" in sys.argv else figure, flush=True)


def peak_memory():
    """The most memory that this process has had at once, in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def read(text):
    """The figures among a program's lines of output."""
    return [Figure(**json.loads(line)) for line in text.splitlines() if line.startswith("{")]
