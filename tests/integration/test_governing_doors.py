"""What an organisation does by keys that are no node's, and what is decided of one that is gone, on a real node."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from unittest.mock import Mock

import pytest
from tests.builders import ADA, BEN, CY, wallet
from tests.integration.network import QUICK, NodeProcess, short_folder
from tests.integration.test_governing import at, moved, said, shown_of, told
from tests.ports import drawn_port

from tallystick.api import governed_views, views
from tallystick.cli.admissions import Admitting
from tallystick.cli.motions import decide
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.changes import Role, sign_admission
from tallystick.ledger.genesis import Founder, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import Wallet
from tallystick.problems import Problem

EXTRA: Final = range(10, 26)


class Alone(NamedTuple):
    """The node of ada, who decides alone; ben and cy certify without nodes, by keys in files; others do nothing."""

    node: NodeProcess
    path: Path
    ledger_id: bytes

    def key(self, name: str, key: Wallet | None = None) -> tuple[str, str]:
        """The option by which this key signs."""
        folder = DataFolder(self.path / name)
        if not folder.key_path.exists():
            folder.create_key(key or wallet(name), "", "minimal")
        return "--key", str(folder.key_path)

    def admission(self, name: str, organisation: str) -> str:
        """The line that `key admit` prints for it."""
        key = wallet(name)
        signature = sign_admission(key, self.ledger_id, organisation)
        return Admitting(organisation, key.public_key.hex(), signature.hex()).line


@pytest.fixture(scope="module")
def alone() -> Iterator[Alone]:
    founders = [
        Founder(name, f"University of {name.title()}", None, key.public_key, Role.MEMBER, stake)
        for name, key, stake in (("ada", ADA, 10), ("ben", BEN, 0), ("cy", CY, 0))
    ]
    founders += [Founder(f"seat-{n}", f"Seat {n}", None, wallet(f"seat {n}").public_key, Role.MEMBER, 0) for n in EXTRA]
    params = Params(delta_ms=QUICK.delta_ms, anybody_certifies=False)
    genesis = make_genesis("Governed", now_ms() - 1_000, (), params, founders)
    with short_folder() as path:
        own, folder = f"127.0.0.1:{drawn_port(1)}", DataFolder(path / "node")
        folder.create_key(ADA, "", "interactive")
        folder.create(Settings(own, own, ()), genesis)
        node = NodeProcess(folder.path)
        node.start()
        found = Alone(node, path, genesis.ledger_id)
        found.key("ben", BEN), found.key("cy", CY)
        try:
            yield found
        finally:
            node.stop()


def certified(alone: Alone, path: Path, by: str) -> tuple[str, int]:
    """Id and log index of the certificate of a file."""
    path.write_text(path.name)
    (result,) = told("certify", path, *alone.key(by), *at(alone.node))["results"]
    assert result["outcome"]["state"] == "final"
    return str(result["outcome"]["id"]), int(result["outcome"]["log_index"])


def test_what_is_wrong_with_a_key_is_said_before_it_signs(alone: Alone) -> None:
    here = at(alone.node)
    add = ("issuer", "add", alone.admission("late", "ada"), *here, "--until")
    assert "--until is 2020-01-01 00:00:00.000 UTC, which is over" in said(*add, "2020-01-01", expect=2)
    assert "certifies for ada" in said(*add, "2140-01-01"), "its key was not spent"
    key = ADA.public_key.hex()
    assert "give 2 digits or more of the key" in said("issuer", "withdraw", key[:1], *here, expect=2)
    instead = said("issuer", "withdraw", key[:16], *here, expect=5)
    assert "is the member key of University of Ada, and no issuer key: tallystick member replace-key" in instead

    unlisted = "no organisation of this ledger has it: none stands behind what it certifies"
    stranger = ("certify", "--subject", "x", "--no-proof", *alone.key("stranger"), *here)
    refused = said(*stranger, expect=6)
    assert unlisted in refused
    assert "[D1]" in refused
    moved(alone.node, "motion", "set", "anybody_certifies", "on")
    assert unlisted in said(*stranger)
    assert unlisted not in said("certify", "--subject", "x", "--no-proof", *alone.key("ben"), *here)
    assert unlisted not in said("certify", "--subject", "x", "--no-proof", *here)
    moved(alone.node, "motion", "set", "anybody_certifies", "off")


def test_what_was_taken_back_is_taken_back_further_by_its_file(alone: Alone, tmp_path: Path) -> None:
    here = at(alone.node)
    old, new, missing = tmp_path / "old.txt", tmp_path / "new.txt", tmp_path / "no.txt"
    first, _ = certified(alone, old, "ada")
    certified(alone, new, "ada")
    assert f"there is no file {missing}, and an id is 8 hexadecimal digits or more" in said(
        "supersede", old, missing, *here, "--yes", expect=2
    )
    said("supersede", old, new, *here, "--yes")
    assert "[R3]" in said("supersede", old, new, *here, "--yes", expect=6)
    asked = said("revoke", old, "--void", "--reason", "fraud", *here, expect=2)
    assert f"({first[:16]}…, by University of Ada ({ADA.public_key.hex()[:8]}…); superseded by" in asked
    assert "…) will count as never valid, for good. Revoke it?" in asked
    said("revoke", old, "--void", "--reason", "fraud", *here, "--yes")
    said("certify", old, "--again", *here)
    said("supersede", old, new, *here, "--yes")
    several = said("revoke", old, *here, expect=2)
    assert f"2 certificates cover {old}: " in several
    assert f"{first[:16]} (void (fraud))" in several


def test_an_order_to_erase_that_is_refused_tells_its_rule(alone: Alone, tmp_path: Path) -> None:
    here = at(alone.node)
    theirs, _ = certified(alone, tmp_path / "theirs.txt", "ben")
    order = ("erase", theirs[:16], "--everywhere", *alone.key("cy"), "--yes", *here)
    assert "it was refused: [R2]" in said(*order, expect=6)
    assert told(*order, expect=6)["outcomes"][0]["rule"] == "R2"


def test_once_an_organisation_key_is_set_it_alone_changes_the_others(alone: Alone) -> None:
    here = at(alone.node)
    line = alone.admission("offline", "ben")
    asked = said("member", "organisation-key", line, *here, expect=2)
    assert "From then on that key alone changes the keys of University of Ben." in asked
    moved(alone.node, "member", "organisation-key", line, "--yes")
    offline = wallet("offline").public_key.hex()
    assert told("issuer", "list", "ben", *here)["organisations"][0]["organisation_key"] == offline

    registry = alone.admission("registry", "ben")
    assert "[D6]" in said("issuer", "add", registry, *alone.key("ben"), *here, expect=6)
    added = said("issuer", "add", registry, "--label", "Registry", *alone.key("offline"), *here)
    assert "certifies for ben (Registry)" in added
    alone.key("registry")
    shown = said("issuer", "list", "ben", *here)
    assert "change keys" in shown
    withdraw = ("issuer", "withdraw", wallet("registry").public_key.hex()[:16], *here, "--yes")
    assert "[D6]" in said(*withdraw, *alone.key("ben"), expect=6)
    assert "of University of Ben has ended" in said(*withdraw, *alone.key("offline"))
    assert "[D1]" in said("certify", "--subject", "x", "--no-proof", *alone.key("registry"), *here, expect=6)

    following = alone.admission("ben anew", "ben")
    assert "[D6]" in said("key", "rotate", following, *alone.key("ben"), *here, "--yes", expect=6)
    asked = said("key", "rotate", following, *alone.key("offline"), *here, "--compromised-since", 0, expect=2)
    assert "and what it certified from log index 0 on is void. Rotate it?" in asked
    rotated = said("key", "rotate", following, *alone.key("offline"), *here, "--yes")
    new = wallet("ben anew").public_key.hex()
    assert f"University of Ben has the member key {new[:16]}… now" in rotated, "at once"
    assert told("issuer", "list", "ben", *here)["organisations"][0]["member_key"] == new
    assert "[D1]" in said("certify", "--subject", "x", "--no-proof", *alone.key("ben"), *here, expect=6)
    said("certify", "--subject", "x", "--no-proof", *alone.key("ben anew"), *here)

    asked = said("member", "organisation-key", "ben", "--end", *here, expect=2)
    assert "From then on the member key changes the keys of University of Ben." in asked
    moved(alone.node, "member", "organisation-key", "ben", "--end", "--yes")
    again = alone.admission("registry anew", "ben")
    assert "[D6]" in said("issuer", "add", again, *alone.key("offline"), *here, expect=6)
    said("issuer", "add", again, *alone.key("ben anew"), *here)


def test_an_admission_that_was_changed_or_is_for_another_ledger_is_refused(alone: Alone) -> None:
    admit = ("--title", "University of Eve", *at(alone.node))
    line = alone.admission("eve", "eve")
    changed = line[:-1] + ("1" if line.endswith("0") else "0")
    for wrong in (changed, alone._replace(ledger_id=bytes(32)).admission("eve", "eve")):
        assert "[D3]" in said("member", "admit", wrong, *admit, expect=6)
        assert told("member", "admit", wrong, *admit, expect=6)["rule"] == "D3"
    assert "are hexadecimal" in said("member", "admit", f"{line[:-1]}g", *admit, expect=2)


def test_a_motion_that_changes_nothing_or_is_no_such_motion_is_not_made(alone: Alone, tmp_path: Path) -> None:
    here = at(alone.node)
    before = told("motion", "list", *here)["motions"]
    title = "University of Ada"
    assert "already; nothing was moved" in said("member", "rename", "ada", "--title", title, *here, expect=2)
    assert "rotation_delay_ms is a number, not on or off; it is 86400000 now" in said(
        "motion", "set", "rotation_delay_ms", "on", *here, expect=2
    )
    for parameter, value in (("rotation_delay_ms", "86400000"), ("anybody_certifies", "off")):
        assert f"{parameter} is {value} already" in said("motion", "set", parameter, value, *here, expect=2)
    for option, value, what in (
        ("--title", "", "name"),
        ("--title", "x" * 65, "name"),
        ("--domain", "X", "web domain"),
    ):
        assert f"'{value}' is no {what}: " in said("member", "rename", "ada", option, value, *here, expect=2)
    (tmp_path / "own.txt").write_text("own")
    own = told("certify", tmp_path / "own.txt", *here)["results"][0]["outcome"]["id"]
    assert f"tallystick erase --everywhere {own[:16]}" in said("motion", "erase", own, *here, expect=2)
    assert "'ada' says no stake: WHO=TOKENS, as ada=150" in said("member", "set-stake", "ada", "ben", *here, expect=2)
    many = [f"seat-{n}=1" for n in EXTRA]
    refused = said("member", "set-stake", "ben=1", *many, *here, expect=2)
    assert "a motion sets 16 stakes at most, and these are 17: name them as WHO=TOKENS, in two motions or" in refused
    for word in ("show", "approve"):
        assert "no motion's id begins with 0123456789" in said("motion", word, "0123456789", *here, expect=5)
    assert told("motion", "list", *here)["motions"] == before


def test_motions_are_listed_in_pages_and_what_endangers_nobody_is_not_asked(alone: Alone) -> None:
    here = at(alone.node)
    for title in ("Ada I", "University of Ada"):
        moved(alone.node, "member", "rename", "ada", "--title", title)
    made = said("member", "admit", alone.admission("dee", "dee"), "--title", "Dee", "--stake", 0, *here)
    assert "It has passed, and is in effect." in made, "the ledger stops without ada alone before it, too"
    assert "Afterwards" not in made
    page = told("motion", "list", "--limit", 2, *here)
    assert [one["change"]["change"] for one in page["motions"]] == ["admit", "rename"]
    shown = said("motion", "list", "--limit", 2, *here)
    assert "There is more: tallystick motion list --limit 2 --data" in shown
    (first, *_) = told("motion", "list", "--limit", 2, "--cursor", page["next"], *here)["motions"]
    assert first["summary"].startswith("rename University of Ada to Ada I")


def test_an_organisation_has_its_issuer_keys_certify_alone(alone: Alone) -> None:
    here = at(alone.node)
    assert "certifies no more, and votes: block" in said("member", "certifies", "off", *here)
    assert "[D1]" in said("certify", "--subject", "x", "--no-proof", *here, expect=6)
    assert "nothing was changed" in said("member", "certifies", "off", *here, expect=2)
    assert "of University of Cy certifies no more" in said("member", "certifies", "off", *alone.key("cy"), *here)
    alone.key("stranger")
    refused = said("member", "certifies", "on", *alone.key("stranger"), *here, expect=2)
    assert "is no organisation's member key or organisation key" in refused
    for key in ((), alone.key("cy")):
        assert "certifies: block" in said("member", "certifies", "on", *key, *here)


def test_who_has_four_motions_open_is_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = views.Outcome("5f", "refused", rule="M3", reason="[M3] 4 motions of ada are open")
    with pytest.raises(Problem, match="4 motions of ada are open"):
        decide(Mock(), governed_views.SignedDecision(id="5f", entry="", outcome=outcome))
    assert "When one of them is decided, another can be made; others object to one" in capsys.readouterr().err


def test_what_an_organisation_certified_that_is_gone_is_taken_back_by_motion(alone: Alone, tmp_path: Path) -> None:
    here = at(alone.node)
    good, first = certified(alone, tmp_path / "good.txt", "cy")
    bad, _ = certified(alone, tmp_path / "bad.txt", "cy")
    certified(alone, tmp_path / "of cy.txt", "cy")
    _, since = certified(alone, tmp_path / "forged.txt", "cy")
    _, last = certified(alone, tmp_path / "forged too.txt", "cy")
    key = CY.public_key.hex()
    revoke = ("revoke", tmp_path / "bad.txt", "--reason", "organisation-ended", *here)
    withdraw = ("issuer", "withdraw", key[:16], *here)
    there = said(*revoke, "--by-motion", "--yes", expect=6)
    assert "[M2]" in there
    assert "cy is there" in there
    assert "[M2]" in said(*withdraw, "--compromised-since", since, "--by-motion", "--yes", expect=6)
    moved(alone.node, "member", "remove", "cy", "--yes")

    assert "[R2]" in said(*revoke, "--yes", expect=6), "not by another organisation alone"
    asked = said(*revoke, "--by-motion", expect=2)
    assert "is not valid from now on, for good. Move to revoke" in asked
    made = said(*revoke, "--by-motion", "--yes")
    assert f"to revoke {bad[:12]}… (organisation ended)" in made
    assert "It has passed, and is in effect." in made
    assert "revoked (organisation ended), since" in shown_of(tmp_path / "bad.txt", *here)
    assert "University of Cy" in shown_of(tmp_path / "good.txt", *here)

    new, _ = certified(alone, tmp_path / "of ada instead.txt", "ada")
    supersede = ("supersede", tmp_path / "of cy.txt", tmp_path / "of ada instead.txt", *here)
    assert "[R2]" in said(*supersede, "--yes", expect=6), "not by another organisation alone"
    assert "gives way for good to" in said(*supersede, "--by-motion", expect=2)
    made = said(*supersede, "--by-motion", "--yes", "--why", "as Cy is gone")
    assert f"to put {new[:12]}… in the place of" in made
    (motion,) = re.findall(r"Motion ([0-9a-f]{16})", made.partition(":")[0])
    assert "as Cy is gone" in said("show", "certificate", motion, *here)
    assert f"superseded by {new[:12]}…" in shown_of(tmp_path / "of cy.txt", *here)

    assert "say --compromised-since" in said(*withdraw, "--by-motion", "--yes", expect=2)
    asked = said(*withdraw, "--compromised-since", since, "--by-motion", expect=2)
    assert f"What the key {key[:16]}… of University of Cy certified from log index {since:,} on is void." in asked
    made = said(*withdraw, "--compromised-since", since, "--by-motion", "--yes")
    assert f"to declare void what the key {key[:12]}… certified from log index {since:,} on" in made
    for name in ("forged.txt", "forged too.txt"):
        assert "void (key compromised)" in shown_of(tmp_path / name, *here)
    assert "University of Cy" in shown_of(tmp_path / "good.txt", *here)
    assert f"compromised since {since:,}" in said("issuer", "list", "cy", *here)
    assert "[M2]" in said(*withdraw, "--compromised-since", last, "--by-motion", "--yes", expect=6), "only earlier"
    said(*withdraw, "--compromised-since", first, "--by-motion", "--yes")
    shown = shown_of(tmp_path / "good.txt", *here)
    assert (good in shown, "void (key compromised)" in shown) == (True, True)
