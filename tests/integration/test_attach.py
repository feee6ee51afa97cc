"""Proofs in PDF files, from the command that certifies them to the one that verifies them."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests import pdfs
from tests.integration.command_line import cli, in_json
from tests.integration.network import NodeProcess, running_network

from tallystick.client.batches import Certification
from tallystick.client.blocking import Client
from tallystick.client.pdf_files import attach, carried_in
from tallystick.ledger.bundle import read_bundle
from tallystick.ledger.errors import Rule


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    with running_network(1) as net:
        yield net.nodes[0]


class User:
    """Who calls commands in a folder, with a node; others verify with the ledger's id alone."""

    def __init__(self, node: NodeProcess, folder: Path) -> None:
        self.node, self.folder = node, folder
        with Client(node.folder.path) as client:
            self.ledger_id = client.ledger_id.hex()

    def json(self, command: str, *args: str, expect: int = 0) -> Any:
        return in_json(command, *args, "--data", str(self.node.folder.path), cwd=self.folder, expect=expect)

    def said(self, command: str, *args: str, expect: int = 0) -> str:
        return cli(command, *args, "--data", str(self.node.folder.path), cwd=self.folder, expect=expect).output

    def verify(self, *args: str, expect: int = 0) -> Any:
        done = cli("verify", *args, "--ledger", self.ledger_id, "--json", cwd=self.folder, expect=expect)
        return json.loads(done.stdout)

    def told(self, *args: str, expect: int = 0) -> str:
        return cli("verify", *args, "--ledger", self.ledger_id, cwd=self.folder, expect=expect).output

    def log_size(self) -> int:
        with Client(self.node.folder.path) as client:
            return client.ledger().log_size

    def names(self) -> set[str]:
        return {one.name for one in self.folder.iterdir()}


@pytest.fixture
def user(node: NodeProcess, tmp_path: Path) -> User:
    (tmp_path / "diploma.pdf").write_bytes(pdfs.by_reportlab(str(tmp_path)))
    return User(node, tmp_path)


# ---- certify --------------------------------------------------------------------------------------------------------


def test_a_pdf_is_certified_then_carries_its_proof(user: User) -> None:
    path = user.folder / "diploma.pdf"
    before = path.read_bytes()
    path.chmod(0o640)
    said = user.said("certify", "diploma.pdf", "--attach")
    assert "proof        attached to it\n" in said
    assert f"tallystick verify diploma.pdf --ledger {user.ledger_id}" in said
    assert user.names() == {"diploma.pdf"}, "nothing stands beside it"
    after = path.read_bytes()
    assert after.startswith(before)
    assert path.stat().st_mode & 0o777 == 0o640
    (one,) = user.verify("diploma.pdf")["files"]
    assert (one["result"], one["is_attached"], one["proof"]) == ("verified", True, "diploma.pdf")
    assert (one["size_bytes"], one["sha256"]) == (len(before), sha256(before).hexdigest())
    told = user.told("diploma.pdf")
    assert "✓ diploma.pdf is certified by " in told
    assert f"the PDF as it was before the proof was attached: its first {len(before):,} bytes, SHA-256" in told
    assert "proof        attached to the PDF, and nothing else was added to it" in told
    (user.folder / "as-it-was.pdf").write_bytes(after[: len(before)])
    (user.folder / "proof.tlog-proof").write_bytes(carried_in(path).proof.proof)
    user.verify("as-it-was.pdf", "--proof", "proof.tlog-proof")


def test_the_same_command_again_certifies_and_attaches_nothing_twice(user: User) -> None:
    (one,) = user.json("certify", "diploma.pdf", "--attach")["results"]
    before = (user.folder / "diploma.pdf").read_bytes()
    (two,) = user.json("certify", "diploma.pdf", "--attach")["results"]
    assert (two["was_certified"], two["proof"]) == (True, "diploma.pdf")
    assert two["outcome"] == one["outcome"]
    assert (user.folder / "diploma.pdf").read_bytes() == before


def test_what_was_certified_before_can_be_attached(user: User) -> None:
    (one,) = user.json("certify", "diploma.pdf")["results"]
    (two,) = user.json("certify", "diploma.pdf", "--attach")["results"]
    assert (two["was_certified"], two["outcome"]["id"]) == (True, one["outcome"]["id"])
    told = user.verify("diploma.pdf")
    assert (told["verified"], told["files"][0]["is_attached"]) == (1, True)
    assert told["warnings"] == [
        "diploma.pdf.tlog-proof is not looked at: diploma.pdf carries its proof; it counts with --proof"
    ]
    (named,) = user.verify("diploma.pdf", "--proof", "diploma.pdf.tlog-proof", expect=13)["files"]
    assert (named["is_attached"], named["failure"]["rule"]) == (False, "P10"), "the file as it is, proof and all"


def test_many_are_attached_at_once(user: User) -> None:
    (user.folder / "more" / "below").mkdir(parents=True)
    for name in ("more/a.pdf", "more/below/b.pdf"):
        (user.folder / name).write_bytes(pdfs.by_fpdf(f"{name} {user.folder.name}"))
    (user.folder / "more" / "below" / "a.pdf").write_bytes((user.folder / "more" / "a.pdf").read_bytes())
    results = user.json("certify", "--recursive", "more", "--attach")["results"]
    files = ["more/a.pdf", "more/below/a.pdf", "more/below/b.pdf"]
    assert [(one["file"], one["proof"]) for one in results] == list(zip(files, files, strict=True))
    assert len({one["outcome"]["id"] for one in results}) == 2, "what says the same needs one certificate"
    assert user.verify(*files)["verified"] == 3
    assert all(one["was_certified"] for one in user.json("certify", "--recursive", "more", "--attach")["results"])


def test_rows_in_a_table(user: User) -> None:
    (user.folder / "batch.csv").write_text("file,subject\ndiploma.pdf,Ada: BSc\n")
    (one,) = user.json("certify", "--batch", "batch.csv", "--attach")["results"]
    assert (one["subject"], one["proof"]) == ("Ada: BSc", "diploma.pdf")
    assert user.names() == {"batch.csv", "batch.results.csv", "diploma.pdf"}
    (two,) = user.json("certify", "--batch", "batch.csv", "--attach")["results"]
    assert two["outcome"] == one["outcome"]
    (user.folder / "words.csv").write_text("file,subject\ndiploma.pdf,\n,Ben: BSc\n")
    said = user.said("certify", "--batch", "words.csv", "--attach", expect=2)
    assert "line 3: no file is named, and --attach is for PDF files. Nothing was sent" in said


def test_what_cannot_carry_a_proof_is_told_before_anything_is_sent(user: User) -> None:
    (user.folder / "notes.txt").write_text("no PDF")
    log_size = user.log_size()
    said = user.said("certify", "diploma.pdf", "notes.txt", "--attach", expect=2)
    assert "notes.txt is no PDF file" in said
    assert "leave out --attach: its proof then stands beside it. Nothing was sent" in said
    for more in (["--no-wait"], ["--no-proof"], ["--proofs-to", "x"]):
        assert "--attach puts proofs into the PDF files" in user.said(
            "certify", "diploma.pdf", "--attach", *more, expect=2
        )
    for instead in (["--subject", "x"], ["-", "--name", "x.pdf"]):
        assert "--attach is for PDF files" in user.said("certify", *instead, "--attach", expect=2)
    assert user.log_size() == log_size


def test_a_pdf_that_changes_while_it_is_certified_gets_no_proof(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sending = user.folder / "diploma.pdf", Certification.send

    def send(*args: Any, **more: Any) -> None:
        sending(*args, **more)
        path.write_bytes(pdfs.by_fpdf())

    monkeypatch.setattr(Certification, "send", send)
    said = user.said("certify", "diploma.pdf", "--attach", expect=2)
    assert "all of it is certified, but" in said
    assert "diploma.pdf was changed after it was certified: nothing is attached to it" in said
    assert path.read_bytes() == pdfs.by_fpdf()


# ---- prove ----------------------------------------------------------------------------------------------------------


def test_a_proof_is_made_anew_where_it_is(user: User) -> None:
    user.said("certify", "diploma.pdf", "--attach")
    size = user.verify("diploma.pdf")["files"][0]["size_bytes"]
    user.said("certify", "--subject", "the ledger goes on", "--no-proof")
    (made,) = user.json("prove", "diploma.pdf")["proofs"]
    assert (made["proof"], made["file"], made["was_there"]) == ("diploma.pdf", "diploma.pdf", True)
    assert user.verify("diploma.pdf")["files"][0]["size_bytes"] == size, "after the same PDF"
    assert user.verify("diploma.pdf")["files"][0]["proven"]["checkpoint_block"] == made["block_index"]
    assert (user.folder / "diploma.pdf").read_bytes().count(b"%tallystick.pdf-proof.v1 ") == 1
    assert user.names() == {"diploma.pdf"}
    said = user.said("prove", "diploma.pdf", "--attach")
    assert "✓ diploma.pdf is attached, made anew: the log up to block " in said
    assert f"tallystick verify diploma.pdf --ledger {user.ledger_id}" in said
    user.said("prove", "diploma.pdf", "--to", "apart.tlog-proof")
    assert read_bundle((user.folder / "apart.tlog-proof").read_bytes(), None, None)


def test_whoever_did_not_certify_it_can_attach_its_proof(user: User) -> None:
    user.said("certify", "diploma.pdf", "--no-proof")
    (made,) = user.json("prove", "diploma.pdf", "--attach")["proofs"]
    assert (made["proof"], made["was_there"]) == ("diploma.pdf", False)
    assert user.verify("diploma.pdf")["verified"] == 1
    (user.folder / "notes.txt").write_text("no PDF")
    assert "notes.txt is no PDF file" in user.said("prove", "notes.txt", "--attach", expect=2)
    assert "without --to" in user.said("prove", "diploma.pdf", "--attach", "--to", "x", expect=2)
    said = user.said("prove", made["certificate"], "--attach", expect=5)
    assert "name the PDF to which its proof is to be attached" in said


# ---- verify ---------------------------------------------------------------------------------------------------------


def test_what_is_added_later_is_told(user: User) -> None:
    user.said("certify", "diploma.pdf", "--attach")
    path = user.folder / "diploma.pdf"
    size, whole = user.verify("diploma.pdf")["files"][0]["size_bytes"], path.read_bytes()
    path.write_bytes(whole + b"\n")
    (one,) = user.verify("diploma.pdf", expect=13)["files"]
    failure = one["failure"]
    assert (failure["rule"], failure["expected"], failure["found"]) == (Rule.P16.name, "the end", "1 byte more")
    told = user.told("diploma.pdf", expect=13)
    assert "× diploma.pdf is not verified: changed after certification: " in told
    assert f"byte {len(whole):,}: the end expected, 1 byte more found" in told
    assert f"head -c {size} FILE" in told
    assert f"at hand      the first {size:,} bytes" in told
    for command in (["certify"], ["prove"]):
        assert "carries a proof, and was changed after certification" in user.said(
            *command, "diploma.pdf", "--attach", expect=2
        )
    assert path.read_bytes() == whole + b"\n"


def test_another_pdf_with_the_same_proof_is_another_document(user: User) -> None:
    user.said("certify", "diploma.pdf", "--attach")
    carried = carried_in(user.folder / "diploma.pdf")
    assert carried.proof is not None
    other = user.folder / "other.pdf"
    other.write_bytes(pdfs.by_fpdf())
    attach(other, carried.proof, sha256(other.read_bytes()).digest())
    (one,) = user.verify("other.pdf", expect=13)["files"]
    assert one["failure"]["rule"] == "P10"
