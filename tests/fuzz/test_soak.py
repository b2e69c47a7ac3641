"""The fuzz targets under atheris, half a minute each; where atheris is not installed, this says so and goes on."""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.fuzz.signed import SIGNED
from tests.fuzz.targets import TARGETS

SECONDS = 30
ROOT = Path(__file__).parents[2]


@pytest.mark.soak
@pytest.mark.parametrize("target", [*TARGETS, *SIGNED])
def test_a_target_survives_guided_fuzzing(tmp_path: Path, target: str) -> None:
    if importlib.util.find_spec("atheris") is None:
        warnings.warn("NOT FUZZED: atheris is not installed (pip install 'boardwright[fuzz]')", stacklevel=1)
        pytest.skip("atheris is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.soak", target, str(SECONDS)],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=SECONDS + 80,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    sys.stdout.write(done.stderr[-600:])
