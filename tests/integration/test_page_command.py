"""`tallystick page`: where the page is that verifies in a browser."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.integration.command_line import cli, in_json

from tallystick.api.verify_page import PAGE


def test_the_address_is_that_of_the_page_in_the_package(tmp_path: Path) -> None:
    address = cli("page", cwd=tmp_path).stdout.strip()
    assert urlsplit(address).scheme == "file"
    assert Path(unquote(urlsplit(address).path)) == PAGE
    assert b"default-src 'none'" in PAGE.read_bytes()


def test_a_copy_is_the_page_to_the_byte_and_never_replaces_a_file(tmp_path: Path) -> None:
    told = in_json("page", "--to", "copy of it.html", cwd=tmp_path)
    copy = tmp_path / "copy of it.html"
    assert copy.read_bytes() == PAGE.read_bytes()
    assert (told["path"], told["address"]) == (str(copy), copy.as_uri())
    assert told["version"].startswith("0.1.0, script ")
    copy.write_text("mine")
    assert "is there; name another file" in cli("page", "--to", str(copy), cwd=tmp_path, expect=2).stderr
    assert copy.read_text() == "mine"
