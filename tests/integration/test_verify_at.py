"""`verify` and `show` of a ledger with a directory, in a file or of a stopped node: whose it is, and what is valid.

Each block is a minute later than the one before, so that a time names a place between two of them.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.builders import START_MS
from tests.governed import FinalGovernedScribe, directory_genesis
from tests.integration.command_line import cli, in_json

from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.certificate import SALT_BYTES, AnyCertificate, Statement, issue_statement
from tallystick.ledger.changes import Effect, Reason, SetCompromised
from tallystick.ledger.file_statement import file_payload
from tallystick.storage.described_files import describe_file
from tallystick.storage.store import Store

MINUTE_MS = 60_000


class Written:
    """A ledger of four organisations in `ledger.db`, whose blocks are written one after the other; and files."""

    def __init__(self, folder: Path, **params: Any) -> None:
        self.folder, self.scribe = folder, FinalGovernedScribe(directory_genesis(**params))
        self.payloads: list[Any] = []

    @property
    def now_ms(self) -> int:
        """The time of the last block."""
        return self.scribe.state.tip.timestamp_ms

    @property
    def log_size(self) -> int:
        return self.scribe.state.log.size

    def certificate(self, name: str, by: str = "ada") -> Statement:
        """Of a file with that name, and its name for content."""
        path = self.folder / name
        path.write_text(name)
        payload = file_payload(describe_file(path), bytes(SALT_BYTES))
        self.payloads.append(payload)
        return issue_statement(self.scribe.key(by), self.scribe.ledger_id, START_MS, "", payload)

    def forge(self, *certificates: AnyCertificate) -> int:
        """Another block, a minute later; its time."""
        self.scribe.forge(*certificates, timestamp_ms=self.now_ms + MINUTE_MS)
        return self.now_ms

    def decide(self, change: Any, *names: str) -> int:
        motion = self.scribe.motion(change, names[0])
        return self.forge(motion, *(self.scribe.approval(motion, name) for name in names[1:]))

    def keep(self) -> None:
        with Store.create(self.folder / "ledger.db", self.scribe.genesis) as store:
            for one in self.scribe.kept:
                store.append(one)
            for payload in self.payloads:
                store.keep_payload(payload)

    def verify(self, name: str, *more: str, expect: int = 0) -> str:
        where = ("--chain", "ledger.db", "--ledger", self.scribe.ledger_id.hex())
        return " ".join(cli("verify", name, *where, *more, cwd=self.folder, expect=expect).stdout.split())


def at(time_ms: int) -> tuple[str, str]:
    return "--at", str(time_ms)


class Then(NamedTuple):
    """What is said of a file: at a time, or as of the last block."""

    time_ms: int | None
    code: int
    said: str


Case = Callable[[Written], list[Then]]
CASES: list[Case] = []


def case(made: Case) -> Case:
    """Certifies diploma.txt, and tells what is to be said of it when."""
    CASES.append(made)
    return made


@case
def valid(written: Written) -> list[Then]:
    there_ms = written.forge(written.certificate("diploma.txt"))
    written.forge()
    return [
        Then(there_ms - 1, 1, "not yet"),
        Then(there_ms, 0, "validity 2025-"),
        Then(None, 0, "validity valid; as of"),
    ]


@case
def revoked_since(written: Written) -> list[Then]:
    written.forge(one := written.certificate("diploma.txt"))
    then_ms = written.forge(written.scribe.revocation(one, reason=Reason.WITHDRAWN))
    return [
        Then(then_ms - 1, 0, "is certified by"),
        Then(then_ms, 1, "was not valid at the time that you named"),
        Then(None, 1, "and that is not valid"),
        Then(None, 1, "revoked (withdrawn), since 2025-"),
    ]


@case
def void(written: Written) -> list[Then]:
    there_ms = written.forge(one := written.certificate("diploma.txt"))
    written.forge(written.scribe.revocation(one, effect=Effect.VOID, reason=Reason.FRAUD))
    return [Then(there_ms, 1, "void (fraud), as decided on 2025-"), Then(None, 1, "void (fraud), as decided on 2025-")]


@case
def superseded_by(written: Written) -> list[Then]:
    one, other = written.certificate("diploma.txt"), written.certificate("corrected.txt")
    written.forge(one, other)
    then_ms = written.forge(written.scribe.supersession(one, other))
    said = f"superseded by {other.id.hex()[:12]}…"
    return [Then(then_ms - 1, 0, "is certified by"), Then(then_ms, 1, said), Then(None, 1, said)]


@case
def key_ended_after(written: Written) -> list[Then]:
    written.forge(written.scribe.add_issuer("registry"))
    written.forge(written.certificate("diploma.txt", "registry"))
    then_ms = written.forge(written.scribe.end_issuer("registry"))
    return [Then(then_ms, 0, "is certified by"), Then(None, 0, "(University of Ada, registry)")]


@case
def key_compromised_after(written: Written) -> list[Then]:
    written.forge(written.scribe.add_issuer("registry"))
    written.forge(written.certificate("diploma.txt", "registry"))
    then_ms = written.forge(written.scribe.end_issuer("registry", since=written.log_size))
    return [Then(then_ms, 0, "is certified by"), Then(None, 0, "compromised later")]


@case
def key_compromised_before(written: Written) -> list[Then]:
    """It never was valid, also at times at which nobody knew."""
    written.forge(written.scribe.add_issuer("registry"))
    since, there_ms = written.log_size, written.forge(written.certificate("diploma.txt", "registry"))
    written.forge(written.scribe.end_issuer("registry", since=since))
    return [Then(there_ms, 1, "void (key compromised)"), Then(None, 1, "its issuer's key was compromised by then")]


@case
def key_of_a_removed_organisation(written: Written) -> list[Then]:
    written.forge(written.certificate("diploma.txt", "dot"))
    written.decide(written.scribe.remove("dot"), "ada", "ben", "cy")
    return [Then(None, 0, "(University of Dot)")]


@case
def key_of_a_removed_organisation_that_was_compromised(written: Written) -> list[Then]:
    since, there_ms = written.log_size, written.forge(written.certificate("diploma.txt", "dot"))
    written.decide(written.scribe.remove("dot"), "ada", "ben", "cy")
    written.decide(SetCompromised(written.scribe.key("dot").public_key, None, since), "ada", "ben", "cy")
    return [Then(there_ms, 1, "void (key compromised)"), Then(None, 1, "void (key compromised)")]


@case
def revoked_by_motion(written: Written) -> list[Then]:
    written.forge(one := written.certificate("diploma.txt", "dot"))
    written.decide(written.scribe.remove("dot"), "ada", "ben", "cy")
    then_ms = written.decide(written.scribe.set_status(one), "ada", "ben", "cy")
    return [Then(then_ms - 1, 0, "is certified by"), Then(None, 1, "revoked (organisation ended)")]


@pytest.mark.parametrize("made", CASES, ids=lambda one: one.__name__)
def test_what_is_said_of_a_file_and_when_it_was_so(tmp_path: Path, made: Case) -> None:
    written = Written(tmp_path)
    expected = made(written)
    written.keep()
    for time_ms, code, said in expected:
        shown = written.verify("diploma.txt", *(at(time_ms) if time_ms is not None else ()), expect=code)
        assert said in shown
        assert ("✓" in shown, "×" in shown) == (code == 0, code == 1)


def test_a_time_may_be_a_day_and_a_time(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.forge(one := written.certificate("diploma.txt"))
    then_ms = written.forge(written.scribe.revocation(one))
    written.keep()
    before = datetime.fromtimestamp((then_ms - MINUTE_MS) // 1000 + 1, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    written.verify("diploma.txt", "--at", before)
    assert "is no time" in cli("verify", "diploma.txt", "--at", "noon", cwd=tmp_path, expect=2).stderr


def test_of_a_time_after_the_last_block_nothing_is_known(tmp_path: Path) -> None:
    written = Written(tmp_path)
    there_ms = written.forge(written.certificate("diploma.txt"))
    written.keep()
    written.verify("diploma.txt", *at(there_ms))
    where = ("--chain", "ledger.db", "--ledger", written.scribe.ledger_id.hex())
    for later in (str(there_ms + 1), "2140-01-01"):
        told = cli("verify", "diploma.txt", *where, "--at", later, cwd=tmp_path, expect=2).stderr
        assert "is not known yet: the last block here is of 2025-" in told


def test_of_a_file_certified_by_several_issuers_each_is_shown(tmp_path: Path) -> None:
    """It is certified as long as one is valid, and by those alone."""
    written = Written(tmp_path)
    by = {name: written.certificate("diploma.txt", name) for name in ("ada", "ben", "cy")}
    written.forge(*by.values())
    then_ms = written.forge(written.scribe.revocation(by["ben"], "ben"))
    written.forge(written.scribe.revocation(by["ada"], "ada", Effect.VOID, Reason.FRAUD))
    written.keep()
    keys = {name: written.scribe.key(name).public_key.hex() for name in by}
    shown = written.verify("diploma.txt")
    assert f"✓ diploma.txt is certified by {keys['cy']} (University of Cy) issued by" in shown
    for name, one in by.items():
        assert f"issued by {keys[name]} (University of {name.title()})" in shown
        assert one.id.hex() in shown
    for validity in ("validity valid", "validity revoked (mistake), since", "validity void (fraud)"):
        assert shown.count(validity) == 1
    before = written.verify("diploma.txt", *at(then_ms - 1))
    assert f"is certified by {keys['ben']} (University of Ben), {keys['cy']} (University of Cy)" in before
    assert "ben" not in written.verify("diploma.txt", "--issuer", "cy").lower()
    assert "is revoked (mistake)" in written.verify("diploma.txt", "--issuer", "ben", expect=1)
    assert "is void (fraud)" in written.verify("diploma.txt", "--issuer", "University of Ada", expect=1)


# ---- whose it is ----------------------------------------------------------------------------------------------------


def test_a_key_that_ended_before_or_never_was_listed_does_not_verify_unless_it_is_named(tmp_path: Path) -> None:
    """Where members let anybody certify. A program that goes by the exit code must not take an outsider's word."""
    written = Written(tmp_path, anybody_certifies=True)
    written.forge(written.scribe.add_issuer("registry"))
    written.forge(written.scribe.end_issuer("registry"))
    written.forge(written.certificate("fake.txt", "outsider"), written.certificate("late.txt", "registry"))
    written.forge(written.certificate("both.txt", "outsider"), written.certificate("both.txt", "ada"))
    written.keep()
    outsider = written.scribe.key("outsider").public_key.hex()
    fake = written.verify("fake.txt", expect=1)
    assert "× fake.txt: it is certified, but by no key in force of an organisation of this ledger: by anybody;" in fake
    assert f"name the key if you know whose it is: --issuer {outsider}" in fake
    assert "✓" not in fake
    assert "in no organisation of this ledger: anybody can have made it" in fake
    named = written.verify("fake.txt", "--issuer", outsider)
    assert f"! fake.txt is certified by {outsider}" in named
    assert "in no organisation of this ledger: anybody can have made it" in named
    registry = written.scribe.key("registry").public_key.hex()
    for more in ((), ("--issuer", "ada")):
        late = written.verify("late.txt", *more, expect=1)
        assert "by no key in force of an organisation of this ledger" in late
        assert "! Its issuer's key had ended by then: its organisation does not stand behind it" in late
    assert f"! late.txt is certified by {registry}" in written.verify("late.txt", "--issuer", registry)
    both = written.verify("both.txt")
    assert f"✓ both.txt is certified by {written.scribe.key('ada').public_key.hex()} (University of Ada) " in both
    assert f"issued by {outsider}" in both
    assert both.count("anybody can have made it") == 1


def test_a_backup_and_a_stopped_nodes_folder_say_the_same_by_names(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.forge(one := written.certificate("diploma.txt", "ben"), written.certificate("good.txt", "ben"))
    written.forge(written.scribe.revocation(one, "ben"))
    written.keep()
    node = DataFolder(tmp_path / "node")
    node.make()
    shutil.copy(tmp_path / "ledger.db", node.ledger_path)
    node.write_settings(Settings("127.0.0.1:7117", "127.0.0.1:7117"))
    for where in (("--chain", "ledger.db"), ("--data", "node")):
        known = ("--ledger", written.scribe.ledger_id.hex()) if "--chain" in where else ()
        shown = " ".join(cli("verify", "good.txt", *where, *known, cwd=tmp_path).stdout.split())
        assert "(University of Ben)" in shown
        assert "every hash, signature, vote and rule checked again" in shown
        assert (
            "validity"
            in in_json("verify", "good.txt", *where, *known, cwd=tmp_path)["files"][0]["certificates"][0]["checked"]
        )
        cli("verify", "diploma.txt", *where, *known, cwd=tmp_path, expect=1)
        shown = cli("show", "certificate", one.id.hex()[:16], *where, cwd=tmp_path).stdout
        assert "(University of Ben)" in shown
        assert "revoked (mistake), since" in shown
        assert "University of Ben" in cli("show", "log", *where, cwd=tmp_path).stdout
        members = in_json("member", "list", *where, cwd=tmp_path)["organisations"]
        assert [one["id"] for one in members] == ["ada", "ben", "cy", "dot"]
        assert len(in_json("issuer", "list", *where, cwd=tmp_path)["organisations"]) == len(members)
        assert in_json("motion", "list", *where, cwd=tmp_path)["motions"] == []
    unnamed = cli("verify", "good.txt", "--chain", "ledger.db", cwd=tmp_path, expect=1).stdout
    assert "University of Ben" not in unnamed, "organisations are told of a ledger that is known alone"
