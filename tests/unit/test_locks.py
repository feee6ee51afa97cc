"""The locks are complete, and whatever installs from one resolves nothing; `make check-locks` installs them."""

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.working_copy import ROOT
from tools.check_locks import GROUPS, asked_for, gaps, pins, read

SHA256 = "--hash=sha256:" + 64 * "a"


@pytest.mark.parametrize("lock", GROUPS)
def test_a_lock_holds_exact_versions_with_their_hashes_and_no_address(lock):
    assert len(pins(read(lock))) == len(re.findall(r"^[^#\s]", read(lock), flags=re.MULTILINE)) > 15
    assert "://" not in read(lock)


@pytest.mark.parametrize(
    "line",
    [
        "rich==15.0.0",
        "rich==15.0.0 --hash=md5:" + 32 * "a",
        f"rich>=15.0.0 {SHA256}",
        f"rich==15.* {SHA256}",
        f"rich==15.0.0,<16 {SHA256}",
        f"rich {SHA256}",
        f"rich @ https://example.org/rich.whl {SHA256}",
        f"--index-url https://example.org {SHA256}",
        "--index-url https://example.org",
        f"rich==15.0.0 {SHA256} --index-url https://example.org",
    ],
)
def test_another_line_is_found(line):
    with pytest.raises(ValueError, match=r"not a requirement|not an exact version|Expected"):
        pins(f"# comment\ntyper==0.29.2 \\\n    {SHA256} \\\n    {SHA256}\n{line}\n")


@pytest.mark.parametrize("lock", ["runtime", "dev"])
def test_the_installed_locks_have_all_that_the_project_and_their_packages_ask_for(lock):
    assert list(gaps(pins(read(lock)), asked_for(lock), distributions())) == []


@pytest.mark.parametrize(
    ("pattern", "instead", "gap"),
    [
        (r"^pluggy==.*?(?=^\S)", "", "pytest==.* asks for pluggy.*, which the lock lacks"),
        (r"^rich==.*?(?=^\S)", "", "the project asks for rich.*, which the lock lacks"),
        (r"^coverage\[toml\]", "coverage", r"pytest-cov==.* asks for coverage\[toml\].*, and the lock has coverage=="),
        (r"^pytest==[\d.]+", "pytest==1.0", "the project asks for pytest>=.*, and the lock has pytest==1.0"),
        (r"^wcwidth==[\d.]+", "wcwidth==0.0", "wcwidth==0.0 is not installed"),
    ],
)
def test_a_gap_in_the_lock_is_found(pattern, instead, gap):
    broken, count = re.subn(pattern, instead, read("dev"), flags=re.MULTILINE | re.DOTALL)
    assert count == 1
    assert any(re.match(gap, found) for found in gaps(pins(broken), asked_for("dev"), distributions()))


def package(folder: Path, name: str, version: str, *requires: str) -> Distribution:
    metadata = folder / f"{name}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("\n".join([f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]))
    return Distribution.at(metadata.parent)


def test_what_an_extra_asks_for_belongs_to_the_lock_as_well(tmp_path):
    installed = [
        package(tmp_path, "frame", "1.0", "Window[Blind_Slat]>=2", 'handle; sys_platform == "no such"'),
        package(tmp_path, "window", "2.1", 'cord<3; extra == "blind-slat"', 'paint; extra == "colour"'),
        package(tmp_path, "cord", "2.9"),
    ]

    def found(*lock: str) -> list[str]:
        return list(gaps(map(Requirement, lock), [Requirement("frame>=1")], installed))

    assert found("frame==1.0", "window[blind-slat]==2.1", "cord==2.9") == []
    assert found("frame==1.0", "window[blind-slat]==2.1") == [
        'window[blind-slat]==2.1 asks for cord<3; extra == "blind-slat", which the lock lacks'
    ]
    assert found("frame==1.0", "window==2.1", "cord==2.9") == [
        "frame==1.0 asks for Window[Blind_Slat]>=2, and the lock has window==2.1"
    ]
    assert found("window[blind-slat]==2.1", "cord==2.9") == ["the project asks for frame>=1, which the lock lacks"]


@pytest.mark.parametrize("file", ["Makefile", "packaging/Dockerfile", "docs/operate.md"])
def test_whatever_installs_from_a_lock_resolves_nothing(file):
    installs = [line for line in (ROOT / file).read_text().splitlines() if "--require-hashes" in line]
    assert installs
    assert [line for line in installs if "--no-deps" not in line] == []
