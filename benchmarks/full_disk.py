"""Fill the disk of a run, or make its writes fail, then free the disk and resume: nothing may be lost.

    python benchmarks/full_disk.py        # as root, to mount a tmpfs

The run is that of kill_and_resume.py, from the command line. Each must stop with one sentence and exit code 2 and, once
there is space, resume to the same bits as an undisturbed run. Users who may not mount test failing writes only.
"""

import argparse
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kill_and_resume import CHECKPOINT_EVERY, RECIPE, go_on, in_child, reference, result_of, wait

import davidnet_callbacks.atomic
from davidnet_keras.cli import main as cli

FLAGS = (
    f"--dataset shapes --epochs {RECIPE.epochs} --batch-size {RECIPE.batch_size} --width {RECIPE.width} --cutout "
    f"{RECIPE.cutout} --precision float32 --deterministic --seed {RECIPE.seed} --checkpoint-every {CHECKPOINT_EVERY}"
).split()


def disturbed(run, log, disturb=None):
    """Run the command line in its own process. Returns (exit code, lines of standard error)."""

    def command():
        if disturb is not None:
            disturb()
        return cli.main([*FLAGS, "--run-dir", str(run)])

    code = wait(in_child(command, log))
    lines = [line for line in log.read_text().splitlines() if line.startswith(("davidnet_keras:", "Traceback"))]
    return code, lines


def fail_rename(number, error):
    """Make the write with this number fail just before it is complete."""
    rename, count = os.replace, 0

    def replace(source, target):
        nonlocal count
        count += 1
        if count == number:
            raise OSError(error, os.strerror(error), str(target))
        rename(source, target)

    davidnet_callbacks.atomic.os.replace = replace


def verdict(what, code, lines, run, folder, expected):
    """Resume, compare and print. Returns whether everything was as expected."""
    log = folder / f"{run.name}.log"
    left = sorted(entry.name for entry in (run / "checkpoints").glob("*"))
    result = run.parent / f"{run.name}.json"
    mended = wait(in_child(lambda: result_of(go_on, run), log)) == 0
    same = mended and result.read_text() == expected.read_text()
    good = code == 2 and len(lines) == 1 and not lines[0].startswith("Traceback") and same
    print(
        f"{what}: exit code {code}, sentences: {len(lines)}; left {', '.join(left) or 'no checkpoint'}; then ", end=""
    )
    print("equal" if same else f"DIFFERENT: see {log}", flush=True)
    for line in lines:
        print(f"    {line}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--writes", type=int, nargs="+", default=[2, 3, 5, 8, 10], help="numbers of the writes that fail"
    )
    parser.add_argument(
        "--rooms", type=int, nargs="+", default=[100, 200, 300, 400, 500], help="sizes of the disks in KiB"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="full-disk-"))
    reference(folder)
    expected, good, count = folder / "reference.json", 0, 0
    for number in options.writes:
        run = folder / f"write{number}"
        code, lines = disturbed(run, folder / f"write{number}.log", lambda n=number: fail_rename(n, errno.EIO))
        good += verdict(f"Write {number} fails", code, lines, run, folder, expected)
        count += 1
    for room in options.rooms:
        disk = folder / f"disk{room}"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={room}k", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode:
            print("Cannot mount a tmpfs: the full disk was not tested.")
            break
        try:
            run = disk / f"room{room}"
            code, lines = disturbed(run, folder / f"room{room}.log")
            subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
            good += verdict(f"A disk of {room} KiB", code, lines, run, folder, expected)
            count += 1
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    print(f"{good} of {count} as expected")
    if good == count:
        shutil.rmtree(folder)
    return 0 if good == count else 1


if __name__ == "__main__":
    sys.exit(main())
