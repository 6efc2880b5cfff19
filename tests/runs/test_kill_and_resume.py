"""The program that kills runs by SIGKILL, in small."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "kill_and_resume.py"


@pytest.mark.slow  # test_resume.py kills runs inside one process
def test_a_run_killed_while_it_writes_a_checkpoint_and_one_killed_while_it_plots_end_the_same():
    done = subprocess.run(
        [sys.executable, PROGRAM, "--first", "2", "--kills", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    killed = done.stdout.splitlines()[1:3]
    assert "into checkpoint" in killed[0]
    assert "into plotting" in killed[1]
    assert done.stdout.endswith("2 of 2 equal\n")
