"""The verifier of the page, under Node: the corpus, other people's vectors and changed files, as Python has them."""

import json
from hashlib import sha256
from pathlib import Path
from shutil import which

import pytest

from tests.page.expected import CASES, changed_files, corpus_views, run_suite
from tests.page.parts import parts

PAGE = Path(__file__).parents[2] / "page"
LEDGER = Path(__file__).parents[2] / "src" / "tallystick" / "ledger"
RUNS = 400

needs_node = pytest.mark.skipif(
    which("node") is None, reason="node is not installed: THE PAGE'S VERIFIER IS NOT TESTED"
)


@needs_node
def test_the_corpus_is_judged_alike_in_the_same_words():
    views = corpus_views()
    assert len(views) >= len(CASES) - 2
    run_suite("corpus.test.js", views)


@needs_node
@pytest.mark.parametrize("suite", ["c2sp.test.js", "signatures.test.js"])
def test_vectors_are_judged_as_listed(suite):
    run_suite(suite)


@needs_node
@pytest.mark.parametrize("suite", ["files.test.js", "trust.test.js"])
def test_what_is_read_and_kept_is_bounded(suite):
    run_suite(suite)


@needs_node
def test_names_geneses_and_certificates_are_refused_in_the_same_words():
    given = parts()
    refusals = {said.partition(" ")[0] for of_kind in given.values() for *_, said in of_kind if said is not None}
    cited = {"E4", "K1", "G1", "G2", "G3", "G4", "G5", "D2", "C1", "D3", "V1", "V3", "B3", "B10"}
    assert refusals >= {f"[{rule}]" for rule in cited}
    run_suite("parts.test.js", given)


@needs_node
def test_changed_files_are_judged_alike():
    cases = list(changed_files(RUNS, 14))
    assert len({case["expected"]["exit_code"] for case in cases}) >= 4
    run_suite("changed.test.js", cases)


def test_the_folding_of_names_is_the_ledgers():
    text = (PAGE / "proof" / "folding.js").read_text(encoding="ascii")
    table = json.loads((LEDGER / "folding.json").read_bytes())
    assert json.loads(text.partition("FOLDING_TABLE = ")[2].removesuffix(";\n")) == table


def test_vendored_files_are_unchanged():
    listed = [line.split() for line in (PAGE / "vendor" / "README.md").read_text().splitlines()]
    sums = {line[1]: line[0] for line in listed if len(line) == 2 and len(line[0]) == 64}
    vendored = {str(path.relative_to(PAGE / "vendor")): path for path in sorted((PAGE / "vendor").rglob("*.js"))}
    assert sums == {name: sha256(path.read_bytes()).hexdigest() for name, path in vendored.items()}
