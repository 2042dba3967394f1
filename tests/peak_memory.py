"""What a call takes at its peak, in a fresh process, whose peak nothing else has raised yet."""

import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import torch

def held(field):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))

torch.set_num_threads(1)
"""

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from /proc"
)


def measured(definitions: str, first: str, call: str, shown: str) -> tuple[int, ...]:
    """The values of ``shown``, and the bytes by which the process grew at the peak of ``call``.

    first: a small call, since what libraries load at first is no part of a prediction. All are
    Python; what ``call`` works on belongs to the definitions.
    """
    code = f"{READ}\n{definitions}\n{first}\nbefore = held('VmRSS:')\n{call}\n"
    code += f"print({shown}, held('VmHWM:') - before)\n"
    command = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    return tuple(int(number) for number in run.stdout.split())
