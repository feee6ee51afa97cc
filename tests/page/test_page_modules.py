"""The page's modules keep to what a small bundler puts into one script, and to what a page without a network may do."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "page"
MODULES = sorted(path for path in PAGE.rglob("*.js") if "vendor" not in path.parts)
VENDORED_BY = {"ed25519.js", "hash.js"}

_IMPORT = re.compile(r'^import \{ \w+(?:, \w+)* \} from "(\.{1,2}/[\w./-]+\.js)";$')
_REACHING_OUT = re.compile(
    r"\b(?:fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|crypto\.subtle|eval|Function)\("
)


def test_there_are_modules():
    assert {path.name for path in MODULES} >= {"judge.js", "verify.js", "members.js"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_imports_are_named_and_relative_and_exports_are_declarations(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line.startswith("import"):
            found = _IMPORT.fullmatch(line)
            assert found is not None, line
            target = path.parent / found.group(1)
            assert target.is_file(), line
            assert "vendor" not in target.parts or path.name in VENDORED_BY, line
        if line.startswith("export"):
            assert re.match(r"export (?:async )?(?:function\*?|const|class) \w+", line), line
        assert not re.match(r"(?:await|for await)\b", line), line
        assert "import(" not in line, line


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_nothing_reaches_out_of_the_page(path):
    assert _REACHING_OUT.search(path.read_text(encoding="utf-8")) is None
