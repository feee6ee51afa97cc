"""`prove --from`, `renew --from` and `verify --online` with a mirror: no node anywhere, nothing believed."""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests import pdfs
from tests.client.test_mirror import from_folder, reply, served
from tests.governed import directory_genesis
from tests.integration.command_line import USUAL, cli, in_json
from tests.integration.network import running_network
from tests.integration.test_verify import Given, Handed
from tests.mirrors import mirror_files, write_mirror
from tests.ports import drawn_port
from tests.proving import ProvenLedger
from tests.time_authority import founded

from tallystick.client.blocking import Client
from tallystick.client.pdf_files import attach
from tallystick.client.proof_files import PROOF, read_proof
from tallystick.client.proof_writing import attached_form, bundle_attached
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.changes import Effect
from tallystick.storage.mirror import state_codec, state_path


class Mirrored:
    """A document with its proof, a ledger that went on after it, and a mirror of that."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder, self.mirror = tmp_path / "files", tmp_path / "mirror"
        self.folder.mkdir()
        self.handed = Handed(self.folder, tmp_path / "chain.db")
        self.given: Given = self.handed.certify()
        self.proof = self.handed.prove(self.given)
        self.handed.trust()

    @property
    def id(self) -> str:
        found: str = self.given.certificate.id.hex()
        return found

    @property
    def ledger(self) -> ProvenLedger:
        return self.handed.ledger

    def go_on(self, *certificates: Any) -> None:
        """A block, and the mirror after it."""
        self.handed.forge(*certificates)
        write_mirror(self.ledger, self.ledger.countersigned(time_s=self.handed.now_ms // 1000), self.mirror)

    def said(self, *args: str, expect: int = 0) -> str:
        return cli(*args, cwd=self.folder, expect=expect).output

    def prove(self, *args: str, expect: int = 0) -> Any:
        return in_json("prove", *args, "--from", str(self.mirror), cwd=self.folder, expect=expect)

    def verify(self, *args: str, expect: int = 0) -> Any:
        return in_json("verify", "report.pdf", *args, cwd=self.folder, expect=expect)


@pytest.fixture
def mirrored(tmp_path: Path) -> Mirrored:
    made = Mirrored(tmp_path)
    made.go_on(made.ledger.scribe.statement())
    return made


def test_a_proof_is_renewed_and_keeps_its_content(mirrored: Mirrored) -> None:
    before = read_proof(mirrored.proof).bundle
    for what in ("report.pdf", f"report.pdf{PROOF}"):
        (made,) = mirrored.prove(what)["proofs"]
        assert (made["certificate"], made["block_index"], made["was_there"]) == (mirrored.id, 2, True)
        assert (made["validity"]["state"], made["is_content_gone"]) == ("valid", False)
        assert made["status_ms"] == mirrored.handed.now_ms
    after = read_proof(mirrored.proof).bundle
    assert (after.payload, after.extra.header.index) == (before.payload, before.extra.header.index + 1)
    (one,) = mirrored.verify()["files"]
    assert (one["result"], one["proven"]["status_ms"]) == ("verified", made["status_ms"])
    said = mirrored.said("prove", "report.pdf", "--from", str(mirrored.mirror))
    assert "is made anew: the log up to block 2" in said
    assert "status       as of 20" in said
    assert "validity     valid; as of 20" in said


def test_the_proof_that_is_kept_with_its_time_stamp_is_named(mirrored: Mirrored) -> None:
    note = read_proof(mirrored.proof).note
    (mirrored.folder / "report.pdf.tsr").write_bytes(founded().token().response(note))
    (made,) = mirrored.prove("report.pdf")["proofs"]
    assert made["kept"].startswith("report.pdf.2026-")
    assert read_proof(mirrored.folder / made["kept"]).note == note
    assert mirrored.prove("report.pdf")["proofs"][0]["kept"] is None


def test_of_an_id_alone_the_proof_is_without_content_and_it_is_said(mirrored: Mirrored) -> None:
    to = ("--to", f"other{PROOF}")
    (made,) = mirrored.prove(mirrored.id[:12], *to)["proofs"]
    assert (made["certificate"], made["is_content_gone"]) == (mirrored.id, True)
    said = mirrored.said("prove", mirrored.id[:12], *to, "--from", str(mirrored.mirror))
    assert "content      its content is not in this proof: erased, or left out" in said
    (one,) = mirrored.verify("--proof", f"other{PROOF}", expect=13)["files"]
    assert one["failure"]["rule"] == "P10"


def test_a_file_is_found_by_an_earlier_proof_alone(mirrored: Mirrored) -> None:
    (mirrored.folder / "other.pdf").write_text("other")
    told = mirrored.said("prove", "other.pdf", "--from", str(mirrored.mirror), expect=5)
    assert "a mirror does not tell which certificate is about other.pdf: it holds no contents; name the id" in told
    (mirrored.folder / "report.pdf").write_text("changed")
    told = mirrored.said("prove", "report.pdf", "--from", str(mirrored.mirror), expect=5)
    assert "the proof beside report.pdf is not known to be of this document: SHA-256 of the document" in told
    assert "no certificate's id begins with" in mirrored.said("prove", "ab" * 32, "--from", "../mirror", expect=5)


def test_a_revocation_is_told_by_who_renews_a_proof(mirrored: Mirrored) -> None:
    mirrored.go_on(mirrored.ledger.scribe.revocation(mirrored.given.certificate, effect=Effect.REVOKED))
    (one,) = mirrored.verify("--online", str(mirrored.mirror), expect=15)["files"]
    assert (one["online"], one["failure"]["rule"]) == (str(mirrored.mirror), "P12")
    (made,) = mirrored.prove("report.pdf")["proofs"]
    assert made["validity"]["state"] == "revoked"
    assert "validity     revoked" in mirrored.said("prove", "report.pdf", "--from", "../mirror")


def test_what_would_be_older_or_holds_no_proof_replaces_nothing(mirrored: Mirrored) -> None:
    older = mirrored.mirror.rename(mirrored.mirror.with_name("older"))
    mirrored.go_on()
    mirrored.prove("report.pdf")
    kept = mirrored.proof.read_bytes()
    told = mirrored.said("prove", "report.pdf", "--from", str(older), expect=2)
    assert "the new proof would be older, of block 2, the one in" in told
    mirrored.go_on()
    path = mirrored.mirror / state_path(mirrored.ledger.scribe.state.log.size)
    state = state_codec.decode(path.read_bytes())
    unsigned = replace(state.votes, signatures=tuple((place, bytes(64)) for place, _ in state.votes.signatures))
    path.write_bytes(replace(state, votes=unsigned).encoded)
    told = mirrored.said("prove", "report.pdf", "--from", "../mirror", expect=7)
    assert "its checkpoint is not proven: [P5]" in told
    assert mirrored.proof.read_bytes() == kept
    (one,) = mirrored.verify("--online", str(mirrored.mirror), expect=16)["files"]
    assert one["failure"]["reason"].startswith(f"no newer proof could be had from {mirrored.mirror}: what the mirror ")
    assert "its checkpoint is not proven: [P5]" in one["failure"]["reason"]


def test_a_mirror_of_another_ledger_proves_nothing_here(mirrored: Mirrored, tmp_path: Path) -> None:
    other = ProvenLedger(tmp_path / "other.db", directory_genesis((7, 7, 7, 7)))
    other.forge(other.scribe.statement())
    write_mirror(other, other.countersigned(), tmp_path / "elsewhere")
    told = mirrored.said("prove", "report.pdf", "--from", str(tmp_path / "elsewhere"), expect=5)
    assert f"is of the ledger {other.genesis.ledger_id.hex()}" in told
    assert "name a mirror of that" in told
    (one,) = mirrored.verify("--online", str(tmp_path / "elsewhere"), expect=16)["files"]
    assert "is of the ledger" in one["failure"]["reason"]


def test_a_mirror_of_another_history_than_the_own_nodes_proves_nothing(mirrored: Mirrored, tmp_path: Path) -> None:
    """The trust folder knows nothing of the ledger; the chain of the user's own node does, as for `verify`."""
    (elsewhere := tmp_path / "elsewhere").mkdir()
    fork = Mirrored(elsewhere)
    fork.go_on(fork.ledger.scribe.statement("ben"))
    mirrored.said("trust", "remove", "ours", "--yes")
    node = DataFolder(mirrored.folder / USUAL)
    node.make()
    mirrored.ledger.store.close()
    shutil.copy(tmp_path / "chain.db", node.ledger_path)
    node.write_settings(Settings("127.0.0.1:7117", "127.0.0.1:7117"))
    before = mirrored.proof.read_bytes()
    for command in (("prove", "report.pdf"), ("renew", ".")):
        told = mirrored.said(*command, "--from", str(fork.mirror), expect=7)
        assert "what was made is of another history than was verified here before" in told
    assert mirrored.proof.read_bytes() == before


# ---- verify --online ------------------------------------------------------------------------------------------------


def test_a_newer_proof_from_a_folder_or_a_web_server_counts(mirrored: Mirrored) -> None:
    (before,) = mirrored.verify()["files"]
    with served(from_folder(mirrored.mirror)) as url:
        for where in (str(mirrored.mirror), url):
            (one,) = mirrored.verify("--online", where)["files"]
            assert (one["online"], one["exit_code"]) == (where, 0)
            assert one["proven"]["status_ms"] > before["proven"]["status_ms"]
            assert f"a newer one, from {where}" in mirrored.said("verify", "report.pdf", "--online", where)


def test_a_password_in_a_url_is_never_shown(mirrored: Mirrored) -> None:
    with served(from_folder(mirrored.mirror)) as url:
        where = url.replace("://", "://ada:secret@")
        (one,) = mirrored.verify("--online", where)["files"]
        assert (one["online"], one["exit_code"]) == (url, 0)
        assert "secret" not in mirrored.said("verify", "report.pdf", "--online", where)
    away = f"127.0.0.1:{drawn_port(1)}"
    for args, code, told in (
        (
            ("prove", "report.pdf", "--url", f"http://ada:secret@{away}/"),
            3,
            f"the node at http://{away}/ cannot be asked",
        ),
        (("prove", "report.pdf", "--url", f"http://ada:secret@{away}/#at"), 2, "is no URL of a node"),
        (("prove", "report.pdf", "--url", "http://ada:se/cret@[::1"), 2, "is no URL; name that of a node"),
        (("prove", "report.pdf", "--url", "HTTP://ada:secret@127.0.0.1:99999"), 2, "ports are 1 to 65,535"),
        (("prove", "report.pdf", "--url", f"ada:secret@{away}"), 2, f"there is no …@{away}; name"),
        (("verify", "report.pdf", "--online", f"http://ada:secret@{away}"), 16, f"had from http://{away}: "),
    ):
        said = mirrored.said(*args, expect=code)
        assert told in said
        assert "cret" not in said


def test_a_mirror_that_is_behind_is_named_and_the_proof_at_hand_counts(mirrored: Mirrored) -> None:
    mirrored.handed.forge()
    mirrored.handed.prove(mirrored.given)
    told = mirrored.verify("--online", str(mirrored.mirror))
    assert told["warnings"] == [f"the proof from {mirrored.mirror} is older than the one at hand, which counts"]
    assert told["files"][0]["online"] is None


def test_a_mirrors_ledger_is_not_trusted_because_it_is_there(mirrored: Mirrored, tmp_path: Path) -> None:
    told = cli(
        *("verify", "report.pdf", "--online", str(mirrored.mirror), "--trust", str(tmp_path / "nobody")),
        cwd=mirrored.folder,
        expect=10,
    )
    assert "no ledger is trusted here" in told.output


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("nowhere", "there is no folder nowhere"),
        (".", ". is no mirror: it has no file checkpoint"),
        ("NOBODY", "the node at NOBODY cannot be asked: nobody answers there"),
        ("WEB", "WEB is no node of this version, and no mirror: it has no file checkpoint"),
    ],
)
def test_why_there_is_no_newer_proof_is_said_in_plain_words_with_what_to_do(
    mirrored: Mirrored, where: str, why: str
) -> None:
    with served(lambda handler: reply(handler, 404, b"<html>")) as web:
        named = {"NOBODY": f"http://127.0.0.1:{drawn_port(1)}", "WEB": web}
        told = named.get(where, where)
        (one,) = mirrored.verify("--online", told, expect=16)["files"]
    failure = one["failure"]
    assert failure["reason"] == f"no newer proof could be had from {told}: {why.replace(where, told)}"
    assert failure["advice"].startswith("name another node or mirror with --online; verified without it")
    assert one["proven"]["validity"]["state"] == "valid", "what the proof at hand shows is told all the same"


def test_options_that_exclude_each_other_are_told(mirrored: Mirrored) -> None:
    base = ("prove", "report.pdf", "--from", "../mirror")
    assert "--url, --chain and --from exclude each other" in mirrored.said(*base, "--chain", "x", expect=2)
    assert "--since takes a node" in mirrored.said(*base, "--since", "1", expect=2)


def test_of_several_each_is_renewed(mirrored: Mirrored) -> None:
    handed = mirrored.handed
    handed.prove(handed.certify("second.pdf", content=b"second"), "second.pdf")
    (handed.folder / "third.pdf").write_text("third")
    mirrored.go_on()
    told = mirrored.prove("report.pdf", "second.pdf", "third.pdf", expect=5)
    assert [one["file"] for one in told["proofs"]] == ["report.pdf", "second.pdf"]
    assert [one["what"] for one in told["failed"]] == ["third.pdf"]
    assert {one["block_index"] for one in told["proofs"]} == {handed.ledger.scribe.state.index}
    assert mirror_files(handed.ledger, handed.ledger.countersigned()).keys() <= {
        str(one.relative_to(mirrored.mirror)) for one in mirrored.mirror.rglob("*")
    }


# ---- a real ledger --------------------------------------------------------------------------------------------------


def test_when_all_nodes_are_stopped_the_mirror_that_they_left_goes_on_proving(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("The bridge is sound.")
    report, mirror = "report.txt", str(tmp_path / "mirror")
    with running_network(1) as net:
        where = ("--data", str(net.nodes[0].folder.path))
        ((one,),) = (in_json("certify", report, *where, cwd=tmp_path)["results"],)
        certificate_id = one["outcome"]["id"]
        with Client(net.nodes[0].folder.path) as client:
            ledger_id = client.ledger_id.hex()
        cli("trust", "add", ledger_id, "--name", "ours", "--yes", cwd=tmp_path)
        (before,) = in_json("verify", report, cwd=tmp_path)["files"]
        cli("certify", "--subject", "later", *where, cwd=tmp_path)
        cli("export", mirror, *where, cwd=tmp_path)
        net.nodes[0].stop()
        (online,) = in_json("verify", report, "--online", mirror, cwd=tmp_path)["files"]
        (made,) = in_json("prove", report, "--from", mirror, cwd=tmp_path)["proofs"]
        assert (made["certificate"], made["validity"]["state"]) == (certificate_id, "valid")
        chain = ("--chain", str(net.nodes[0].folder.path / "ledger.db"))
        from_mirror = (tmp_path / f"{report}{PROOF}").read_bytes()
        (again,) = in_json("prove", report, *chain, cwd=tmp_path)["proofs"]
    assert online["online"] == mirror
    assert online["proven"]["status_ms"] == made["status_ms"] >= before["proven"]["status_ms"]
    assert online["proven"]["checkpoint_block"] == made["block_index"] > before["proven"]["checkpoint_block"]
    if again["block_index"] == made["block_index"] and again["status_ms"] == made["status_ms"]:
        assert (tmp_path / f"{report}{PROOF}").read_bytes() == from_mirror, "the chain's own proof is the same"
    (after,) = in_json("verify", report, cwd=tmp_path)["files"]
    assert after["result"] == "verified"


# ---- renew --from -----------------------------------------------------------------------------------------------


def test_a_folder_is_renewed_from_a_mirror_and_the_content_stays(mirrored: Mirrored) -> None:
    before, to = read_proof(mirrored.proof).bundle, str(mirrored.mirror)
    diploma = mirrored.folder / "diploma.pdf"
    given = mirrored.handed.certify(diploma.name, content=(content := pdfs.by_reportlab()))
    at = mirrored.ledger.countersigned(time_s=mirrored.handed.now_ms // 1000)
    attach(diploma, attached_form(mirrored.ledger.prove(given.certificate, at)), sha256(content).digest())
    mirrored.go_on(mirrored.ledger.scribe.statement())
    told = in_json("renew", ".", "--from", to, cwd=mirrored.folder)
    assert (told["renewed"], told["failed"]) == (2, [])
    assert {one["status_ms"] for one in told["proofs"]} == {mirrored.handed.now_ms}
    after, carried = read_proof(mirrored.proof).bundle, bundle_attached(diploma)
    assert (after.payload, after.extra.certificate) == (before.payload, before.extra.certificate)
    assert after.extra.header.index > before.extra.header.index
    assert carried is not None
    assert (carried.payload, carried.extra.header.index) == (given.payload, after.extra.header.index)
    assert in_json("verify", "report.pdf", "diploma.pdf", cwd=mirrored.folder)["verified"] == 2
    again = in_json("renew", ".", "--from", to, cwd=mirrored.folder)
    assert {one["state"] for one in again["proofs"]} == {"as_new"}


def test_an_older_mirror_or_another_ledger_s_replaces_nothing(mirrored: Mirrored, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older_at = mirrored.ledger.countersigned(time_s=mirrored.handed.now_ms // 1000)
    write_mirror(mirrored.ledger, older_at, older)
    mirrored.go_on(mirrored.ledger.scribe.statement())
    later = mirrored.handed.certify("later.pdf")
    mirrored.handed.prove(later, "later.pdf")
    in_json("renew", "report.pdf", "--from", str(mirrored.mirror), cwd=mirrored.folder)
    before = {one: one.read_bytes() for one in mirrored.folder.iterdir() if one.is_file()}
    (one,) = in_json("renew", "report.pdf", "--from", str(older), cwd=mirrored.folder)["proofs"]
    assert one["state"] == "as_new"
    told = in_json("renew", ".", "--from", str(older), cwd=mirrored.folder, expect=5)
    assert [Path(lost["what"]).name for lost in told["failed"]] == [f"later.pdf{PROOF}"]
    assert "is not in the mirror" in told["failed"][0]["problem"]["detail"]
    other = ProvenLedger(tmp_path / "other.db", directory_genesis((10, 10)))
    other.forge(other.scribe.statement())
    write_mirror(other, other.countersigned(), tmp_path / "other")
    told = in_json("renew", ".", "--from", str(tmp_path / "other"), cwd=mirrored.folder)
    assert {one["state"] for one in told["proofs"]} == {"other_ledger"}
    assert {one: one.read_bytes() for one in before} == before
    said = mirrored.said("renew", ".", "--from", "../mirror", "--chain", "x", expect=2)
    assert "--url, --chain and --from exclude each other" in said
