"""`tallystick verify` and `tallystick trust`: of files and their proofs, with nothing else at hand."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, START_MS
from tests.governed import directory_genesis
from tests.integration.command_line import USUAL, cli, in_json
from tests.proving import ProvenLedger

from tallystick.api.proof_views import FileVerdict
from tallystick.client.own_node import OwnNode
from tallystick.client.proof_files import MEMBERS, PAYLOAD, PROOF, RawProof, find_proof, read_proof
from tallystick.client.verdicts import Question, Verifier
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.trust import TrustStore
from tallystick.ledger.certificate import AnyCertificate, Payload, issue_statement
from tallystick.ledger.changes import Effect, Reason
from tallystick.ledger.checkpoint import cosigner_key, log_key
from tallystick.ledger.continuation import Continuation, OldVoter
from tallystick.ledger.file_statement import file_payload
from tallystick.ledger.genesis import Genesis, continuing
from tallystick.problems import ExitCode
from tallystick.storage.described_files import describe_file
from tallystick.storage.store import Store

LACKING = "its content is not in this proof: erased, or left out (FILE.payload)"
CONTENT = b"The bridge is sound.\n" * 100
MINUTE_MS = 60_000
DAY_S = 86_400


class Given(NamedTuple):
    """What somebody hands over: a document, and what was certified of it."""

    certificate: Any
    payload: Payload


class Handed:
    """A ledger, and a folder into which documents and their proofs are put."""

    def __init__(self, folder: Path, chain: Path, genesis: Any = None) -> None:
        self.folder, self.ledger = folder, ProvenLedger(chain, genesis)

    @property
    def id(self) -> str:
        return self.ledger.genesis.ledger_id.hex()

    @property
    def now_ms(self) -> int:
        """The time of the last block."""
        return self.ledger.scribe.state.tip.timestamp_ms

    def certify(self, name: str = "report.pdf", by: str = "ada", content: bytes = CONTENT, subject: str = "") -> Given:
        path = self.folder / name
        path.write_bytes(content)
        payload = Payload.about(subject, file_payload(describe_file(path), bytes(32)), bytes(32))
        one = issue_statement(self.ledger.scribe.key(by), self.ledger.genesis.ledger_id, START_MS, "", payload)
        self.forge(one, payloads=[payload])
        return Given(one, payload)

    def forge(self, *certificates: AnyCertificate, **more: Any) -> int:
        """The next block, a minute after the one before; its time."""
        self.ledger.forge(*certificates, timestamp_ms=self.now_ms + MINUTE_MS, **more)
        return self.now_ms

    def prove(self, given: Given, name: str = "report.pdf", *cosigners: str, time_s: int = 0) -> Path:
        """The proof beside the document, at the last block; the members' clocks say that time, or the block's."""
        at = self.ledger.countersigned(*cosigners, time_s=time_s or self.now_ms // 1000)
        files = self.ledger.prove(given.certificate, at)
        path = self.folder / f"{name}{PROOF}"
        path.write_text(files.proof)
        for ending, data in ((MEMBERS, files.members), (PAYLOAD, files.payload)):
            if data is not None:
                (self.folder / f"{name}{ending}").write_bytes(data)
        return path

    def trust(self, name: str = "ours") -> None:
        cli("trust", "add", self.id, "--name", name, cwd=self.folder)

    def verify(self, *args: str, expect: int = 0, **more: Any) -> str:
        """What is said, on one line."""
        done = cli("verify", *(args or ("report.pdf",)), cwd=self.folder, expect=expect, **more)
        return " ".join((done.stdout + done.stderr).split())

    def file(self, *args: str, expect: int = 0) -> Any:
        """What is told of one file."""
        told = in_json("verify", *(args or ("report.pdf",)), cwd=self.folder, expect=expect)
        (one,) = told["files"]
        assert one["exit_code"] == expect
        return one


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    folder = tmp_path / "verifier"
    folder.mkdir()
    return Handed(folder, tmp_path / "chain.db")


@pytest.fixture
def report(handed: Handed) -> Handed:
    """A report with its proof, of a ledger that is trusted."""
    given = handed.certify(subject="Bridge 7")
    handed.forge()
    handed.prove(given)
    handed.trust()
    return handed


# ---- what is proven ---------------------------------------------------------------------------------------------


def test_all_that_is_proven_is_told_and_the_four_times_apart(report: Handed) -> None:
    shown = report.verify()
    key = report.ledger.scribe.key("ada").public_key.hex()
    for words in (
        "✓ report.pdf is certified by University of Ada (ada)",
        "document these very bytes: 2,100 bytes, SHA-256 ",
        "says Bridge 7",
        f"issued by University of Ada (ada), key {key}",
        "claimed 2025-06-15 15:06:40.000 UTC, by the issuer's own clock",
        "block time 2025-06-15 15:07:40.000 UTC, of block 1",
        "final not later than 2025-06-15 15:08:40.999 UTC, as holders of more than 1/3",
        "status as of 2025-06-15 15:08:40.000 UTC, ",
        "days ago: a later revocation would not show",
        "validity valid; as of 2025-06-15 15:08:40.000 UTC",
        "by 4 members with 40 of 40 tokens at stake (100 %): ada 25 %, ben 25 %, cy 25 %, dot 25 %",
        f"ledger governed {report.id}, which you trust as ours",
    ):
        assert words in shown, words
    assert "×" not in shown


def test_as_json_the_same_is_told(report: Handed) -> None:
    one = report.file()
    proven, start_ms = one["proven"], START_MS
    assert (one["result"], one["failure"], one["online"], one["proof"]) == (
        "verified",
        None,
        None,
        "report.pdf.tlog-proof",
    )
    assert (proven["claimed_ms"], proven["block_ms"], proven["block"]) == (start_ms, start_ms + MINUTE_MS, 1)
    assert proven["final_ms"] - 999 == proven["status_ms"] == start_ms + 2 * MINUTE_MS
    assert (proven["issuer"]["organisation"], proven["issuer"]["title"]) == ("ada", "University of Ada")
    assert (proven["known_as"], proven["ledger_id"], proven["ledger"]) == ("ours", report.id, "governed")
    assert (proven["cosigned_stake"], proven["total_stake"], len(proven["cosigners"])) == (40, 40, 4)
    assert (proven["validity"]["state"], proven["is_content_gone"], proven["changes"]) == ("valid", False, [])
    assert proven["document"]["sha256"] == one["sha256"]
    assert one["claims"]["certificate"] == proven["certificate"]
    told = in_json("verify", "report.pdf", cwd=report.folder)
    assert (told["schema"], told["verified"], told["warnings"]) == (1, 1, [])


@pytest.mark.parametrize(
    ("media_type", "told", "shown"),
    [
        ("text/plain", "grade 1.0, ho\u202enours", "content grade 1.0, ho\\u{202e}nours (text/plain)"),
        ("application/json", None, "content application/json, not shown"),
    ],
)
def test_the_content_of_what_is_about_no_file_is_told(
    handed: Handed, media_type: str, told: str | None, shown: str
) -> None:
    payload = Payload(bytes(32), "Ada: BSc", media_type, "grade 1.0, ho\u202enours".encode())
    scribe = handed.ledger.scribe
    one = issue_statement(scribe.key("ada"), handed.ledger.genesis.ledger_id, START_MS, "", payload)
    handed.forge(one, payloads=[payload])
    name = f"words{PROOF}"
    handed.prove(Given(one, payload), "words")
    for code, of in ((10, "claims"), (0, "proven")):
        assert shown in handed.verify(name, expect=code)
        found = handed.file(name, expect=code)[of]
        kept = found["content"] and found["content"].replace("\\u{202e}", "\u202e")
        assert (found["media_type"], kept, found["document"]) == (media_type, told, None)
        handed.trust()


def test_who_did_not_countersign_is_not_counted(handed: Handed) -> None:
    given = handed.certify()
    handed.prove(given, "report.pdf", "ada", "ben", "cy")
    handed.trust()
    assert "by 3 members with 30 of 40 tokens at stake (75 %): ada 25 %, ben 25 %, cy 25 %" in handed.verify()


def test_standard_input_and_a_proof_of_another_name(report: Handed) -> None:
    given = CONTENT.decode()
    shutil.move(report.folder / "report.pdf.tlog-proof", report.folder / "elsewhere")
    assert "✓ standard input" in report.verify("-", "--proof", "elsewhere", given=given)
    assert "certified as report.pdf" in report.verify("-", "--proof", "elsewhere", given=given)
    report.verify("-", "--proof", "elsewhere", given=given + "!", expect=13)
    proof = (report.folder / "elsewhere").read_text()
    assert "there is no proof of it; name its proof with --proof" in report.verify("-", given=proof, expect=11)
    report.verify("-", "--proof", "elsewhere", given=proof, expect=13)


def test_a_document_that_is_itself_a_proof_is_a_document(report: Handed) -> None:
    """Whoever hands it over has a proof of something else, and calls it as the document."""
    proof = report.folder / "report.pdf.tlog-proof"
    shutil.copy(proof, report.folder / "invoice.pdf")
    assert report.file("invoice.pdf", expect=11)["sha256"] == hash_of(proof.read_bytes())
    shutil.copy(proof, report.folder / "invoice.pdf.tlog-proof")
    assert report.file("invoice.pdf", expect=13)["failure"]["rule"] == "P10"


def test_of_a_proof_alone_no_document_is_compared_and_it_says_so(report: Handed) -> None:
    shown = report.verify("report.pdf.tlog-proof")
    assert "✓ report.pdf.tlog-proof proves a certificate by University of Ada (ada); no document was compared" in shown
    assert "not compared; it is about report.pdf, 2,100 bytes" in shown
    assert report.file("report.pdf.tlog-proof")["sha256"] is None
    shown = cli("verify", *["report.pdf.tlog-proof"] * 4, cwd=report.folder).stdout
    assert shown.count(" verified, no ") == 4, "document: the column is narrow"


def test_members_and_payload_may_stand_in_files_beside_the_proof(handed: Handed) -> None:
    given = handed.certify(content=b"x", subject="s")
    long = Payload.about("s" * 60, Payload(bytes(32), "", "text/plain", b"y" * 60_000), bytes(32))
    one = issue_statement(handed.ledger.scribe.key("ada"), handed.ledger.genesis.ledger_id, START_MS, "", long)
    handed.forge(one, payloads=[long])
    handed.prove(Given(one, long), "long")
    handed.prove(given)
    handed.trust()
    assert (handed.folder / "long.payload").exists()
    assert "says sss" in handed.verify("long.tlog-proof")
    (handed.folder / "long.payload").unlink()
    assert f": a certificate by University of Ada (ada) is proven; {LACKING}" in handed.verify("long.tlog-proof")


def test_a_content_that_is_gone_is_said_and_a_document_cannot_be_compared(handed: Handed) -> None:
    given = handed.certify()
    handed.ledger.store.erase_payload(given.payload.hash())
    handed.prove(given)
    handed.trust()
    shown = handed.verify("report.pdf.tlog-proof")
    assert f"✓ report.pdf.tlog-proof: a certificate by University of Ada (ada) is proven; {LACKING}" in shown
    assert handed.file("report.pdf.tlog-proof")["proven"]["is_content_gone"]
    shown = handed.verify(expect=13)
    assert f"{LACKING}; nobody can tell from it which document it was about" in shown
    assert "do next ask whoever gave you the proof for FILE.payload" in shown
    assert "one changed byte" not in shown


def test_quiet_says_it_by_the_exit_code_alone(report: Handed) -> None:
    assert report.verify("report.pdf", "--quiet") == ""
    (report.folder / "report.pdf").write_bytes(b"other")
    assert report.verify("report.pdf", "--quiet", expect=13) == ""


def test_files_of_these_names_that_the_proof_does_not_lack_are_not_read_or_kept(report: Handed) -> None:
    for ending in (MEMBERS, PAYLOAD):
        (report.folder / f"report.pdf{ending}").write_bytes(b"another's")
    found = find_proof(report.folder / "report.pdf").files
    assert found is not None
    assert (found.members, found.payload) == (None, None)
    assert RawProof(found.proof, b"a node's").kept.members is None
    report.verify()
    assert not list((report.folder / ".config" / "tallystick" / "trust").glob("*.members"))


def test_changes_of_members_that_were_followed_are_told(handed: Handed) -> None:
    scribe = handed.ledger.scribe
    given = handed.certify()
    after = scribe.key("ada-2").public_key.hex()
    before = scribe.key("ada").public_key.hex()
    motion = scribe.motion(scribe.replace_key("ada", "ada-2"), "ben")
    handed.forge(motion, scribe.approval(motion, "cy"), scribe.approval(motion, "dot"))
    handed.forge(scribe.statement("ben"))
    handed.prove(given)
    handed.trust()
    (change,) = handed.file()["proven"]["changes"]
    assert (change["joined"], change["left"]) == ([after], [before])
    assert f"1 change followed: by epoch {change['epoch']}: +{after[:8]}…, -{before[:8]}…" in handed.verify()


# ---- when it fails ----------------------------------------------------------------------------------------------


def test_without_a_trusted_ledger_it_is_said_what_the_file_claims(report: Handed) -> None:
    cli("trust", "remove", "ours", "--yes", cwd=report.folder)
    shown = report.verify(expect=10)
    assert "× report.pdf is not verified: no ledger is trusted here" in shown
    assert "What the file claims, none of which is verified: ledger governed" in shown
    assert "get the ledger's id from one of its members" in shown
    assert "University of Ada" not in shown, "only a trusted ledger says which key is whose"
    one = report.file(expect=10)
    assert (one["proven"], one["failure"]["rule"], one["claims"]["ledger_id"]) == (None, "P3", report.id)


def test_a_forgers_ledger_under_a_famous_name_is_not_verified(report: Handed, tmp_path: Path) -> None:
    """With the same name, the same organisations, and a document that it certifies."""
    forged = Handed(tmp_path / "forged", tmp_path / "forged.db", directory_genesis(stakes=(1, 1, 1, 1)))
    forged.folder.mkdir()
    assert forged.ledger.genesis.name == report.ledger.genesis.name
    forged.prove(forged.certify())
    for one in forged.folder.iterdir():
        shutil.copy(one, report.folder)
    shown = report.verify(expect=10)
    assert "✓" not in shown
    assert "University of Ada" not in shown
    for ledger in ("ours", report.id):
        failure = report.file("report.pdf", "--ledger", ledger, expect=10)["failure"]
        assert (failure["expected"], failure["found"]) == (report.id, forged.id)
    assert "✓" in report.verify("report.pdf", "--ledger", forged.id), "by its whole id it is named"
    report.verify("report.pdf", "--ledger", forged.id[:16], expect=5)


def test_one_changed_byte_of_the_document_fails(report: Handed) -> None:
    (report.folder / "report.pdf").write_bytes(CONTENT[:-1] + b"!")
    failure = report.file(expect=13)["failure"]
    assert failure["rule"] == "P10"
    assert (failure["expected"], failure["found"]) == (
        hash_of(CONTENT),
        hash_of(CONTENT[:-1] + b"!"),
    )
    shown = report.verify(expect=13)
    assert "× report.pdf is not verified: SHA-256 of the document: " in shown
    assert "check P10, document is the one certified" in shown
    assert "do next compare with the file that was certified" in shown


def hash_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def test_one_changed_byte_of_the_proof_fails(report: Handed) -> None:
    path = report.folder / "report.pdf.tlog-proof"
    text = path.read_text()
    last = text.rstrip("\n").rsplit("\n", 1)[1]
    at = text.index(last) + len(last) - 8
    path.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    assert report.file(expect=12)["failure"]["rule"] == "P7"
    path.write_text(text.replace("index 0", "index 00"))
    assert report.file(expect=11)["failure"]["rule"] == "P1"
    assert "index" in report.verify(expect=11)
    path.write_text(text.replace("extra ", "extra AAAA", 1))
    assert report.file(expect=11)["failure"]["rule"] == "P2"


def test_without_a_proof_it_says_where_to_get_one(report: Handed) -> None:
    (report.folder / "report.pdf.tlog-proof").unlink()
    shown = report.verify(expect=11)
    assert "there is no report.pdf.tlog-proof beside it; name its proof with --proof" in shown
    assert report.file(expect=11)["claims"] is None


def test_what_is_revoked_is_not_valid_and_was_until_then(handed: Handed) -> None:
    given = handed.certify()
    there_ms = handed.now_ms
    then_ms = handed.forge(handed.ledger.scribe.revocation(given.certificate, reason=Reason.WITHDRAWN))
    handed.prove(given)
    handed.trust()
    shown = handed.verify(expect=15)
    assert "× report.pdf is not verified: it is revoked (withdrawn), since 2025-06-15 15:08:40.000 UTC" in shown
    assert "What is proven of it all the same: " in shown
    assert "University of Ada (ada)" in shown
    one = handed.file(expect=15)
    assert (one["result"], one["proven"]["validity"]["reason"]) == ("not_valid", "withdrawn")
    assert "✓" in handed.verify("report.pdf", "--at", str(then_ms - 1))
    handed.verify("report.pdf", "--at", str(then_ms), expect=15)
    assert "not yet final" in handed.verify("report.pdf", "--at", str(there_ms - 1), expect=15)


def test_what_is_void_or_superseded_is_not_valid(handed: Handed) -> None:
    one, two = handed.certify("one.pdf", content=b"1"), handed.certify("two.pdf", content=b"2")
    handed.forge(handed.ledger.scribe.revocation(one.certificate, effect=Effect.VOID, reason=Reason.FRAUD))
    handed.forge(handed.ledger.scribe.supersession(two.certificate, handed.certify("three.pdf").certificate))
    for given, name in ((one, "one.pdf"), (two, "two.pdf")):
        handed.prove(given, name)
    handed.trust()
    assert "it is void (fraud), as decided on 2025-" in handed.verify("one.pdf", expect=15)
    assert "it is superseded, since 2025-" in handed.verify("two.pdf", expect=15)


def test_a_key_that_was_compromised_before_makes_void(handed: Handed) -> None:
    scribe = handed.ledger.scribe
    handed.forge(scribe.add_issuer("registry"))
    since = scribe.state.log.size
    given = handed.certify(by="registry")
    handed.forge(scribe.end_issuer("registry", since=since))
    handed.prove(given)
    handed.trust()
    assert "it is void (key compromised)" in handed.verify(expect=15)


def test_an_old_status_is_not_fresh(report: Handed) -> None:
    shown = report.verify("report.pdf", "--fresh", "30d", expect=16)
    assert "× report.pdf is not verified: its status is as of 2025-06-15 15:08:40.000 UTC, " in shown
    assert "ask for a newer proof" in shown
    assert "✓" in report.verify("report.pdf", "--fresh", "36500d")
    report.verify("report.pdf", "--at", str(report.now_ms + 1), expect=16)
    assert "is no span of time" in report.verify("report.pdf", "--fresh", "a month", expect=2)


@pytest.mark.parametrize("who", ["ada", "University of Ada", "KEY", "KEY16", "KEY16 upper"])
def test_the_issuer_that_was_asked_for_counts(report: Handed, who: str) -> None:
    key = report.ledger.scribe.key("ada").public_key.hex()
    asked = {"KEY": key, "KEY16": key[:16], "KEY16 upper": key[:16].upper()}.get(who, who)
    assert "✓" in report.verify("report.pdf", "--issuer", asked)


@pytest.mark.parametrize(
    "who",
    ["ben", "Ada", "ad\u0430", "ada ", "University of  Ada", "university of ada", "University", "KEY15", "0" * 64, ""],
)
def test_an_issuer_that_only_looks_alike_does_not(report: Handed, who: str) -> None:
    asked = report.ledger.scribe.key("ada").public_key.hex()[:15] if who == "KEY15" else who
    assert "✓" not in report.verify("report.pdf", "--issuer", asked, expect=14)


def test_a_domain_is_told_as_what_it_is_and_may_be_asked_for(tmp_path: Path) -> None:
    genesis = directory_genesis()
    ada, *others = genesis.founders
    handed = Handed(
        tmp_path, tmp_path / "chain.db", replace(genesis, founders=(replace(ada, domain="ada.example"), *others))
    )
    handed.prove(handed.certify())
    handed.trust()
    shown = handed.verify("report.pdf", "--issuer", "ada.example")
    assert "domain ada.example, vouched for by those who approved it as a member" in shown
    handed.verify("report.pdf", "--issuer", "Ada.Example")
    for other in ("eda.example", "example", "ada.example.", "xada.example"):
        handed.verify("report.pdf", "--issuer", other, expect=14)


def policy_of(handed: Handed, needed: int, *names: str) -> str:
    """The log, and members as witnesses, so many of whom are needed."""
    origin = handed.ledger.genesis.origin
    keys = [handed.ledger.scribe.key(name).public_key for name in names]
    witnesses = [f"witness {name} {cosigner_key(origin, key).text}" for name, key in zip(names, keys, strict=True)]
    group = f"group all {needed} {' '.join(names)}"
    return "\n".join([f"log {log_key(origin, keys[0]).text}", *witnesses, group, "quorum all", ""])


def test_a_policy_is_held_beside_the_ledger_or_says_alone_whom_to_trust(handed: Handed) -> None:
    handed.prove(handed.certify(), "report.pdf", "ada", "ben", "cy")
    asked = ("report.pdf", "--policy", "policy")
    (handed.folder / "policy").write_text(policy_of(handed, 3, "ada", "ben", "cy", "dot"))
    one = handed.file(*asked)
    assert (one["result"], one["proven"]["known_as"], one["proven"]["trusted_by"]) == ("verified", None, "policy")
    assert f"{handed.id}, which you do not trust: by your policy alone" in handed.verify(*asked)
    handed.trust()
    assert handed.file(*asked)["proven"]["known_as"] == "ours"
    (handed.folder / "policy").write_text(policy_of(handed, 2, "ada", "dot"))
    assert handed.file(*asked, expect=12)["failure"]["rule"] == "P7"
    assert "no quorum of the policy" in handed.verify(*asked, expect=12)


def test_a_key_of_no_organisation_counts_only_if_it_is_named(tmp_path: Path) -> None:
    handed = Handed(tmp_path, tmp_path / "chain.db", directory_genesis(anybody_certifies=True))
    given = handed.certify(by="outsider")
    handed.prove(given)
    handed.trust()
    assert "it counts only if the verifier names it" in handed.verify(expect=14)
    key = handed.ledger.scribe.key("outsider").public_key.hex()
    assert f"✓ report.pdf is certified by {key}" in handed.verify("report.pdf", "--issuer", key)


def test_a_key_that_had_ended_does_not_stand_for_its_organisation(tmp_path: Path) -> None:
    handed = Handed(tmp_path, tmp_path / "chain.db", directory_genesis(anybody_certifies=True))
    handed.forge(handed.ledger.scribe.add_issuer("registry"))
    handed.forge(handed.ledger.scribe.end_issuer("registry"))
    handed.prove(handed.certify(by="registry"))
    handed.trust()
    key = handed.ledger.scribe.key("registry").public_key.hex()
    shown = handed.verify("report.pdf", "--issuer", key)
    assert f"✓ report.pdf is certified by key {key}, which had ended; it was one of University of Ada (ada)" in shown


def test_what_is_no_statement_certifies_nothing(handed: Handed) -> None:
    """The word of a member within the ledger, though the issuer chose what it is about."""
    scribe = handed.ledger.scribe
    motion = scribe.motion(scribe.replace_key("ada", "ada-2"), "ben")
    handed.forge(motion)
    approval = scribe.approval(motion, "cy")
    handed.forge(approval)
    handed.prove(Given(motion, Payload(bytes(32), "", "", b"")), "motion")
    handed.prove(Given(approval, Payload(bytes(32), "", "", b"")), "approval")
    handed.trust()
    shown = handed.verify("motion.tlog-proof", "approval.tlog-proof")
    assert "✓ motion.tlog-proof proves a motion by University of Ben (ben); no document was compared" in shown
    assert "✓ approval.tlog-proof proves an approval by University of Cy (cy); no document was compared" in shown
    shown = handed.verify(*["motion.tlog-proof"] * 4)
    assert shown.count("proves a motion, ") == shown.count("no document") == 4
    for words in ("certified", "certificate by"):
        assert words not in shown


def test_of_many_files_each_has_a_line_and_all_a_sum(handed: Handed) -> None:
    for number in range(5):
        handed.prove(handed.certify(f"{number}.txt", content=b"%d" % (number + 1)), f"{number}.txt")
    handed.trust()
    names = [f"{number}.txt" for number in range(5)]
    done = cli("verify", *names, cwd=handed.folder)
    assert done.stdout.endswith("5 files: 5 verified, 0 not\n")
    assert "!" not in done.stdout
    for one in ("0.txt", "3.txt"):
        (handed.folder / one).write_bytes(b"x")
    done = cli("verify", *names, cwd=handed.folder, expect=13)
    rows = [line.split() for line in done.stdout.splitlines() if ".txt" in line]
    assert [row[0] for row in rows] == ["0.txt", "3.txt", "1.txt", "2.txt", "4.txt"]
    assert rows[0][1:4] == ["other", "document", "P10"]
    assert rows[2][1:6] == ["verified", "!", "University", "of", "Ada"], "a newer block was verified with the last"
    assert rows[4][1:5] == ["verified", "University", "of", "Ada"]
    assert "\n! a newer block of its ledger was verified here before, or " in done.stdout
    assert done.stdout.endswith("5 files: 3 verified, 2 not\n")
    (handed.folder / "4.txt.tlog-proof").unlink()
    cli("verify", *names, cwd=handed.folder, expect=1)
    assert [one["exit_code"] for one in in_json("verify", *names, cwd=handed.folder, expect=1)["files"]] == [
        13,
        0,
        0,
        13,
        11,
    ]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["gone.txt"], 2, "there is no file gone.txt"),
        (["."], 2, "is a directory; name the files in it one by one"),
        (["empty"], 2, "is empty: there is nothing to certify or to verify"),
        ([], 2, "Missing argument"),
        (["report.pdf", "--ledger", "0123"], 5, "no ledger that you trust is called 0123"),
        (["report.pdf", "report.pdf", "--proof", "x"], 2, "--proof is the proof of one FILE"),
        (["report.pdf", "--proof", "gone"], 2, "there is no proof gone"),
        (["report.pdf", "--policy", "gone"], 2, "gone cannot be read"),
        (["report.pdf", "--policy", "report.pdf"], 6, "[P1]"),
        (["report.pdf", "--at", "noon"], 2, "is no time"),
    ],
)
def test_verify_says_what_is_wrong(report: Handed, args: list[str], code: int, message: str) -> None:
    (report.folder / "empty").touch()
    done = cli("verify", *args, cwd=report.folder, expect=code)
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_of_several_the_others_are_judged_if_one_cannot_be_read(report: Handed) -> None:
    names = ["gone.txt", "a" * 250, "./sub/../report.pdf", "report.pdf"]
    (report.folder / "sub").mkdir()
    (report.folder / names[1]).write_text("a name with no room for a proof beside it")
    told = in_json("verify", *names, cwd=report.folder, expect=2)
    found = [(one["path"], one["result"], one["exit_code"]) for one in told["files"]]
    states = [("unreadable", 2), ("unreadable", 2), ("verified", 0), ("verified", 0)]
    shown_names = [str(Path(one)) for one in names]
    assert found == [(name, *state) for name, state in zip(shown_names, states, strict=True)]
    assert told["files"][0]["failure"]["rule"] is None
    assert "there is no file gone.txt" in told["files"][0]["failure"]["reason"]
    shown = report.verify(*names, expect=2)
    assert "gone.txt cannot be read" in shown
    assert f"{shown_names[2]} verified" in shown
    assert "4 files: 2 verified, 2 not" in shown
    few = report.verify("gone.txt", "report.pdf", expect=2)
    assert "× gone.txt is not verified: there is no file gone.txt" in few
    (report.folder / "report.pdf").write_bytes(b"x")
    report.verify("gone.txt", "report.pdf", expect=1)


def test_text_from_elsewhere_drives_no_terminal(tmp_path: Path) -> None:
    """The name of the ledger, of the file, subject and note are chosen by others."""
    named = replace(directory_genesis(), name="fam\u202eous")
    handed = Handed(tmp_path, tmp_path / "chain.db", named)
    name = "a\u202eb\u200bgnp.pdf"
    given = handed.certify(name, subject="su\u202eject")
    handed.prove(given, name)
    for code in (10, 0):
        for shown in (handed.verify(name, expect=code), handed.verify(name, "--json", expect=code)):
            assert not any(char in shown for char in "\u202e\u200b\x1b")
            for words in ("a\\u{202e}b\\u{200b}gnp.pdf", "fam\\u{202e}ous", "su\\u{202e}ject"):
                assert words in shown.replace("\\\\u", "\\u")
        handed.trust()


# ---- trust ------------------------------------------------------------------------------------------------------


def test_a_ledger_is_trusted_by_a_proof_after_its_whole_id_was_shown(report: Handed) -> None:
    cli("trust", "remove", "ours", "--yes", cwd=report.folder)
    add = ["trust", "add", "report.pdf.tlog-proof"]
    said = cli(*add, cwd=report.folder, expect=2)
    assert f"ledger id    {report.id}" in said.stdout
    assert "claims to be governed" in said.stdout
    assert "Say so with --yes" in said.stderr
    report.verify(expect=10)
    assert "✓ governed is trusted: " in cli(*add, "--yes", cwd=report.folder).stdout
    assert "✓" in report.verify()


def test_a_ledger_is_trusted_by_its_genesis(report: Handed) -> None:
    cli("trust", "remove", "ours", "--yes", cwd=report.folder)
    (report.folder / "genesis").write_bytes(report.ledger.genesis.encoded)
    told = in_json("trust", "add", "genesis", "--name", "theirs", "--yes", cwd=report.folder)["ledger"]
    assert (told["name"], told["ledger_id"], told["title"]) == ("theirs", report.id, "governed")
    assert told["added_from"] == "the genesis genesis"
    assert "✓" in report.verify("report.pdf", "--ledger", "theirs")


def test_a_ledger_is_trusted_by_a_file_whatever_bytes_its_name_is_of(report: Handed) -> None:
    cli("trust", "remove", "ours", "--yes", cwd=report.folder)
    name = os.fsdecode(b"\xff" * 200)
    shutil.copy(report.folder / "report.pdf.tlog-proof", report.folder / name)
    in_json("trust", "add", name, "--name", "ours", "--yes", cwd=report.folder)
    told = in_json("trust", "list", cwd=report.folder)
    assert (len(told["ledgers"]), told["damaged"]) == (1, [])
    assert "✓" in report.verify()


def test_a_ledger_is_trusted_no_more_once_it_is_removed(report: Handed) -> None:
    report.verify()
    assert in_json("trust", "remove", report.id[:16], "--yes", cwd=report.folder)["ledger_id"] == report.id
    listed = cli("trust", "list", cwd=report.folder).stdout
    assert "No ledger is trusted: proofs are not verified" in listed
    report.verify(expect=10)
    report.trust()
    assert in_json("trust", "show", "ours", cwd=report.folder)["ledger"]["newest_block"] is None


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["add", "0123456789abcdef0"], 2, "by all 64 digits of its id"),
        (["add", "gone"], 2, "there is no file gone, and it is no ledger's id"),
        (["add", "report.pdf"], 2, "is neither a proof nor a genesis"),
        (["add", "1" * 64, "--name", "ours"], 2, "choose another local name with --name"),
        (["add", "1" * 64, "--name", "../x"], 2, "is no local name"),
        (["show", "nobody"], 5, "no ledger that you trust is called nobody"),
        (["remove", "ours"], 2, "Say so with --yes"),
    ],
)
def test_trust_says_what_is_wrong(report: Handed, args: list[str], code: int, message: str) -> None:
    assert message in " ".join(cli("trust", *args, cwd=report.folder, expect=code).stderr.split())
    assert [one["name"] for one in in_json("trust", "list", cwd=report.folder)["ledgers"]] == ["ours"]


def test_what_was_verified_is_kept_and_shown(report: Handed) -> None:
    assert in_json("trust", "show", "ours", cwd=report.folder)["ledger"]["newest_block"] is None
    report.verify()
    told = in_json("trust", "show", "ours", cwd=report.folder)["ledger"]
    assert (told["newest_block"], told["newest_ms"], told["title"]) == (2, report.now_ms, "governed")
    shown = cli("trust", "show", report.id[:16], cwd=report.folder).stdout
    assert "newest block 2, 2025-06-15 15:08:40.000 UTC" in shown
    assert f"ours {report.id[:16]}… governed 2, 2025-06-15" in " ".join(
        cli("trust", "list", cwd=report.folder).stdout.split()
    )
    folder = report.folder / ".config" / "tallystick" / "trust"
    assert told["newest_hash"] == report.ledger.scribe.state.tip.hash.hex()
    assert (folder / f"{report.id}.tlog-proof").read_bytes() == (report.folder / "report.pdf.tlog-proof").read_bytes()


def test_an_older_proof_still_verifies_and_says_so_and_changes_nothing(report: Handed) -> None:
    older = (report.folder / "report.pdf.tlog-proof").read_text()
    given = report.certify("other.pdf", content=b"other")
    report.prove(given, "other.pdf")
    report.verify("other.pdf")
    newest = in_json("trust", "show", "ours", cwd=report.folder)
    assert (report.folder / "report.pdf.tlog-proof").read_text() == older
    assert "! A newer block of this ledger was verified here before" in report.verify()
    assert in_json("trust", "show", "ours", cwd=report.folder) == newest


def test_what_is_proven_of_a_revoked_one_is_kept_too(handed: Handed) -> None:
    given = handed.certify()
    handed.forge(handed.ledger.scribe.revocation(given.certificate))
    handed.prove(given)
    handed.trust()
    handed.verify(expect=15)
    assert in_json("trust", "show", "ours", cwd=handed.folder)["ledger"]["newest_block"] == 2


def test_another_history_is_refused_loudly_and_both_are_kept(report: Handed, tmp_path: Path) -> None:
    """Its members signed two blocks of one index, or somebody has their keys."""
    report.verify()
    proof = report.folder / "report.pdf.tlog-proof"
    first = proof.read_bytes()
    fork = Handed(report.folder, tmp_path / "fork.db")
    given = fork.certify(subject="Bridge 8")
    fork.forge()
    fork.prove(given)
    assert fork.id == report.id
    for _ in range(2):
        failure = report.file(expect=12)["failure"]
        assert failure["rule"] == "P4"
        assert "members of this ledger signed two histories, or their keys were stolen" in failure["advice"]
    ((conflict),) = in_json("trust", "show", "ours", cwd=report.folder)["ledger"]["conflicts"]
    place = Path(conflict["folder"])
    assert (place / "verified-before.tlog-proof").read_bytes() == first
    assert (place / "refused.tlog-proof").read_bytes() == proof.read_bytes()
    proof.write_bytes(first)
    assert "warning: of ours another history was seen" in report.verify()
    assert "another history" in cli("trust", "show", "ours", cwd=report.folder).stdout
    assert "! 1 conflict" in cli("trust", "list", cwd=report.folder).stdout


def test_two_histories_of_a_ledger_that_is_only_named_conflict_in_one_command(handed: Handed, tmp_path: Path) -> None:
    handed.prove(handed.certify("a.pdf", content=b"a"), "a.pdf")
    fork = Handed(handed.folder, tmp_path / "fork.db")
    fork.prove(fork.certify("b.pdf", content=b"b"), "b.pdf")
    told = in_json("verify", "a.pdf", "b.pdf", "--ledger", handed.id, cwd=handed.folder, expect=12)
    assert [one["exit_code"] for one in told["files"]] == [0, 12]
    (place,) = (handed.folder / ".config" / "tallystick" / "trust" / "conflicts" / handed.id).iterdir()
    assert str(place) in told["files"][1]["failure"]["advice"]
    for kept, name in (("verified-before", "a.pdf"), ("refused", "b.pdf")):
        assert (place / f"{kept}.tlog-proof").read_bytes() == (handed.folder / f"{name}{PROOF}").read_bytes()


@pytest.mark.parametrize("more", [0, 2])
def test_another_history_than_that_of_the_own_node_is_refused(handed: Handed, tmp_path: Path, more: int) -> None:
    """By the block of the same index, or by the newest that the node has."""
    given = handed.certify("a.pdf", content=b"a")
    handed.prove(given, "a.pdf")
    for _ in range(more):
        handed.forge()
    fork = Handed(handed.folder, tmp_path / "fork.db")
    fork.prove(fork.certify("b.pdf", content=b"b"), "b.pdf")
    node = DataFolder(handed.folder / USUAL)
    node.make()
    handed.ledger.store.close()
    shutil.copy(tmp_path / "chain.db", node.ledger_path)
    node.write_settings(Settings("127.0.0.1:7117", "127.0.0.1:7117"))
    told = in_json("verify", "b.pdf", "a.pdf", cwd=handed.folder, expect=12)
    assert [one["exit_code"] for one in told["files"]] == [12, 0]
    assert told["files"][0]["failure"]["rule"] == "P4"
    assert not told["files"][1]["proven"]["is_older"], "what the node has beyond it is nothing to warn of"
    assert told["files"][1]["proven"]["trusted_by"] == "own_node"


def test_two_histories_in_one_command_conflict_likewise(handed: Handed, tmp_path: Path) -> None:
    handed.prove(handed.certify("a.pdf", content=b"a"), "a.pdf")
    fork = Handed(handed.folder, tmp_path / "fork.db")
    fork.prove(fork.certify("b.pdf", content=b"b"), "b.pdf")
    handed.trust()
    told = in_json("verify", "a.pdf", "b.pdf", cwd=handed.folder, expect=12)
    assert [one["exit_code"] for one in told["files"]] == [0, 12]
    ((conflict),) = in_json("trust", "show", "ours", cwd=handed.folder)["ledger"]["conflicts"]
    assert (Path(conflict["folder"]) / "verified-before.tlog-proof").read_bytes() == (
        handed.folder / "a.pdf.tlog-proof"
    ).read_bytes()


def test_what_another_command_verified_meanwhile_counts(
    report: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading what is trusted and keeping what was verified."""
    fork = Handed(tmp_path / "fork", tmp_path / "fork.db")
    fork.folder.mkdir()
    fork.prove(fork.certify(subject="Bridge 8"))
    fork.forge()
    finish = Verifier.finish

    def meanwhile(verifier: Verifier) -> None:
        monkeypatch.setattr(Verifier, "finish", finish)
        report.verify()
        finish(verifier)

    monkeypatch.setattr(Verifier, "finish", meanwhile)
    given = fork.certify("b.pdf", content=b"b")
    fork.prove(given, "b.pdf")
    for name in ("b.pdf", "b.pdf.tlog-proof"):
        shutil.copy(fork.folder / name, report.folder)
    report.verify("b.pdf")
    assert in_json("trust", "show", "ours", cwd=report.folder)["ledger"]["newest_block"] == 3


def test_the_ledger_of_the_own_node_is_trusted(report: Handed) -> None:
    cli("trust", "remove", "ours", "--yes", cwd=report.folder)
    node_of(report.ledger.genesis, report.folder)
    assert f"{report.id}, which is that of your own node" in report.verify()
    assert in_json("trust", "list", cwd=report.folder)["own_ledger"] == report.id
    shutil.rmtree(report.folder / USUAL)
    report.verify(expect=10)


def continuation_at(handed: Handed) -> Continuation:
    """The ledger as of its last block, as another goes on from it."""
    tip, state = handed.ledger.scribe.state.tip, handed.ledger.scribe.state
    voters = tuple(OldVoter(key, stake, None) for key, stake in state.epoch.members)
    where = (tip.index, tip.hash, tip.timestamp_ms, state.log.size, state.log.root())
    return Continuation(handed.ledger.genesis.ledger_id, handed.ledger.genesis.name, *where, voters)


def node_of(genesis: Genesis, folder: Path) -> None:
    """The user's own node, which does not run."""
    node = DataFolder(folder / USUAL)
    node.make()
    Store.create(node.ledger_path, genesis).close()
    node.write_settings(Settings("127.0.0.1:7117", "127.0.0.1:7117"))


def new_genesis(before: Continuation) -> Genesis:
    later = replace(directory_genesis(), name="diplomas 2", created_ms=before.timestamp_ms + 1)
    return continuing(later, before, [ADA, BEN])


def test_that_a_ledger_continues_another_is_said_loudly(handed: Handed, tmp_path: Path) -> None:
    handed.certify()
    new = Handed(handed.folder, tmp_path / "new.db", new_genesis(continuation_at(handed)))
    new.prove(new.certify())
    new.trust("new")
    by = "continued by 2 of 4 members with 20 of 40 tokens at stake, a decision outside the ledger"
    shown = new.verify()
    assert f"! The ledger says that it was {by}: it goes on from governed ({handed.id[:16]}…) after block 1" in shown
    assert "after block 1; whether they were its members is not checked here" in shown
    assert new.file()["proven"]["continues"]["ledger_id"] == handed.id


def test_the_ledger_that_the_own_nodes_continues_counts_up_to_the_block_that_is_named(handed: Handed) -> None:
    """Whoever finds the lost key, and steals others, can go on with the old ledger."""
    given = handed.certify()
    handed.prove(given)
    node_of(new_genesis(continuation_at(handed)), handed.folder)
    assert "✓" in handed.verify()
    handed.forge()
    handed.prove(given)
    failure = handed.file(expect=10)["failure"]
    assert failure["reason"] == (
        "the proof is of block 2 of governed, and your node's ledger goes on from it after block 1"
    )
    shown = handed.verify("report.pdf", "--ledger", handed.id)
    assert "✓ report.pdf" in shown, "who names it trusts all of it"
    assert f"{handed.id}, which you named, and nothing is kept of" in shown


def test_a_fork_of_the_ledger_that_the_own_nodes_continues_does_not_count(handed: Handed) -> None:
    handed.prove(handed.certify())
    node_of(new_genesis(replace(continuation_at(handed), block_hash=bytes(32))), handed.folder)
    assert "which is another" in handed.verify(expect=10)


def test_a_damaged_file_of_a_trusted_ledger_is_said(report: Handed) -> None:
    path = report.folder / ".config" / "tallystick" / "trust" / f"{report.id}.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{path} is damaged" in report.verify(expect=7)
    listed = cli("trust", "list", cwd=report.folder)
    assert f"{path} is damaged" in listed.stderr
    cli("trust", "remove", report.id, "--yes", cwd=report.folder)
    report.trust()
    assert "✓" in report.verify()


def test_a_folder_may_be_named(report: Handed) -> None:
    report.verify("report.pdf", "--trust", "elsewhere", expect=10)
    cli("trust", "add", report.id, "--trust", "elsewhere", cwd=report.folder)
    assert "✓" in report.verify("report.pdf", "--trust", "elsewhere")
    assert "✓" in report.verify("report.pdf", TALLYSTICK_TRUST=str(report.folder / "elsewhere"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_kept_it_is_verified_all_the_same(report: Handed) -> None:
    folder = report.folder / ".config" / "tallystick" / "trust"
    folder.chmod(0o500)
    try:
        assert "what was verified is not kept" in report.verify()
    finally:
        folder.chmod(0o700)


# ---- nothing else at hand -----------------------------------------------------------------------------------------


def test_everything_else_is_gone_and_it_verifies(report: Handed, tmp_path: Path) -> None:
    """A process of its own in another home, without a network or the ledger: document, proof and the ledger's id."""
    home = tmp_path / "another"
    home.mkdir()
    for name in ("report.pdf", "report.pdf.tlog-proof"):
        shutil.move(report.folder / name, home / name)
    ledger_id = report.id
    report.ledger.store.close()
    shutil.rmtree(report.folder)
    (tmp_path / "chain.db").unlink()
    run = [sys.executable, "-m", "tallystick", "verify", "report.pdf", "--ledger", ledger_id]
    before = ["unshare", "-rn"]
    if shutil.which(before[0]) is None or subprocess.run([*before, "true"], check=False).returncode:
        before = []  # this machine lets nobody take a process off the network
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run([*before, *run], cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "✓ report.pdf is certified by University of Ada (ada)" in done.stdout
    (home / "report.pdf").write_bytes(b"?" + CONTENT[1:])
    done = subprocess.run([*before, *run], cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.OTHER_DOCUMENT


# ---- a newer proof, from a node ----------------------------------------------------------------------------------


class Asking:
    """Verifies the report with a node that answers with these files."""

    def __init__(self, handed: Handed) -> None:
        self.handed, self.answer = handed, RawProof(b"")

    def judged(self, **asked: Any) -> FileVerdict:
        store = TrustStore(self.handed.folder / ".config" / "tallystick" / "trust")
        question = Question(self.handed.now_ms + MINUTE_MS, url="https://node.example", **asked)
        verifier = Verifier(store, OwnNode(), question, lambda bundle: self.answer)
        found = verifier.verify(find_proof(self.handed.folder / "report.pdf"))
        verifier.finish()
        self.warnings = verifier.warnings
        return found


@pytest.fixture
def asking(handed: Handed) -> Asking:
    """Of a report whose proof is at hand; the node has a newer one, in which it is revoked."""
    given = handed.certify(subject="Bridge 7")
    handed.prove(given)
    at_hand = read_proof(handed.folder / f"report.pdf{PROOF}")
    handed.forge(handed.ledger.scribe.revocation(given.certificate))
    found = Asking(handed)
    found.answer = read_proof(handed.prove(given))
    (handed.folder / f"report.pdf{PROOF}").write_bytes(at_hand.proof)
    handed.trust()
    return found


def test_a_newer_proof_counts_instead_and_it_is_said_whose_it_is(asking: Asking) -> None:
    assert "✓" in asking.handed.verify()
    one = asking.judged()
    assert (one.exit_code, one.result, one.online) == (15, "not_valid", "https://node.example")
    assert in_json("trust", "show", "ours", cwd=asking.handed.folder)["ledger"]["newest_block"] == 2


def test_a_newer_proof_makes_it_fresh(handed: Handed) -> None:
    given = handed.certify()
    old = read_proof(handed.prove(given))
    for _ in range(9):
        handed.forge()
    asking = Asking(handed)
    asking.answer = read_proof(handed.prove(given))
    (handed.folder / f"report.pdf{PROOF}").write_bytes(old.proof)
    handed.trust()
    assert asking.judged(fresh_ms=2 * MINUTE_MS).exit_code == 0
    asking.answer = old
    assert asking.judged(fresh_ms=2 * MINUTE_MS).exit_code == 16


def test_of_a_node_nothing_is_believed_but_what_is_proven(asking: Asking, tmp_path: Path) -> None:
    """Who asked for a newer status, and does not get it, is not told that all is well."""
    good = asking.answer
    other = Handed(tmp_path / "other", tmp_path / "other.db", directory_genesis(stakes=(1, 1, 1, 1)))
    other.folder.mkdir()
    text = good.proof.decode()
    at = len(text) - 20
    for wrong, why in (
        (b"", "P1"),
        (text[: len(text) // 2].encode(), "P1"),
        ((text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]).encode(), "P7"),
        (read_proof(other.prove(other.certify())).proof, "of another certificate"),
    ):
        asking.answer = RawProof(wrong)
        one = asking.judged()
        assert (one.exit_code, one.online) == (16, None)
        assert one.failure is not None
        assert "no newer proof could be had from https://node.example: " in one.failure.reason
        assert why in one.failure.reason
        assert one.proven is not None, "what the proof at hand shows is told all the same"


def test_a_node_that_is_behind_is_named_and_the_proof_at_hand_counts(asking: Asking) -> None:
    newer, path = asking.answer, asking.handed.folder / f"report.pdf{PROOF}"
    asking.answer = read_proof(path)
    path.write_bytes(newer.proof)
    assert asking.judged().exit_code == 15
    assert asking.warnings == ["the proof from https://node.example is older than the one at hand, which counts"]


def test_of_one_status_second_the_newer_block_counts(handed: Handed) -> None:
    given = handed.certify()
    second = handed.now_ms // 1000 + 60
    behind = read_proof(handed.prove(given, time_s=second))
    handed.forge(handed.ledger.scribe.revocation(given.certificate))
    handed.prove(given, time_s=second)
    handed.trust()
    asking = Asking(handed)
    asking.answer = behind
    assert asking.judged().exit_code == 15
    assert asking.warnings == ["the proof from https://node.example is older than the one at hand, which counts"]


def test_another_history_from_a_node_is_a_conflict_and_kept(handed: Handed, tmp_path: Path) -> None:
    given = handed.certify()
    handed.prove(given)
    fork = Handed(tmp_path / "fork", tmp_path / "fork.db")
    fork.folder.mkdir()
    fork.ledger.forge(
        given.certificate,
        fork.ledger.scribe.statement("ben"),
        payloads=[given.payload],
        timestamp_ms=START_MS + MINUTE_MS,
    )
    asking = Asking(handed)
    asking.answer = read_proof(fork.prove(given))
    handed.trust()
    one = asking.judged()
    assert one.exit_code == 12
    assert one.failure is not None
    assert one.failure.rule == "P4"
    ((conflict),) = in_json("trust", "show", "ours", cwd=handed.folder)["ledger"]["conflicts"]
    assert conflict["folder"] in (one.failure.advice or "")
    assert (Path(conflict["folder"]) / "refused.tlog-proof").read_bytes() == asking.answer.proof
