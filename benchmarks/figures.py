"""The figures that the benchmarks measure and print, each with its repetitions."""

import dataclasses
import json
import resource
import statistics
import sys


@dataclasses.dataclass(frozen=True)
class Figure:
    """A named quantity with its unit and the value of each repetition."""

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
    """Print the figure as text or, with --json, as a JSON object."""
    print(json.dumps(dataclasses.asdict(figure)) if "--json" in sys.argv else figure, flush=True)


def peak_memory():
    """The peak memory of this process in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def read(text):
    """The figures in a program's output."""
    return [Figure(**json.loads(line)) for line in text.splitlines() if line.startswith("{")]
