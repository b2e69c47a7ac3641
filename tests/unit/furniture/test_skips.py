"""In CI a test that skips itself for lack of root or multicast is a failure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

TESTS = """
import pytest

def test_as_root():
    pytest.skip("needs root")

@pytest.mark.skipif(True, reason="multicast does not work here")
def test_multicast():
    pass

def test_other():
    pytest.skip("needs nginx")
"""


@pytest.mark.parametrize(("no_skip", "outcome"), [("1", "1 failed, 1 skipped, 1 error"), ("", "3 skipped")])
def test_skips_for_root_or_multicast_fail_in_ci_only(tmp_path: Path, no_skip: str, outcome: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_skips.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "BOARDWRIGHT_NO_SKIP": no_skip}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert outcome in result.stdout, result.stdout
