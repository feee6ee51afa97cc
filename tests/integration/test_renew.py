"""`tallystick renew`: newer proofs for a whole folder, of which none is lost, whatever stands in the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.builders import START_MS
from tests.integration.command_line import USUAL, cli, in_json
from tests.integration.network import running_network, wait_for
from tests.integration.test_prove import User
from tests.integration.test_verify import DAY_S, Given, Handed, continuation_at, new_genesis, node_of
from tests.ml_dsa import StandIn, verify_stand_in
from tests.proving import read
from tests.time_authority import founded, serving, stamping

from tallystick.api.made_proof_views import ProofRenewed
from tallystick.client.blocking import Client
from tallystick.client.earlier_proofs import EarlierProofs
from tallystick.client.made_proofs import ProofJudge
from tallystick.client.own_node import own_node
from tallystick.client.proof_files import PAYLOAD, PROOF, TIME_STAMP, read_proof
from tallystick.client.proof_folders import find_proofs
from tallystick.client.proof_writing import write_proof
from tallystick.client.renewing import Renewer
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder
from tallystick.host.trust import TrustStore, usual_trust_folder
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.certificate import payload_codec
from tallystick.ledger.checkpoint import Checkpoint, MlDsaCosignature, cosigner_key, subtree_bytes
from tallystick.ledger.file_statement import FileStatement
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.problems import CannotMake, DamagedStore, NotThere, Problem, RefusedInput
from tallystick.storage.making import ProofFiles

NOW_MS = START_MS + 400 * DAY_S * 1000
AUTHORITY = founded()


class _Source(NamedTuple):
    """Where proofs are made."""

    ledger_id: bytes
    make: Callable[[Bundle], ProofFiles]
    by_ml_dsa: ProofFiles | None = None

    def prove_by_ml_dsa(self, _certificate_id: str) -> ProofFiles | None:
        return self.by_ml_dsa

    def prove(self, certificate_id: str, before: Bundle | None) -> ProofFiles:
        assert before is not None
        assert before.extra.certificate.id.hex() == certificate_id
        return self.make(before)

    def certificate_id(self, beginning: str) -> str:
        raise AssertionError(beginning)

    def certificate_about(self, described: FileStatement, before: Bundle | None) -> str:
        raise AssertionError(described, before)


class Renewed(Handed):
    """A folder with proofs, and a source of newer ones."""

    def __init__(self, folder: Path, chain: Path) -> None:
        super().__init__(folder, chain)
        self.given: dict[str, Given] = {}
        for name in ("a.pdf", "b.pdf", "c.pdf"):
            self.given[name] = self.certify(name)
        for name, one in self.given.items():
            self.prove(one, name)
        self.asked: list[str] = []

    def made(self, before: Bundle, day: int = 399) -> ProofFiles:
        """A proof of the same certificate, at the last block, countersigned on that day."""
        self.asked.append(before.extra.certificate.id.hex())
        at = self.ledger.countersigned(time_s=START_MS // 1000 + day * DAY_S)
        return self.ledger.prove(before.extra.certificate, at)

    def renewer(self, prove: Callable[[Bundle], ProofFiles] | None = None, older_ms: int = -1) -> Renewer:
        return Renewer(_Source(self.ledger.genesis.ledger_id, prove or self.made), self.judge(), older_ms)

    @property
    def store(self) -> TrustStore:
        """What commands in this folder trust."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(self.folder))
            patch.delenv("XDG_CONFIG_HOME", raising=False)
            return TrustStore(usual_trust_folder())

    def judge(self) -> ProofJudge:
        return ProofJudge(self.store, own_node(DataFolder(self.folder / USUAL)), NOW_MS)

    def path(self, name: str = "a.pdf") -> Path:
        return self.folder / f"{name}{PROOF}"

    def status(self, name: str = "a.pdf") -> int:
        return int(self.file(name)["proven"]["status_ms"])


@pytest.fixture
def renewed(tmp_path: Path) -> Renewed:
    folder = tmp_path / "registrar"
    folder.mkdir()
    one = Renewed(folder, tmp_path / "chain.db")
    one.trust()
    return one


# ---- one proof --------------------------------------------------------------------------------------------------


def test_a_proof_is_replaced_by_one_with_a_later_status(renewed: Renewed) -> None:
    before = renewed.status()
    one = renewed.renewer().renew(renewed.path())
    assert one.state == "renewed"
    assert (one.status_before_ms, one.status_ms) == (before, renewed.status())
    assert one.status_ms == START_MS + 399 * DAY_S * 1000
    assert renewed.file("a.pdf")["proven"]["certificate"] == one.certificate


def test_a_proof_that_is_not_old_enough_is_not_asked_for(renewed: Renewed) -> None:
    age_ms = NOW_MS - renewed.status()
    assert renewed.renewer(older_ms=age_ms).renew(renewed.path()).state == "young"
    assert renewed.asked == []
    assert renewed.renewer(older_ms=age_ms - 1).renew(renewed.path()).state == "renewed"


def wrong_certificate(renewed: Renewed) -> Callable[[Bundle], ProofFiles]:
    return lambda _: renewed.made(read_proof(renewed.path("b.pdf")).bundle)


def broken(renewed: Renewed) -> Callable[[Bundle], ProofFiles]:
    def prove(before: Bundle) -> ProofFiles:
        made = renewed.made(before)
        head, _, signature = made.proof.rstrip("\n").rpartition(" ")
        other = "A" if signature[20] != "A" else "B"
        return made._replace(proof=f"{head} {signature[:20]}{other}{signature[21:]}\n")

    return prove


def no_proof(_: Renewed) -> Callable[[Bundle], ProofFiles]:
    return lambda _: ProofFiles("no proof", None, None)


def away(_: Renewed) -> Callable[[Bundle], ProofFiles]:
    def prove(_: Bundle) -> ProofFiles:
        raise NotThere("nobody has it")

    return prove


@pytest.mark.parametrize(
    ("source", "problem", "words"),
    [
        (wrong_certificate, DamagedStore, "a proof of another certificate; the proof stays"),
        (broken, DamagedStore, "what was made is no proof that holds"),
        (no_proof, DamagedStore, "what was made is no proof that holds"),
        (away, NotThere, "nobody has it"),
    ],
)
def test_what_does_not_hold_replaces_nothing(
    renewed: Renewed, source: Callable[[Renewed], Any], problem: type[Problem], words: str
) -> None:
    before = renewed.path().read_bytes()
    with pytest.raises(problem, match=words):
        renewed.renewer(source(renewed)).renew(renewed.path())
    assert renewed.path().read_bytes() == before


def test_an_older_one_or_one_of_the_same_time_replaces_nothing(renewed: Renewed) -> None:
    renewed.renewer().renew(renewed.path())
    before = renewed.path().read_bytes()
    for source in (renewed.made, lambda one: renewed.made(one, day=398)):
        assert renewed.renewer(source).renew(renewed.path()).state == "as_new"
    assert renewed.path().read_bytes() == before


def test_a_later_status_of_an_earlier_block_replaces_nothing(renewed: Renewed) -> None:
    """Members countersign anew what they have: a source that is behind knows no revocation since."""
    behind = renewed.made(read_proof(renewed.path()).bundle)
    renewed.forge()
    renewed.prove(renewed.given["a.pdf"], "a.pdf")
    before = renewed.path().read_bytes()
    assert renewed.renewer(lambda _: behind).renew(renewed.path()).state == "as_new"
    assert renewed.path().read_bytes() == before


def test_a_proof_of_another_history_replaces_nothing_and_is_kept_as_evidence(renewed: Renewed, tmp_path: Path) -> None:
    """Whoever got hold of the members' keys of then makes another history, which the trust folder knows better."""
    (elsewhere := tmp_path / "elsewhere").mkdir()
    thief = Renewed(elsewhere, tmp_path / "thief.db")
    for _ in range(3):
        renewed.forge()
    renewed.prove(renewed.given["c.pdf"], "c.pdf")
    renewed.verify("c.pdf")
    thief.ledger.forge(timestamp_ms=thief.now_ms + 777_777)
    for _ in range(2):
        thief.forge()
    before = renewed.path("b.pdf").read_bytes()
    with pytest.raises(
        DamagedStore, match=r"another history than was verified here before.*both are kept in"
    ) as raised:
        renewed.renewer(thief.made).renew(renewed.path("b.pdf"))
    assert renewed.path("b.pdf").read_bytes() == before
    (kept,) = renewed.store.conflicts(renewed.ledger.genesis.ledger_id)
    assert str(kept[0]) in str(raised.value)
    assert (kept[0] / "refused.tlog-proof").is_file()
    renewed.verify("b.pdf")


def test_a_proof_from_after_the_block_at_which_the_own_nodes_ledger_goes_on_replaces_nothing(renewed: Renewed) -> None:
    """`verify` would refuse it: whoever gets hold of the older ledger's keys can go on with it."""
    cli("trust", "remove", "ours", "--yes", cwd=renewed.folder)
    node_of(new_genesis(continuation_at(renewed)), renewed.folder)
    before = renewed.path().read_bytes()
    renewed.forge()
    with pytest.raises(DamagedStore, match=r"no proof that holds: \[P3\].*your node's ledger goes on from it after"):
        renewed.renewer().renew(renewed.path())
    assert renewed.path().read_bytes() == before
    renewed.trust()
    assert renewed.renewer().renew(renewed.path()).state == "renewed", "who trusts the older ledger trusts all of it"


def test_content_that_its_source_has_not_is_kept(renewed: Renewed) -> None:
    """A node may have erased it since."""
    given = renewed.given["a.pdf"]

    def prove(before: Bundle) -> ProofFiles:
        renewed.ledger.store.erase_payload(given.certificate.payload_hash)
        made = renewed.made(before)
        assert read(made).payload is None
        return made

    renewed.renewer(prove).renew(renewed.path())
    assert payload_codec.decode((renewed.folder / f"a.pdf{PAYLOAD}").read_bytes()) == given.payload
    assert "✓ a.pdf is certified by" in renewed.verify("a.pdf")


def test_a_proof_of_another_ledger_is_left_alone_and_a_bad_one_is_told(renewed: Renewed) -> None:
    source = _Source(bytes(32), renewed.made)
    assert Renewer(source, renewed.judge(), -1).renew(renewed.path()).state == "other_ledger"
    renewed.path().write_bytes(renewed.path().read_bytes().replace(b"\nindex 0\n", b"\nindex 1\n"))
    with pytest.raises(RefusedInput, match="it stays: tallystick verify tells more"):
        renewed.renewer().renew(renewed.path())
    renewed.path().write_text("no proof")
    with pytest.raises(RefusedInput, match="P1"):
        renewed.renewer().renew(renewed.path())
    assert renewed.asked == []


def test_the_old_proof_is_there_until_the_new_one_is_durable(renewed: Renewed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = renewed.path().read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotMake, match="No space left on device; make its folder writable, or leave it out"):
        renewed.renewer().renew(renewed.path())
    assert renewed.path().read_bytes() == before
    assert not [one.name for one in renewed.folder.iterdir() if one.name.startswith(".tallystick")]


# ---- signatures by ML-DSA-44 ------------------------------------------------------------------------------------


class SignedByMlDsa(NamedTuple):
    """A proof of a.pdf that ada and ben signed by ML-DSA-44, too, in its place."""

    renewed: Renewed
    proof: bytes

    def made(self, day: int, *names: str) -> ProofFiles:
        """Another one, signed so by these."""
        return made_by_ml_dsa(self.renewed, day, *names)

    def renew(self, by_ml_dsa: ProofFiles | None) -> ProofRenewed:
        """From a source that has such a proof, or none."""
        source = _Source(self.renewed.ledger.genesis.ledger_id, self.renewed.made, by_ml_dsa)
        return Renewer(source, self.renewed.judge(), -1).renew(self.renewed.path())

    @property
    def kept(self) -> dict[str, bytes]:
        """The files beside the three documents and their proofs."""
        return {name: data for name, data in in_folder(self.renewed).items() if name.count(".") > 2}


def made_by_ml_dsa(renewed: Renewed, day: int, *names: str) -> ProofFiles:
    ledger = renewed.ledger
    at, origin = ledger.countersigned(time_s=START_MS // 1000 + day * DAY_S), ledger.genesis.origin
    head, lines = Checkpoint(origin, at.state.log.size, at.state.log.root()), []
    for name in names:
        member = ledger.scribe.member_key(name)
        signed = StandIn(name).sign(subtree_bytes(cosigner_key(origin, member).name, day, head))
        lines.append(MlDsaCosignature(head.size, head.root, member, day, signed))
    lines.sort(key=lambda line: line.member)
    return ledger.prove(renewed.given["a.pdf"].certificate, at._replace(ml_dsa=tuple(lines)))


@pytest.fixture
def signed(renewed: Renewed, monkeypatch: pytest.MonkeyPatch) -> SignedByMlDsa:
    monkeypatch.setattr("tallystick.client.made_proofs.ml_dsa_verifier", lambda: verify_stand_in)
    renewed.forge(*[renewed.ledger.scribe.ml_dsa(name, StandIn(name).public_key) for name in ("ada", "ben")])
    proof = made_by_ml_dsa(renewed, 30, "ada", "ben").proof
    renewed.path().write_text(proof)
    return SignedByMlDsa(renewed, proof.encode())


def test_a_proof_that_is_signed_by_ml_dsa_is_renewed_by_one_that_is_too(signed: SignedByMlDsa) -> None:
    newer = signed.made(300, "ada", "ben")
    one = signed.renew(newer)
    assert (one.state, one.kept, one.lost_ml_dsa) == ("renewed", None, 0)
    assert signed.renewed.path().read_text() == newer.proof
    assert (signed.kept, signed.renewed.asked) == ({}, [])


def test_until_another_epoch_has_ended_a_newer_proof_shows_what_became_of_the_certificate(
    signed: SignedByMlDsa,
) -> None:
    same = signed.made(30, "ada", "ben")
    given = signed.renewed.given["a.pdf"].certificate
    signed.renewed.forge(signed.renewed.ledger.scribe.revocation(given))
    one = signed.renew(same)
    assert (one.state, one.kept, one.lost_ml_dsa) == ("renewed", str(signed.renewed.folder / DATED), 2)
    assert signed.kept == {DATED: signed.proof}
    signed.renewed.verify("a.pdf", expect=15)


DATED = f"a.pdf.2025-06-15{PROOF}"
"""By the checkpoint's block."""


@pytest.mark.parametrize("why", ["none there", "the extra is missing", "fewer signed"])
def test_a_proof_that_loses_signatures_by_ml_dsa_is_kept_and_told(
    signed: SignedByMlDsa, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "the extra is missing":
        monkeypatch.setattr("tallystick.client.made_proofs.ml_dsa_verifier", lambda: None)
    by_ml_dsa = (
        None if why == "none there" else signed.made(300, *(["ada"] if why == "fewer signed" else ["ada", "ben"]))
    )
    one = signed.renew(by_ml_dsa)
    assert one.state == "renewed"
    assert one.lost_ml_dsa == (1 if why == "fewer signed" else 2)
    assert one.kept == str(signed.renewed.folder / DATED)
    assert signed.kept == {DATED: signed.proof}
    assert read_proof(signed.renewed.path()).proof != signed.proof
    assert DATED not in {path.name for path, _ in find_proofs([signed.renewed.folder])}, "it is renewed no more"


def test_a_proof_is_kept_without_the_token_of_another(signed: SignedByMlDsa) -> None:
    token = AUTHORITY.token().response(b"another note")
    (signed.renewed.folder / f"a.pdf{TIME_STAMP}").write_bytes(token)
    signed.renew(None)
    assert signed.kept == {DATED: signed.proof}


@pytest.mark.parametrize("names", [["ada", "ben"], []])
def test_what_has_lost_signatures_by_ml_dsa_is_renewed_by_one_that_has_them_once_there_is_one(
    signed: SignedByMlDsa, names: list[str]
) -> None:
    assert signed.renew(None).kept == str(signed.renewed.folder / DATED)
    assert signed.renew(signed.made(300, *names)).state == "as_new", "its status is older than what is there"
    later = signed.made(400, *names)
    one = signed.renew(later)
    is_replaced = signed.renewed.path().read_bytes() == later.proof.encode()
    assert (one.state, is_replaced) == (("renewed", True) if names else ("as_new", False))
    assert signed.kept == {DATED: signed.proof}


def test_without_the_extra_no_proof_by_ml_dsa_is_asked_for(
    signed: SignedByMlDsa, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> None:
        pytest.fail("nobody could verify it")

    signed.renew(None)
    monkeypatch.setattr("tallystick.client.made_proofs.ml_dsa_verifier", lambda: None)
    monkeypatch.setattr(_Source, "prove_by_ml_dsa", asked)
    assert signed.renew(None).state == "as_new"


def test_earlier_proofs_are_looked_for_in_the_folder_of_each(signed: SignedByMlDsa) -> None:
    signed.renew(None)
    (inside := signed.renewed.folder / "inside").mkdir()
    for name in ("a.pdf", f"a.pdf{PROOF}", DATED):
        (signed.renewed.folder / name).rename(inside / name)
    later = signed.made(400, "ada", "ben")
    renewer = Renewer(
        _Source(signed.renewed.ledger.genesis.ledger_id, signed.renewed.made, later), signed.renewed.judge(), -1
    )
    renewer.renew(signed.renewed.path("b.pdf"))
    renewer.renew(inside / f"a.pdf{PROOF}")
    assert (inside / f"a.pdf{PROOF}").read_text() == later.proof


def test_an_earlier_proof_that_cannot_be_read_hinders_no_renewal(signed: SignedByMlDsa) -> None:
    signed.renew(None)
    (kept := signed.renewed.folder / DATED).unlink()
    kept.symlink_to(kept.name)
    assert signed.renew(signed.made(400, "ada", "ben")).state == "as_new"


def test_a_proof_written_over_one_that_is_signed_by_ml_dsa_keeps_that(signed: SignedByMlDsa) -> None:
    path, bare = signed.renewed.path(), signed.made(300)
    written = write_proof(bare, path)
    assert written.earlier == (signed.renewed.folder / DATED, 2)
    assert signed.kept == {DATED: signed.proof}
    assert write_proof(signed.made(300, "ada"), path).earlier == (None, 0), "nothing is lost"
    assert signed.kept == {DATED: signed.proof}


@pytest.mark.parametrize("key_id", ["another", "the same, of no key that is listed"])
def test_lines_that_nobody_can_verify_take_the_place_of_no_signature(signed: SignedByMlDsa, key_id: str) -> None:
    bare = signed.made(300)
    lines = [one for one in parse_proof(signed.proof).checkpoint.signatures if len(one.signature) == 8 + 2_420]
    assert len(lines) == 2
    made = parse_proof(bare.proof.encode())
    junk = [
        one._replace(key_id=b"junk" if key_id == "another" else one.key_id, signature=bytes(2_428)) for one in lines
    ]
    note = made.checkpoint._replace(signatures=(*made.checkpoint.signatures, *junk))
    forged = bare._replace(proof=made._replace(checkpoint=note).encoded)
    source = _Source(signed.renewed.ledger.genesis.ledger_id, lambda _: forged)
    one = Renewer(source, signed.renewed.judge(), -1).renew(signed.renewed.path())
    assert (one.state, one.kept, one.lost_ml_dsa) == ("renewed", str(signed.renewed.folder / DATED), 2)
    assert signed.kept == {DATED: signed.proof}


# ---- the earlier proof ------------------------------------------------------------------------------------------


def stamped(renewed: Renewed, name: str = "a.pdf") -> tuple[bytes, bytes]:
    """Have an authority that is trusted stamp a proof: the proof, and its token."""
    path = renewed.path(name)
    (renewed.folder / "tsa.pem").write_bytes(AUTHORITY.root.pem)
    cli("trust", "add-tsa", "tsa.pem", "--yes", cwd=renewed.folder)
    note = path.read_bytes().partition(b"\n\n")[2]
    (renewed.folder / f"{name}{TIME_STAMP}").write_bytes(token := AUTHORITY.token().response(note))
    return path.read_bytes(), token


def in_folder(renewed: Renewed) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in renewed.folder.iterdir() if path.is_file()}


def test_a_proof_with_a_time_stamp_is_kept_with_it_and_found_when_it_is_needed(renewed: Renewed) -> None:
    proof, token = stamped(renewed)
    renewed.path().chmod(0o600)
    key = str(renewed.ledger.scribe.key("ada").public_key.hex())
    asked = ("a.pdf", "--signed-before", "2026-03-02", "--issuer", key)
    renewed.verify(*asked)
    before = in_folder(renewed)
    told = renewed.renewer().renew(renewed.path())
    after = in_folder(renewed)
    assert (told.state, told.kept) == ("renewed", str(renewed.folder / f"a.pdf.2026-03-01{PROOF}"))
    assert renewed.renewer().renew(renewed.path("b.pdf")).kept is None, "it has no time stamp of its own"
    kept, kept_token = f"a.pdf.2026-03-01{PROOF}", f"a.pdf.2026-03-01{TIME_STAMP}"
    assert (after[kept], after[kept_token], set(after) - set(before)) == (proof, token, {kept, kept_token})
    assert {path.stat().st_mode & 0o777 for path in (renewed.path(), renewed.folder / kept)} == {0o600}
    shown = renewed.verify(*asked)
    assert f"{kept} is what shows it: the newer proof of a.pdf does not" in shown
    assert f"proof {kept}" in shown
    renewed.verify(*asked, "--proof", kept)
    shown = renewed.verify("a.pdf", "--signed-before", "2026-03-01", "--issuer", key, expect=12)
    assert "is what shows it" not in shown
    (renewed.folder / f"x.2026-03-01{PROOF}").write_bytes(proof)  # a document may have a date in its name
    (renewed.folder / "b.pdf.2026-03-01").write_bytes(b"a document")
    (renewed.folder / f"b.pdf.2026-03-01{PROOF}").write_bytes(proof)
    found = {path.name for path, _ in find_proofs([renewed.folder])}
    documents = "a.pdf", "b.pdf", "c.pdf", "x.2026-03-01", "b.pdf.2026-03-01"
    assert found == {f"{name}{PROOF}" for name in documents}


def test_the_second_of_a_day_is_kept_too_and_nothing_of_somebody_elses_is_lost(renewed: Renewed) -> None:
    proof, token = stamped(renewed)
    (own := renewed.folder / f"a.pdf.2026-03-01{TIME_STAMP}").write_bytes(b"moved away by hand")
    renewed.renewer().renew(renewed.path())
    again = stamped(renewed)
    renewed.renewer(lambda before: renewed.made(before, day=400)).renew(renewed.path())
    files = in_folder(renewed)
    assert own.read_bytes() == b"moved away by hand"
    for number, kept in ((2, (proof, token)), (3, again)):
        assert (files[f"a.pdf.2026-03-01.{number}{PROOF}"], files[f"a.pdf.2026-03-01.{number}{TIME_STAMP}"]) == kept


def test_if_the_earlier_proof_cannot_be_kept_it_is_not_replaced(
    renewed: Renewed, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof, token = stamped(renewed)
    monkeypatch.setattr("tallystick.client.earlier_proofs._MOST_OF_A_DAY", 0)
    with pytest.raises(CannotMake, match="too many earlier proofs"):
        renewed.renewer().renew(renewed.path())
    assert (renewed.path().read_bytes(), in_folder(renewed)[f"a.pdf{TIME_STAMP}"]) == (proof, token)


class _Killed(BaseException):
    """The process ends there."""


@pytest.mark.parametrize("step", range(4))
def test_cut_off_between_two_files_nothing_is_lost_and_the_same_command_goes_on(
    renewed: Renewed, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    pair, left, replace = stamped(renewed), [step], Path.replace

    def killed(path: Path, to: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise _Killed
        return replace(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        if step < 3:
            with pytest.raises(_Killed):
                renewed.renewer().renew(renewed.path())
        else:
            renewed.renewer().renew(renewed.path())
    files = in_folder(renewed)
    now = files[f"a.pdf{PROOF}"], files[f"a.pdf{TIME_STAMP}"]
    kept = files.get(f"a.pdf.2026-03-01{PROOF}"), files.get(f"a.pdf.2026-03-01{TIME_STAMP}")
    assert pair in (now, kept)
    renewed.verify("a.pdf")
    renewed.renewer().renew(renewed.path())
    renewed.verify("a.pdf")
    files = in_folder(renewed)
    assert (files[f"a.pdf.2026-03-01{PROOF}"], files[f"a.pdf.2026-03-01{TIME_STAMP}"]) == pair
    assert f"a.pdf.2026-03-01.2{PROOF}" not in files


def test_earlier_proofs_are_listed_the_newest_first_and_no_more_than_are_ever_read(tmp_path: Path) -> None:
    dates = "2026-02-28", "2026-03-01", "2026-03-01.10", "2026-03-01.2"
    for date in dates:
        (tmp_path / f"a.pdf.{date}{PROOF}").touch()
    for name in (f"a.pdf{PROOF}", "a.pdf.2026-03-02", f"a.pdf.2026-03-01.0{PROOF}", f".2026-03-01{PROOF}"):
        (tmp_path / name).touch()
    listed = [one.name for one in EarlierProofs().of(tmp_path / "a.pdf")]
    assert listed == [f"a.pdf.{dates[number]}{PROOF}" for number in (2, 3, 1, 0)]
    assert EarlierProofs().of(tmp_path / "a.pdf.2026-03-01") == []
    (one := EarlierProofs()).of(tmp_path / "a.pdf")
    (tmp_path / f"b.pdf.2026-03-01{PROOF}").touch()
    assert one.of(tmp_path / "b.pdf") == [], "a folder of 10,000 documents is not listed 10,000 times"
    for year in range(1900, 2000):
        (tmp_path / f"a.pdf.{year}-01-01{PROOF}").touch()
    assert len(EarlierProofs().of(tmp_path / "a.pdf")) == 64


def test_a_revocation_that_the_newer_proof_shows_is_not_hidden_by_an_earlier_one(renewed: Renewed) -> None:
    stamped(renewed)
    given = renewed.given["a.pdf"].certificate
    renewed.forge(renewed.ledger.scribe.revocation(given))
    renewed.renewer().renew(renewed.path())
    key = str(renewed.ledger.scribe.key("ada").public_key.hex())
    renewed.verify("a.pdf", "--signed-before", "2026-03-02", "--issuer", key, expect=15)


# ---- a folder ---------------------------------------------------------------------------------------------------


@pytest.fixture
def from_a_node(renewed: Renewed, monkeypatch: pytest.MonkeyPatch) -> Renewed:
    """The command asks a chain's file, whose last checkpoint is of that day."""

    def prove(_: Client, certificate_id: str, **__: Any) -> ProofFiles:
        (before,) = [one for one in renewed.given.values() if one.certificate.id.hex() == certificate_id]
        return renewed.made(bundle(before))

    def bundle(given: Given) -> Bundle:
        name = next(name for name, one in renewed.given.items() if one is given)
        return read_proof(next(renewed.folder.rglob(f"{name}{PROOF}"))).bundle

    monkeypatch.setattr(Client, "prove", prove)
    return renewed


def renew(renewed: Renewed, *args: str, expect: int = 0, **env: str) -> Any:
    chain = str(renewed.folder.parent / "chain.db")
    return in_json("renew", ".", "--chain", chain, *args, cwd=renewed.folder, expect=expect, **env)


def test_a_whole_folder_is_renewed_and_one_bad_file_hinders_no_other(from_a_node: Renewed) -> None:
    inside = from_a_node.folder / "2025" / "summer"
    inside.mkdir(parents=True)
    for name in ("b.pdf", f"b.pdf{PROOF}"):
        (from_a_node.folder / name).rename(inside / name)
    (from_a_node.folder / f"bad{PROOF}").write_text("no proof")
    (from_a_node.folder / "link").symlink_to(from_a_node.folder)
    told = renew(from_a_node, expect=6)
    assert told["renewed"] == 3
    assert {one["state"] for one in told["proofs"]} == {"renewed"}
    assert [Path(one["what"]).name for one in told["failed"]] == [f"bad{PROOF}"]
    from_a_node.asked.clear()
    told = renew(from_a_node, "--older-than", f"{(now_ms() - START_MS) // 86_400_000 - 300}d", expect=6)
    assert (told["renewed"], {one["state"] for one in told["proofs"]}, from_a_node.asked) == (0, {"young"}, [])
    (from_a_node.folder / f"bad{PROOF}").unlink()
    shown = cli("renew", ".", "--chain", str(from_a_node.folder.parent / "chain.db"), cwd=from_a_node.folder).stdout
    assert "no newer one there" in shown
    assert "0 proofs renewed, 3 left as they are" in shown


def test_with_an_authority_each_gets_a_time_stamp(from_a_node: Renewed) -> None:
    authority = founded()
    (from_a_node.folder / "tsa.pem").write_bytes(authority.root.pem)
    cli("trust", "add-tsa", "tsa.pem", "--yes", cwd=from_a_node.folder)
    with serving(stamping(authority)) as (url, asked):
        told = renew(from_a_node, TALLYSTICK_TSA=url)
        assert (told["renewed"], len(told["stamped"]), told["requests"], len(asked)) == (3, 3, 1, 1)
        told = renew(from_a_node, TALLYSTICK_TSA=url)
        assert (told["renewed"], len(told["stamped"]), told["requests"]) == (0, 3, 0)
    assert from_a_node.file("c.pdf")["time_stamp"]["state"] == "verified"
    for path in from_a_node.folder.glob("*.tsr"):
        path.unlink()
    told = renew(from_a_node, "--tsa", url, expect=1)
    assert (told["renewed"], len(told["not_stamped"]), told["stamped"]) == (0, 3, [])


def test_a_file_of_a_chain_shows_what_its_last_checkpoint_does(renewed: Renewed) -> None:
    """Nobody countersigns anew there, and here no checkpoint is kept: no proof is lost."""
    before = {one: one.read_bytes() for one in renewed.folder.glob(f"*{PROOF}")}
    chain = str(renewed.folder.parent / "chain.db")
    cli("renew", ".", "--chain", chain, cwd=renewed.folder, expect=5)
    assert {one: one.read_bytes() for one in renewed.folder.glob(f"*{PROOF}")} == before


def test_a_running_node_has_its_members_countersign_anew(tmp_path: Path) -> None:
    with running_network(1) as net:
        user = User(net.nodes[0], tmp_path)
        (tmp_path / "report.txt").write_bytes(b"The bridge is sound.")
        user.certify("report.txt")
        before = user.verdict(f"report.txt{PROOF}")

        def is_renewed() -> bool:
            user.certify("--subject", f"at {now_ms()}", "--no-proof")  # the log goes on, and time with it
            return bool(user.json("renew", ".")["renewed"])

        wait_for(is_renewed, "a proof with a later status")
        after = user.verdict(f"report.txt{PROOF}")
    assert after.certificate == before.certificate
    assert after.block == before.block, "a proof made anew keeps its block time"
    assert after.status_s > before.status_s
