"""The codec under a coverage-guided fuzzer, for a minute."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 60


@pytest.mark.soak
def test_a_minute_of_guided_fuzzing_finds_no_input_that_raises(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install atheris")
    target = Path(__file__).with_name("codec_target.py")
    command = [sys.executable, str(target), f"-max_total_time={SECONDS}", "-rss_limit_mb=256", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
