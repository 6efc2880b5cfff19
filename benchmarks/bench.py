"""Time everything that has something to compare with, and write one table to docs/results/bench/README.md.

    make bench                                        # about twenty minutes on two cores; run nothing else

Each program runs in its own process. The step benchmarks are repeated `--rounds` times, so that slow minutes affect all
programs alike. The ratios use PyTorch's fastest mode. GFLOP/s count every convolution at its textbook cost, 2.27 GFLOP
per picture. It also draws `profile.png`, which shows where the time of a step goes.
"""

import argparse
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from figures import Figure, read

from davidnet_keras.precision import BFLOAT16_FLAGS, cpu_flags

HERE = Path(__file__).parent
GFLOP = 6 * 0.379  # one picture's train step
# Otherwise malloc returns a step's gigabytes to the system and fetches them again page by page.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}  # only some of the programs would use one


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="repetitions of the step benchmarks (default: 2)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps per round (default: 3)")
    parser.add_argument("--batch-size", type=int, default=512, help="pictures per step (default: 512)")
    parser.add_argument(
        "--output", default=HERE.parent / "docs/results/bench/README.md", type=Path, help="file for the table"
    )
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    size = ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
    figures = {}
    for _ in range(arguments.rounds):
        collect(figures, "ceiling.py")
        for kind in (["--dropout", "0"], ["--dropout", "0.05"], ["--inference"]):
            settings = [*size, *kind]
            autocast = ["--bfloat16"] if BFLOAT16_FLAGS & cpu_flags() else []
            collect(figures, "train_step.py", *settings)
            for layout in ("channels_first", "channels_last"):  # one process each, for its peak memory
                collect(figures, "torch_step.py", *settings, *autocast, "--layout", layout)
            collect(figures, "train_step.py", *settings, "--stock")
    collect(figures, "pipeline.py")
    collect(figures, "pipeline.py", "--memory")
    collect(figures, "loop.py", "--batch-size", str(arguments.batch_size))
    profile = ["--batch-size", str(arguments.batch_size), "--output", str(arguments.output.parent / "profile.png")]
    collect({}, "profile_step.py", *profile)  # its figures are in its plot
    text = table(figures, arguments.batch_size) + "\n![Where the time of a step goes](profile.png)\n"
    arguments.output.write_text(text)
    print(text)


def collect(figures, program, *words):
    """Run one of the programs and add its figures to those of earlier rounds."""
    print("...", program, *words, file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, HERE / program, "--json", *words],
        env=os.environ | KEEP_MEMORY | NO_GPU,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for figure in read(done.stdout):
        before = figures.get(figure.name)
        values = (before.values if before else []) + figure.values
        figures[figure.name] = Figure(figure.name, figure.unit, values)


def table(figures, batch_size):
    """The figures and ratios as Markdown tables, with hardware and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "torch", "numpy"))
    features = sorted({"avx512f", "avx512_vnni", *BFLOAT16_FLAGS} & cpu_flags())
    lines = [
        "# make bench",
        "",
        f"{os.cpu_count()} cores of {processor()} ({', '.join(features) or 'no AVX-512'}), {platform.machine()}, "
        f"no GPU used; Python {platform.python_version()}, {packages}.",
        "",
        "| figure | n | median | minimum | maximum | unit |",
        "|---|---|---|---|---|---|",
    ]
    for item in figures.values():
        spread = f"{item.median:,.4g} | {min(item.values):,.4g} | {max(item.values):,.4g}"
        lines.append(f"| {item.name} | {len(item.values)} | {spread} | {item.unit} |")
    lines += ["", "| ratio of medians | |", "|---|---|"]
    lines += [f"| {name} | {ratio:.2f} |" for name, ratio in ratios(figures, batch_size)]
    return "\n".join(lines) + "\n"


def ratios(figures, batch_size):
    """Yield (name, ratio): ours to each other program, and the overhead of a run's `fit`."""
    rates = {name: item.median for name, item in figures.items() if item.unit == "images/s"}
    ceiling = max(item.median for name, item in figures.items() if name.startswith("matrix product"))
    for kind in ("dropout 0.0", "dropout 0.05", "inference"):
        ours = rates[f"ours, {kind}"]
        torch = max(rate for name, rate in rates.items() if name.startswith("PyTorch") and f" {kind}," in name)
        yield f"{kind}: ours / PyTorch's best mode", ours / torch
        yield f"{kind}: ours / stock Keras", ours / rates[f"stock Keras, {kind}"]
        if kind != "inference":
            yield f"{kind}: our GFLOP/s / the fastest matrix product's", ours * GFLOP / ceiling
    train, test = rates["ours, dropout 0.05"], rates["ours, inference"]
    yield "inference / training with dropout 0.05, ours", test / train
    yield "validation of 10,000 pictures / an epoch of 50,000", (10_000 / test) / (50_000 / train)
    reference = rates["pipeline, reference notebook"]
    for name, rate in rates.items():
        if name.startswith("pipeline, crop"):
            yield f"{name}: ours / the reference notebook", rate / reference
    bare, stock, run = (figures[f"empty step, {loop}"].median for loop in ("bare loop", "stock fit", "a run's fit"))
    yield "empty step: a run's fit / stock fit", run / stock
    step = 1000 * batch_size / train - (stock - bare)  # milliseconds; the rate was measured inside `fit`
    yield "a step of DavidNet with a run's fit / in a bare loop", (step + run - bare) / step


def processor():
    """The processor's name, from Linux."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
