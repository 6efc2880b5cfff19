"""What several runs of one recipe say together."""

from pathlib import Path
from typing import NamedTuple

from davidnet_keras.runs.mean_interval import MeanInterval, mean_interval


class Series(NamedTuple):
    """What a series of runs leaves."""

    results: list  # one dict a run: seed, and what its result.json holds
    accuracy: MeanInterval  # of the accuracies: n, mean, standard_deviation, interval
    accuracy_views: MeanInterval | None  # of those with several views of each test picture, where the recipe has them
    run_dir: Path
    tested: str = "test"  # or "held-out": the pictures that the accuracies are of

    def __str__(self):
        """The runs together, in a line or two."""
        n = self.accuracy.n
        text = f"{n} run{'s' * (n > 1)}: mean {self.tested} accuracy {in_words(self.accuracy)}; {self.run_dir}/runs.png"
        if self.accuracy_views is None:
            return text
        views = f"With {self.results[0]['views']} views of each {self.tested} picture"
        return f"{text}\n{views}: {in_words(self.accuracy_views)}"


def in_words(figure):
    """A `MeanInterval` in percent."""
    n, mean, deviation, interval = figure
    if n == 1:
        return f"{100 * mean:.2f} %"
    low, high = (f"{100 * end:.2f}" for end in interval)
    return (
        f"{100 * mean:.2f} %, standard deviation {100 * deviation:.2f} %, 95 % interval of the mean {low} to {high} %"
    )


def over_runs(results, name):
    """The `MeanInterval` of one figure; None where a run does not have it."""
    values = [result.get(name) for result in results]
    return None if not values or None in values else mean_interval(values)


def line_of(result, tested="test"):
    """A run in one line; `tested` as in `Series`."""
    from davidnet_keras.models.cost import cost_text

    minutes, seconds = divmod(round(result["seconds"] + result.get("seconds_views", 0)), 60)
    cost = "" if result.get("petaflop") is None else f", {cost_text(1e15 * result['petaflop'])}"
    views = f" ({100 * result['accuracy_views']:.2f} % with {result['views']} views)" if "views" in result else ""
    return (
        f"seed {result['seed']}: {tested} accuracy {100 * result['accuracy']:.2f} %{views}, {result['epochs']} epochs, "
        f"{minutes} min {seconds} s{cost}"
    )
