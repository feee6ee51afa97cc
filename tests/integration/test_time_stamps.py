"""Time stamps of authorities beside proofs: asked for, kept, trusted and verified, by command and over HTTP."""

import base64
import gzip
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.governed import NAMES
from tests.integration.command_line import cli, in_json
from tests.integration.test_proving import replaced
from tests.integration.test_verify import Handed, policy_of
from tests.proving import short_epochs
from tests.time_authority import NOW, Answer, Asked, Authority, founded, serving, stamping

from tallystick.client import time_stamps
from tallystick.client.proof_files import PROOF, TIME_STAMP, read_proof
from tallystick.client.time_stamp_token import MAX_TOKEN_BYTES
from tallystick.host.authorities import Authorities
from tallystick.host.own_files import TrustError
from tallystick.ledger.bundle import Entrance, FinalVotes
from tallystick.ledger.directory import Directory
from tallystick.ledger.keys import Domain
from tallystick.ledger.vote import FINALIZE, Ballot
from tallystick.problems import ExitCode
from tallystick.storage.making import Leaf, Shared, put_together

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="OPENSSL IS NOT INSTALLED: not compared")
EC = founded("ec")
ALMOST_NOW = "2026-03-01 12:00:00.999 UTC"


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    """Three documents with proofs, two of which were made together, of a ledger that is trusted."""
    folder = tmp_path / "verifier"
    folder.mkdir()
    one = Handed(folder, tmp_path / "chain.db")
    given = [one.certify(name) for name in ("a.pdf", "b.pdf", "c.pdf")]
    one.forge()
    one.prove(given[0], "a.pdf")
    one.prove(given[1], "b.pdf")
    one.forge()
    one.prove(given[2], "c.pdf")
    one.trust()
    return one


def trust(handed: Handed, authority: Authority = EC, name: str = "stamps") -> None:
    (handed.folder / f"{name}.pem").write_bytes(authority.root.pem)
    cli("trust", "add-tsa", f"{name}.pem", "--yes", cwd=handed.folder)


def note_of(handed: Handed, name: str) -> bytes:
    return (handed.folder / f"{name}{PROOF}").read_bytes().partition(b"\n\n")[2]


def stamp(handed: Handed, name: str = "a.pdf", authority: Authority = EC, **changes: Any) -> bytes:
    """Put a token beside a proof."""
    token = authority.token(**changes).response(note_of(handed, name))
    (handed.folder / f"{name}{TIME_STAMP}").write_bytes(token)
    return token


@pytest.fixture
def url() -> Iterator[str]:
    with serving(stamping(EC)) as (url, _):
        yield url


def anchor(handed: Handed, *args: str, expect: int = 0, **env: str) -> str:
    done = cli("anchor", *args, cwd=handed.folder, expect=expect, **env)
    return " ".join((done.stdout + done.stderr).split())


# ---- asking -----------------------------------------------------------------------------------------------------


def test_one_request_for_each_note_and_the_answer_is_kept_as_it_came(handed: Handed) -> None:
    trust(handed)
    answers: list[bytes] = []

    def answer(asked: Asked) -> Answer:
        answers.append(EC.token(imprint=asked.imprint).response(b"", asked.nonce))
        return Answer(answers[-1])

    with serving(answer) as (url, asked):
        told = in_json("anchor", ".", "--tsa", url, cwd=handed.folder)
        assert (told["requests"], len(told["stamped"]), told["failed"]) == (2, 3, [])
        kept = {(handed.folder / f"{name}{TIME_STAMP}").read_bytes() for name in ("a.pdf", "b.pdf", "c.pdf")}
        assert kept == set(answers)
        assert all(one.wants_certificates and one.nonce for one in asked)
        assert {(one.kind, one.encoding) for one in asked} == {("application/timestamp-query", "identity")}
        again = anchor(handed, "a.pdf", f"c.pdf{PROOF}", TALLYSTICK_TSA=url)
        assert f"a.pdf{PROOF} is time stamped, as before: not later than {ALMOST_NOW}" in again
        assert len(asked) == 2, "a proof with a token that holds is left as it is"
    for name in ("a.pdf", "b.pdf", "c.pdf"):
        words = f"time stamped checkpoint and signatures: not later than {ALMOST_NOW}, by CN=Stamps \\u{{202e}}[bold]"
        assert f"{words}, which you trust as stamps" in handed.verify(name)


def test_none_is_asked_unless_it_is_named_and_trusted(handed: Handed, url: str) -> None:
    said = anchor(handed, "a.pdf", expect=2)
    assert "no time stamping authority is named, and none is asked unless you say so" in said
    assert "--tsa, or in $TALLYSTICK_TSA" in said
    assert "none is trusted" not in said
    assert "no token could be verified; get its root" in anchor(handed, "a.pdf", "--tsa", url, expect=2)
    trust(handed, founded("rsa"), "other")
    said = anchor(handed, "a.pdf", "--tsa", url, expect=1)
    assert "under an authority that you do not trust, CN=Stamps \\u{202e}[bold]; get its root" in said
    assert "trust add-tsa FILE.pem" in said
    assert not list(handed.folder.glob("*.tsr"))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another imprint": ({"imprint": bytes(64)}, "it is not of this checkpoint"),
    "another nonce": ({"nonce": 1}, "the answer to another request"),
    "no nonce": ({"has_nonce": False}, "the answer to another request"),
    "a bad signature": ({"is_signature_bad": True}, "its signature does not hold"),
    "SHA-1": ({"hash_name": "sha1", "imprint": bytes(20)}, "another hash function"),
    "a refusal": ({"status": 2}, "did not grant a token: refused"),
    "granted with changes": ({"status": 1}, "did not grant a token: granted with changes"),
    "not valid then": ({"time": datetime(1999, 1, 1, tzinfo=UTC)}, "was not valid yet at the token's own time"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_is_not_kept(handed: Handed, wrong: str) -> None:
    changes, words = WRONG[wrong]
    trust(handed)
    with serving(stamping(EC, **changes)) as (url, _):
        assert words in anchor(handed, "a.pdf", "--tsa", url, expect=1)
    assert not list(handed.folder.glob("*.tsr"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer(b"x", 404),
            "answers no time stamp (HTTP 404, application/timestamp-reply); is it",
        ),
        (Answer(b"x", 302), "answers no time stamp (HTTP 302, application/timestamp-reply); is it"),
        (Answer(b"x", kind="text/html"), "answers no time stamp (HTTP 200, text/html)"),
        (Answer(bytes(MAX_TOKEN_BYTES + 1)), "answers more than 65,536 bytes"),
        (Answer(gzip.compress(bytes(1 << 20)), encoding="gzip"), "answers compressed, though it was asked not to"),
        (Answer(b"no DER"), "it is no time stamp token as RFC 3161 has it"),
    ],
)
def test_what_is_no_answer_is_told(handed: Handed, answer: Answer, words: str) -> None:
    trust(handed)
    with serving(lambda _: answer) as (url, _):
        assert words in anchor(handed, "a.pdf", "--tsa", url, expect=1)
    assert not list(handed.folder.glob("*.tsr"))


@pytest.mark.parametrize("part", ["headers", "body"])
def test_an_authority_whose_answer_never_ends_is_not_waited_for(handed: Handed, part: str) -> None:
    """Each byte comes in time, and all of them never."""
    trust(handed)
    endless = Answer(b"", has_headers_that_never_end=part == "headers", has_body_that_never_ends=part == "body")
    with serving(lambda _: endless) as (url, _):
        said = anchor(handed, "a.pdf", "--tsa", url, "--timeout", "0.5", expect=1)
    assert "did not answer within 0.5 s" in said


def test_an_authority_that_is_away_is_asked_once_and_no_proof_hinders_another(handed: Handed, url: str) -> None:
    trust(handed)
    with serving(stamping(EC)) as (gone, _):
        pass
    told = in_json("anchor", ".", "--tsa", gone, cwd=handed.folder, expect=1)
    assert (told["requests"], len(told["failed"]), told["stamped"]) == (1, 3, [])
    assert {one["problem"]["code"] for one in told["failed"]} == {"authority-away"}
    (handed.folder / f"b.pdf{PROOF}").write_text("no proof")
    told = in_json("anchor", ".", "missing", "--tsa", url, cwd=handed.folder, expect=1)
    assert {Path(one["proof"]).name for one in told["failed"]} == {f"b.pdf{PROOF}", "missing"}
    assert len(told["stamped"]) == 2
    (handed.folder / f"a.pdf{TIME_STAMP}").unlink()
    said = anchor(handed, "a.pdf", "--tsa", gone.replace("://", "://ada:secret@") + "?key=secret", expect=1)
    assert "cannot be asked: nobody answers there; compare the URL" in said
    assert "secret" not in said
    for wrong in ("ftp://x/", "tsr", "http://"):
        assert "no URL of a time stamping authority" in anchor(handed, "a.pdf", "--tsa", wrong, expect=2)


def test_what_is_no_token_of_the_proof_is_not_replaced_and_an_older_one_is(handed: Handed) -> None:
    trust(handed)
    path = handed.folder / f"a.pdf{TIME_STAMP}"
    own = EC.token().response((handed.folder / "a.pdf").read_bytes())
    with serving(stamping(EC)) as (url, asked):
        path.write_text("a list of things to see and read")
        assert "is no time stamp token; move it away" in anchor(handed, "a.pdf", "--tsa", url, expect=2)
        path.write_bytes(own)
        assert "a time stamp of the document itself" in anchor(handed, "a.pdf", "--tsa", url, expect=2)
        assert path.read_bytes() == own
        assert "a time stamp token lies beside it; it is not of this checkpoint" in handed.verify("a.pdf")
        assert asked == [], "nobody is asked for what could not be kept"
        stamp(handed, "a.pdf", imprint=bytes(64))
        assert "✓" in anchor(handed, "a.pdf", "--tsa", url)
    assert ALMOST_NOW in handed.verify("a.pdf")


def test_no_link_leads_out_of_a_folder(handed: Handed, url: str, tmp_path: Path) -> None:
    trust(handed)
    inside = handed.folder / "inside"
    inside.mkdir()
    (inside / f"a.pdf{PROOF}").symlink_to(handed.folder / f"a.pdf{PROOF}")
    (inside / "out").symlink_to(handed.folder)
    assert "There is no proof in it" in anchor(handed, "inside", "--tsa", url)
    assert not list(handed.folder.rglob("*.tsr"))


# ---- verifying --------------------------------------------------------------------------------------------------


def test_a_token_of_an_authority_that_is_not_trusted_is_a_claim_without_a_time(handed: Handed) -> None:
    stamp(handed)
    shown = handed.verify("a.pdf")
    words = "a time stamp token lies beside it; its authority is not one that you trust: tallystick trust add-tsa"
    assert words in shown
    assert "12:00:00" not in shown
    one = handed.file("a.pdf")["time_stamp"]
    assert (one["state"], one["not_later_ms"], one["known_as"]) == ("not_trusted", None, None)
    trust(handed)
    one = handed.file("a.pdf")["time_stamp"]
    assert (one["state"], one["known_as"]) == ("verified", "stamps")
    assert one["not_later_ms"] == int(NOW.timestamp() * 1000) + 999
    assert handed.file("b.pdf")["time_stamp"] is None
    cli("trust", "remove", "stamps", "--yes", cwd=handed.folder)
    assert handed.file("a.pdf")["time_stamp"]["state"] == "not_trusted"


def test_a_bad_token_of_a_trusted_one_fails_and_of_any_other_does_not(handed: Handed) -> None:
    stamp(handed, is_signature_bad=True)
    assert handed.file("a.pdf")["time_stamp"]["state"] == "not_trusted"
    trust(handed)
    one = handed.file("a.pdf", expect=ExitCode.NOT_PROVEN)
    assert (one["failure"]["rule"], one["time_stamp"]) == ("P14", None)
    shown = handed.verify("a.pdf", expect=12)
    assert "P14, time stamp of a trusted authority holds" in shown
    assert "move it away to verify the proof without it" in shown
    assert ALMOST_NOW not in shown
    for bad in (b"", b"no token", bytes(MAX_TOKEN_BYTES + 9)):
        (handed.folder / f"a.pdf{TIME_STAMP}").write_bytes(bad)
        assert handed.file("a.pdf")["time_stamp"]["state"] == "unreadable"


@pytest.mark.parametrize(
    ("before", "code", "words"),
    [
        ("2026-03-01T12:00:01", 0, "not later than"),
        ("2026-03-01T12:00:00.999", 12, "asked for are signatures of before 2026-03-01 12:00:00.999 UTC"),
        ("2020-01-01", 12, "the time stamp shows no more than: not later than 2026-03-01 12:00:00.999 UTC"),
    ],
)
def test_signatures_of_before_a_time_are_asked_for(handed: Handed, before: str, code: int, words: str) -> None:
    stamp(handed)
    asked = ("a.pdf", "--signed-before", before, "--issuer", issuer_key(handed))
    one = handed.file(*asked, expect=12)
    assert one["failure"]["reason"].endswith("its authority is not one that you trust")
    trust(handed)
    assert words in handed.verify(*asked, expect=code)
    assert "there is no .tsr beside it" in handed.verify("b.pdf", "--signed-before", before, expect=12)
    cli("verify", *asked, "--online", "http://127.0.0.1:9", cwd=handed.folder, expect=2)


def issuer_key(handed: Handed, by: str = "ada") -> str:
    return str(handed.ledger.scribe.key(by).public_key.hex())


def changed_members(tmp_path: Path) -> Handed:
    """A proof whose members are not those of the genesis, time stamped, of a ledger that is trusted."""
    (folder := tmp_path / "verifier").mkdir()
    handed = Handed(folder, tmp_path / "chain.db", short_epochs(4))
    given = handed.certify("a.pdf")
    for name in ("ada", "ben"):
        replaced(handed.ledger, name, f"{name}-2")
    handed.prove(given, "a.pdf", "ada-2", "ben-2", "cy", "dot")
    stamp(handed)
    trust(handed)
    handed.trust()
    return handed


def test_whose_signatures_they_are_has_to_be_known_from_before(tmp_path: Path) -> None:
    """After Ed25519 is broken anybody makes votes that lead to members of his own, whose note was stamped before."""
    handed = changed_members(tmp_path)
    asked = ("a.pdf", "--signed-before", "2026-03-02", "--issuer", issuer_key(handed))
    for _ in range(2):  # nothing is kept of the first
        shown = handed.verify(*asked, expect=12)
        assert "its members are neither those of the genesis nor known from before" in shown
    (folder := handed.folder / "policy").write_text(policy_of(handed, 3, "ada-2", "ben-2", "cy", "dot"))
    shown = handed.verify(*asked, "--policy", folder.name)
    assert "warning: block time, status, and which organisation held the issuer's key rest on votes" in shown
    handed.verify(*asked, expect=12)
    handed.verify("a.pdf")
    shown = handed.verify(*asked[:3])
    assert "a.pdf is certified by University of Ada (ada)" in shown, "its header is one that was kept"
    assert "rest on votes" not in shown


def test_a_policy_that_needs_no_witness_does_not_tell_whose_signatures_they_are(tmp_path: Path) -> None:
    handed = changed_members(tmp_path)
    log = policy_of(handed, 3, "ada-2", "ben-2", "cy", "dot").splitlines()[0]
    assert log.startswith("log ")
    (handed.folder / "policy").write_text(f"{log}\nquorum none\n")
    asked = ("a.pdf", "--signed-before", "2026-03-02", "--issuer", issuer_key(handed), "--policy", "policy")
    assert "the policy needs no witness" in handed.verify(*asked, expect=12)
    handed.verify("a.pdf", "--policy", "policy")
    assert "the policy needs no witness" in handed.verify(*asked, expect=12), "whatever else is known"


def under_a_made_up_directory(handed: Handed, name: str) -> None:
    """What is made once Ed25519 is broken: the very note of before, and votes for a header that has ben's key as ada's.

    Everything but the note, and the certificate in its log, is new.
    """
    old = read_proof(handed.folder / f"{name}{PROOF}").bundle
    extra, scribe = old.extra, handed.ledger.scribe
    before, key = scribe.state.directory, scribe.key("ben").public_key
    entries = {**before.keys, key: replace(before.keys[key], organisation="ada")}
    directory = Directory.of(list(before.organisations.values()), entries)
    of_members = replace(extra.of_members, directory=directory.root)
    log = replace(extra.log, members_hash=of_members.hash)
    empty = replace(log, log_size=0, log_root=bytes(32))
    parent = replace(extra.header, index=extra.header.index - 1, state_root=empty.hash)
    header = replace(extra.header, state_root=log.hash, parent_hash=parent.hash)
    ballot = Ballot(FINALIZE, header.epoch, header.view, header.hash)
    voters = sorted((scribe.key(one).public_key, scribe.key(one)) for one in NAMES)
    ledger_id = extra.genesis.ledger_id
    votes = tuple((at, one.sign(Domain.VOTE, ledger_id, ballot.encoded)) for at, (_, one) in enumerate(voters))
    head = Shared(
        genesis=extra.genesis,
        note=old.proof.checkpoint,
        header=header,
        votes=FinalVotes(header.view, votes),
        following=(),
        hand_over=old.hand_over,
        log=log,
        of_members=of_members,
        directory=directory.trie,
        status=scribe.state.status.trie,
        cosigners=extra.cosigners,
    )
    entrance = Entrance(None, None, (), parent, empty)
    leaf = Leaf(extra.certificate, old.payload, old.proof.log_index, old.proof.path, entrance)
    (handed.folder / f"{name}{PROOF}").write_text(put_together(head, leaf).proof)


def test_of_the_issuer_only_the_key_counts_as_no_token_covers_whose_it_was(tmp_path: Path) -> None:
    """After Ed25519 is broken anybody makes votes for a directory that gives a member's key to another organisation."""
    (folder := tmp_path / "verifier").mkdir()
    handed = Handed(folder, tmp_path / "chain.db")
    given = handed.certify("a.pdf", by="ben")
    handed.forge()
    handed.prove(given, "a.pdf")
    stamp(handed)
    trust(handed)
    handed.trust()
    note, asked = note_of(handed, "a.pdf"), ("a.pdf", "--signed-before", "2026-03-02")
    key, words = issuer_key(handed, "ben"), "the issuer counts as a key alone"
    under_a_made_up_directory(handed, "a.pdf")
    assert note_of(handed, "a.pdf") == note
    for issuer in ((), ("--issuer", "ada"), ("--issuer", key[:32])):
        shown = handed.verify(*asked, *issuer, expect=12)
        assert words in shown
        assert f"if {key} is known to be the issuer's from before, name it with --issuer" in shown
        assert "University of Ada" not in shown
    shown = handed.verify(*asked, "--issuer", key.upper())
    assert f"a.pdf is certified by {key}" in shown
    assert "University of Ada" not in shown
    one = handed.file(*asked, "--issuer", key)["proven"]
    assert (one["issuer"]["key"], one["issuer"]["organisation"], one["domain"]) == (key, None, None)
    assert {member["organisation"] for member in one["cosigners"]} == {None}


def test_an_earlier_check_that_fails_is_told_first(handed: Handed) -> None:
    stamp(handed, is_signature_bad=True)
    trust(handed)
    assert handed.file("a.pdf", "--issuer", "ben", expect=14)["failure"]["rule"] == "P11"


def test_without_the_library_verify_goes_on_and_says_what_to_install(
    handed: Handed, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp(handed)
    trust(handed)
    monkeypatch.setattr(time_stamps, "_LIBRARY", "no_such_library")
    words = "a time stamp token lies beside it; to verify it install tallystick[tsa]"
    assert words in handed.verify("a.pdf")
    handed.verify("a.pdf", "--signed-before", "2027-01-01", expect=12)
    for args in (("anchor", "a.pdf", "--tsa", "http://x/"), ("trust", "add-tsa", "stamps.pem")):
        said = cli(*args, cwd=handed.folder, expect=2).stderr
        assert "install tallystick[tsa]: pip install 'tallystick[tsa]'" in said
    assert "install tallystick[tsa]" in cli("trust", "show", "stamps", cwd=handed.folder).stderr
    assert in_json("trust", "list", cwd=handed.folder)["authorities"][0]["certificates"] == []


# ---- naming authorities -----------------------------------------------------------------------------------------


def test_authorities_are_listed_shown_and_removed_with_the_words_for_ledgers(handed: Handed) -> None:
    trust(handed)
    (one,) = in_json("trust", "list", cwd=handed.folder)["authorities"]
    (root,) = one["certificates"]
    assert (one["name"], root["subject"], root["is_root"]) == ("stamps", "CN=Root ec", True)
    assert "For time stamps: stamps" in cli("trust", "list", cwd=handed.folder).stdout
    assert root["sha256"] in cli("trust", "show", "stamps", cwd=handed.folder).stdout
    assert Path(one["file"]).stat().st_mode & 0o777 == 0o600
    assert Path(one["file"]).parent.stat().st_mode & 0o777 == 0o700
    removed = in_json("trust", "remove", "stamps", "--yes", cwd=handed.folder)
    assert (removed["authority"], removed["ledger_id"]) == ("stamps", None)
    cli("trust", "show", "stamps", cwd=handed.folder, expect=5)


@pytest.mark.parametrize("part", ["version", "name"])
def test_a_malformed_certificate_is_told_in_plain_words(handed: Handed, part: str) -> None:
    """The library finds out late, some of it by exceptions of its own."""
    der = EC.root.der
    name = EC.root.certificate.subject.public_bytes()[-7:]
    wrong, right = {"version": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09"), "name": (name, b"\xff" * 7)}[part]
    assert wrong in der
    body = base64.encodebytes(der.replace(wrong, right)).decode()
    (handed.folder / "bad.pem").write_text(f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    assert "malformed" in cli("trust", "add-tsa", "bad.pem", "--yes", cwd=handed.folder, expect=2).stderr


def test_a_name_is_of_one_ledger_or_one_authority(handed: Handed) -> None:
    trust(handed)
    add = ("trust", "add-tsa", "stamps.pem", "--yes")
    cli(*add, cwd=handed.folder)  # once more is no harm
    assert "a ledger that you trust is called ours" in cli(*add, "--name", "ours", cwd=handed.folder, expect=2).stderr
    assert "is no local name" in cli(*add, "--name", "../x", cwd=handed.folder, expect=2).stderr
    id_of_another = "ab" * 32
    said = cli("trust", "add", id_of_another, "--name", "stamps", cwd=handed.folder, expect=2).stderr
    assert "a time stamping authority is called stamps" in said
    (handed.folder / "stamps.pem").write_bytes(founded("rsa").root.pem)
    assert "you trust another authority as stamps" in cli(*add, cwd=handed.folder, expect=2).stderr
    assert "Say so with --yes" in cli(*add[:3], "--name", "new", cwd=handed.folder, expect=2).stderr


def test_authorities_that_others_may_change_are_not_read(handed: Handed) -> None:
    trust(handed)
    stamp(handed)
    (one,) = in_json("trust", "list", cwd=handed.folder)["authorities"]
    for path in (Path(one["file"]), Path(one["file"]).parent):
        mode = path.stat().st_mode
        path.chmod(0o777)
        with pytest.raises(TrustError, match="may be changed by others"):
            Authorities(Path(one["file"]).parents[1]).get("stamps")
        assert "may be changed by others" in handed.verify("a.pdf", expect=10)
        path.chmod(mode)
    handed.verify("a.pdf")


# ---- other people's tools ---------------------------------------------------------------------------------------


def openssl(folder: Path, *args: str) -> str:
    done = subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


_CONFIG = """
[tsa]
default_tsa = one
[one]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = {ess}
ess_cert_id_chain = yes
[stamps]
basicConstraints = CA:FALSE
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
"""


@pytest.fixture
def openssl_authority(tmp_path: Path) -> Path:
    return openssl_authority_in(tmp_path)


def openssl_authority_in(tmp_path: Path, root_by: str = "-sha256", signer_by: str = "-sha256") -> Path:
    """A folder with an authority of OpenSSL."""
    folder = tmp_path / "openssl"
    folder.mkdir()
    (folder / "serial").write_text("01")
    subject = ["-newkey", "rsa:2048", "-nodes", "-days", "3650"]
    openssl(
        folder, "req", "-x509", root_by, *subject, "-subj", "/CN=OpenSSL root", "-keyout", "ca.key", "-out", "ca.pem"
    )
    openssl(folder, "req", *subject[:3], "-subj", "/CN=OpenSSL stamps", "-keyout", "tsa.key", "-out", "tsa.csr")
    (folder / "tsa.cnf").write_text(_CONFIG.format(ess="sha256"))
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "tsa.cnf", "-extensions", "stamps"]
    openssl(folder, "x509", "-req", signer_by, "-in", "tsa.csr", *signing, "-days", "3650", "-out", "tsa.pem")
    return folder


def stamp_by_openssl(handed: Handed, folder: Path, ess: str = "sha256") -> None:
    (folder / "tsa.cnf").write_text(_CONFIG.format(ess=ess))
    (folder / "note").write_bytes(note_of(handed, "a.pdf"))
    openssl(folder, "ts", "-query", "-data", "note", "-sha512", "-cert", "-out", "q.tsq")
    reply = ["-config", "tsa.cnf", "-queryfile", "q.tsq", "-signer", "tsa.pem", "-inkey", "tsa.key", "-chain", "ca.pem"]
    openssl(folder, "ts", "-reply", *reply, "-out", str(handed.folder / f"a.pdf{TIME_STAMP}"))


@needs_openssl
@pytest.mark.parametrize(
    ("root_by", "signer_by", "state"),
    [("-sha1", "-sha256", "verified"), ("-sha256", "-sha1", "not_trusted"), ("-sha384", "-sha512", "verified")],
)
def test_a_certificate_that_is_signed_with_sha_1_leads_to_no_root_and_a_root_may_be(
    handed: Handed, tmp_path: Path, root_by: str, signer_by: str, state: str
) -> None:
    """A root is named by the user, and not trusted for what it says of itself: many are older than authorities."""
    folder = openssl_authority_in(tmp_path, root_by, signer_by)
    stamp_by_openssl(handed, folder)
    shutil.copy(folder / "ca.pem", handed.folder / "root.pem")
    cli("trust", "add-tsa", "root.pem", "--yes", cwd=handed.folder)
    assert handed.file("a.pdf")["time_stamp"]["state"] == state


@needs_openssl
@pytest.mark.parametrize("ess", ["sha1", "sha256"])
def test_a_token_of_openssl_holds(handed: Handed, openssl_authority: Path, ess: str) -> None:
    stamp_by_openssl(handed, openssl_authority, ess)
    assert handed.file("a.pdf")["time_stamp"]["state"] == "not_trusted"
    shutil.copy(openssl_authority / "ca.pem", handed.folder / "root.pem")
    cli("trust", "add-tsa", "root.pem", "--yes", cwd=handed.folder)
    one = handed.file("a.pdf")["time_stamp"]
    assert (one["state"], one["authority"], one["known_as"]) == ("verified", "CN=OpenSSL stamps", "root")


@needs_openssl
def test_openssl_verifies_what_was_asked_for_by_the_command_of_the_manual(handed: Handed, url: str) -> None:
    trust(handed)
    anchor(handed, "a.pdf", "--tsa", url)
    manual = (Path(__file__).parents[2] / "docs" / "proofs.md").read_text()
    commands = next(part for part in manual.split("```") if "openssl ts -verify" in part).removeprefix("text")
    commands = commands.replace("report.pdf", "a.pdf").replace("authority.pem", "stamps.pem")
    done = subprocess.run(["sh", "-ec", commands], cwd=handed.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Verification: OK" in done.stdout
