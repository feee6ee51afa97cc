"""The page's modules under Node: a test script beside this file, what it reads, and what it prints."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent


def under_node(script: str, given: Any) -> Any:
    """What a script prints, given JSON. Without Node the test is skipped."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT TESTED: the page's modules, as there is no Node.js; install one: apt-get install nodejs")
    done = subprocess.run(
        [node, str(_HERE / script)], input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
