"""Time everything that has a peer, in turns, and write one table to docs/results/bench/README.md.

    make bench                                        # some ten minutes on two cores; leave the machine alone

Each program runs in a process of its own. The train steps go round `--rounds` times, so that a slow minute of the
machine falls on ours and on the peers alike. PyTorch counts in the fastest of its modes. A step's GFLOP/s count the
arithmetic of the plain algorithm, 2.27 GFLOP a picture.
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
GFLOP = 6 * 0.379  # a picture's train step
# A step's gigabytes are given back to the system and fetched again, page by page, unless malloc keeps them.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="times each step is measured (default: 2)")
    parser.add_argument("--steps", type=int, default=3, help="steps a time (default: 3)")
    parser.add_argument("--batch-size", type=int, default=512, help="pictures a step (default: 512)")
    parser.add_argument("--output", default=HERE.parent / "docs/results/bench/README.md", type=Path, help="the table")
    arguments = parser.parse_args()
    size = ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
    figures = {}
    for _ in range(arguments.rounds):
        collect(figures, "ceiling.py")
        for dropout in ("0", "0.05"):
            settings = [*size, "--dropout", dropout]
            collect(figures, "train_step.py", *settings)
            autocast = ["--bfloat16"] if BFLOAT16_FLAGS & cpu_flags() else []
            collect(figures, "torch_step.py", *settings, *autocast, environment=KEEP_MEMORY)
            collect(figures, "train_step.py", *settings, "--stock")
    collect(figures, "pipeline.py")
    text = table(figures)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text)
    print(text)


def collect(figures, program, *words, environment=None):
    """Run one of the programs here and add its figures to those of the rounds before."""
    print("...", program, *words, file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, HERE / program, "--json", *words],
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for figure in read(done.stdout):
        before = figures.get(figure.name)
        values = (before.values if before else []) + figure.values
        figures[figure.name] = Figure(figure.name, figure.unit, values)


def table(figures):
    """The figures as Markdown, with their conditions and the ratios that they are about."""
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
    lines += [f"| {name} | {ratio:.2f} |" for name, ratio in ratios(figures)]
    return "\n".join(lines) + "\n"


def ratios(figures):
    """(name, ratio) of ours to each peer."""
    rate = max(item.median for name, item in figures.items() if name.startswith("matrix product"))
    for dropout in ("0.0", "0.05"):
        ours = figures[f"ours, dropout {dropout}"].median
        torch = max(
            item.median for name, item in figures.items() if name.startswith("PyTorch") and f"{dropout}," in name
        )
        yield f"step, dropout {dropout}: ours / PyTorch's best mode", ours / torch
        yield f"step, dropout {dropout}: ours / stock Keras", ours / figures[f"stock Keras, dropout {dropout}"].median
        yield f"step, dropout {dropout}: our GFLOP/s / the fastest matrix product's", ours * GFLOP / rate
    reference = figures["pipeline, reference notebook"].median
    for name, item in figures.items():
        if name.startswith("pipeline, crop"):
            yield f"{name}: ours / the reference notebook", item.median / reference


def processor():
    """The processor's name as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
