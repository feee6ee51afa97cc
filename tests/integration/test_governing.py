"""Members who decide together, by the commands that people type, on real nodes."""

import json
from base64 import b64decode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace
from tests.integration.command_line import called
from tests.integration.network import QUICK, Network, NodeProcess, running_network, wait_for
from tests.ports import drawn_port

from tallystick.client.blocking import Client
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.certificate import issue_statement, payload_codec
from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import Entry

GOVERNED: Final = replace(QUICK, anybody_certifies=False)


@pytest.fixture(scope="module")
def same() -> Iterator[Network]:
    """Four organisations, node-1 to node-4, and a node of each, for tests after which they are still four."""
    with running_network(4, GOVERNED) as net:
        yield net


@pytest.fixture
def four() -> Iterator[Network]:
    """The same, for one test."""
    with running_network(4, GOVERNED) as net:
        yield net


def at(node: NodeProcess) -> tuple[str, str]:
    return "--data", str(node.folder.path)


def told(*args: object, expect: int = 0) -> Any:
    return json.loads(called(*args, "--json", expect=expect).stdout)


def said(*args: object, expect: int = 0) -> str:
    done = called(*args, expect=expect)
    return " ".join((done.stdout + done.stderr).split())


def moved(node: NodeProcess, *args: object) -> str:
    """The id of the motion that a command of this member makes."""
    (outcome,) = told(*args, *at(node))["outcomes"]
    assert outcome["state"] == "final"
    return str(outcome["id"])


def carry(motion: str, *nodes: NodeProcess) -> None:
    """Members approve a motion until it has passed; each of them has heard of it by its own node."""
    for node in nodes:
        wait_for(partial(is_known, node, motion), f"{node.name} knows the motion")
        called("motion", "approve", motion[:16], *at(node), "--yes")
    wait_for(lambda: told("motion", "show", motion, *at(nodes[-1]))["state"] == "passed", "it has passed")


def is_known(node: NodeProcess, motion: str) -> bool:
    return motion in [one["id"] for one in told("motion", "list", *at(node))["motions"]]


def may_stop(node: NodeProcess) -> bool:
    leaving = node.status().leaving
    return leaving is not None and leaving.may_stop


def organisations(node: NodeProcess) -> dict[str, Any]:
    return {one["id"]: one for one in told("member", "list", *at(node))["organisations"]}


def joined(net: Network, name: str, organisation: str) -> tuple[NodeProcess, str]:
    """A new key with a node that reads along, and the line by which it wants to be an organisation's."""
    path = net.path / "net" / name
    called("key", "new", "--no-passphrase", "--data", path)
    invite = called("invite", *at(net.nodes[0])).stdout.strip()
    admission = called("key", "admit", organisation, "--ledger", invite, "--data", path).stdout.strip()
    called("join", invite, "--data", path, "--address", f"127.0.0.1:{drawn_port(1)}")
    node = net.add(NodeProcess(path))
    node.start()
    return node, admission


def certified(node: NodeProcess, path: Path, text: str) -> str:
    """The id of the certificate of a file with this text."""
    path.write_text(text)
    (result,) = told("certify", path, *at(node))["results"]
    assert result["outcome"]["state"] == "final"
    return str(result["outcome"]["id"])


def shown_of(path: Path, *where: str) -> str:
    """What the node tells of the one certificate of a file."""
    (one,) = told("search", "--file", path, *where)["certificates"]
    return said("show", "certificate", one["id"], *where)


def test_four_become_five_and_the_fifth_votes(four: Network, tmp_path: Path) -> None:
    first, second, third, fourth = four.nodes
    fifth, admission = joined(four, "node-5", "uni-e")
    refused = said("certify", "--subject", "before it is one of them", *at(fifth), expect=6)
    assert "[D1]" in refused
    made = said("member", "admit", admission, "--title", "Universität E", "--domain", "e.example.org", *at(first))
    assert "to admit Universität E (uni-e) with 100 tokens at stake" in made
    assert "100 of 400 tokens at stake approve, 267 are needed; no word yet from: " in made
    (motion,) = told("motion", "list", *at(first))["motions"]
    assert f"tallystick motion approve {motion['id'][:16]}" in made
    wait_for(lambda: is_known(second, motion["id"]), "the second member knows it")
    assert f"motion {motion['id'][:16]} to admit Universität E (uni-e)" in said("status", *at(second))
    called("motion", "approve", motion["id"][:16], *at(second))
    wait_for(lambda: told("motion", "show", motion["id"], *at(third))["approving"] == 200, "the third heard of that")
    asked = said("motion", "approve", motion["id"][:16], *at(third), expect=2)
    assert "With this word it passes, and takes effect at once: to admit Universität E (uni-e)" in asked
    passed = said("motion", "approve", motion["id"][:16], *at(third), "--yes")
    assert "It has passed, and is in effect." in passed
    wait_for(lambda: fifth.status().stake == 100, "it votes")
    outcome = certified(fifth, tmp_path / "diploma.txt", "Ada Lovelace, BSc")
    shown = said("show", "certificate", outcome, *at(fifth))
    assert "(Universität E)" in shown
    four.wait_until_agreed()
    assert "(Universität E)" in said("show", "certificate", outcome, *at(fourth))
    by = ("search", "diploma.txt", *at(fourth), "--issuer")
    assert told(*by, "uni-e") == told(*by, "Universität E")
    assert told(*by, "node-1")["certificates"] == []
    (found,) = told(*by, "Universität E")["certificates"]
    assert (found["id"], found["issuer"]["title"]) == (outcome, "Universität E")
    fourth.stop()
    assert fifth.certify("four of five go on")
    fourth.start()
    shown = said("member", "list", *at(fourth))
    assert "Universität E uni-e 100" in shown


def test_a_member_that_is_gone_for_good_is_removed_by_the_others(four: Network) -> None:
    first, second, third, lost = four.nodes
    lost.kill()
    asked = said("member", "remove", "node-4", *at(first), expect=2)
    assert "The keys of node-4 end for good, and its id with them." in asked
    assert "Afterwards the ledger stops without any of its 3 members" in asked
    assert "Move to remove node-4, which has 100 tokens at stake? Say so with --yes" in asked
    assert told("motion", "list", *at(first))["motions"] == [], "nothing was moved"
    motion = moved(first, "member", "remove", "node-4", "--yes")
    stops = "Afterwards the ledger stops without any of its 3 members: nothing becomes final"
    wait_for(lambda: is_known(second, motion), "the second member knows it")
    names = "afterwards the ledger stops without any of: node-1, node-2, node-3"
    assert names in said("motion", "list", *at(second))
    assert names in said("status", *at(second))
    assert f"danger {stops}" in said("motion", "show", motion, *at(second))
    assert f"warning: {stops}" in said("motion", "approve", motion, *at(second)), (
        "it is not the word by which it passes"
    )
    wait_for(lambda: told("motion", "show", motion, *at(third))["approving"] == 200, "the third heard of that")
    asked = said("motion", "approve", motion, *at(third), expect=2)
    assert f"which has 100 tokens at stake. {stops}" in asked
    assert f"warning: {stops}" in said("motion", "approve", motion, *at(third), "--yes")
    wait_for(lambda: told("motion", "show", motion, *at(third))["state"] == "passed", "it has passed")
    one = organisations(first)["node-4"]
    assert (one["member_key"], one["staked"], one["votes_with"]) == (None, 0, 0)
    first.certify("three go on")
    again = said("member", "remove", "node-4", *at(first), expect=5)
    assert "node-4 (node-4) was removed already" in again


def test_a_lost_key_is_replaced(four: Network) -> None:
    first, second, third, lost = four.nodes
    old = lost.folder.public_key()
    lost.kill()
    new, admission = joined(four, "node-4b", "node-4")
    asked = said("member", "replace-key", admission, *at(first), expect=2)
    assert f"The key {old.hex()[:16]}… of node-4 ends for good" in asked
    assert f"Ask them over the telephone whether their new one is {new.folder.public_key().hex()[:16]}…." in asked
    carry(moved(first, "member", "replace-key", admission, "--yes"), second, third)
    wait_for(lambda: new.status().stake == 100, "the new key votes")
    third.stop()
    new.certify("with the new key they are a quorum")
    third.start()
    lost.start()
    wait_for(lambda: lost.status().tip_index >= new.status().tip_index, "the old key's node reads along")
    wait_for(lambda: may_stop(lost), "others say that they have the block with which it left")
    shown = said("status", *at(lost), expect=1)
    assert "the member key of node-4 is another, and this key votes no more: the node may be switched off" in shown
    assert "[D1]" in said("certify", "--subject", "with the old key", *at(lost), expect=6)


def test_a_diploma_is_revoked_and_another_superseded(same: Network, tmp_path: Path) -> None:
    first, second, *_ = same.nodes
    wrong, right = tmp_path / "wrong.txt", tmp_path / "right.txt"
    mistake = certified(first, tmp_path / "mistake.txt", "nobody, BSc")
    old, new = certified(first, wrong, "Ada Lovelase, BSc"), certified(first, right, "Ada Lovelace, BSc")
    same.wait_until_agreed()
    assert "[R2]" in said("revoke", mistake[:16], "--reason", "mistake", *at(second), "--yes", expect=6)
    refused = said("revoke", tmp_path / "mistake.txt", *at(second), expect=6)
    assert "node-1" in refused
    assert "and not node-2: it alone takes that back" in refused
    assert "Revoke it?" not in refused, "nobody is asked for what is refused"
    asked = said("revoke", mistake[:16], "--reason", "mistake", *at(first), expect=2)
    assert "is not valid from now on, for good. Revoke it? Say so with --yes" in asked
    assert "is revoked: block" in said("revoke", mistake[:16], "--reason", "mistake", *at(first), "--yes")
    assert "gives way for good to" in said("supersede", old[:16], new[:16], *at(first), expect=2)
    assert f"is superseded by {new[:16]}…" in said("supersede", old[:16], new[:16], *at(first), "--yes")
    same.wait_until_agreed()
    one = told("show", "certificate", mistake, *at(second))
    certified_ms, revoked_ms = one["place"]["block_timestamp_ms"], one["validity"]["since_ms"]
    with second.client() as client:
        states = [client.validity(mistake, at_ms).state for at_ms in (revoked_ms - 1, revoked_ms, certified_ms - 1)]
    assert states == ["valid", "revoked", "not_yet"]
    assert f"superseded by {new[:12]}…" in said("show", "certificate", old, *at(second))
    assert "validity valid; as of " in said("show", "certificate", new, *at(second))
    assert "validity revoked (mistake), since 2" in said("show", "certificate", mistake, *at(second))
    assert "[R3]" in said("revoke", mistake[:16], *at(first), "--yes", expect=6)


def test_an_outsiders_certificate_is_refused(same: Network, tmp_path: Path) -> None:
    outsider, _ = joined(same, "outsider", "no-one")
    (tmp_path / "fake.txt").write_text("nobody, PhD")
    assert "[D1]" in said("certify", tmp_path / "fake.txt", *at(outsider), expect=6)
    called("key", "new", "--no-passphrase", "--data", tmp_path / "other")
    signed = ("certify", tmp_path / "fake.txt", "--key", tmp_path / "other" / "key", *at(same.nodes[0]))
    assert "[D1]" in said(*signed, expect=6)
    assert told("search", "--file", tmp_path / "fake.txt", *at(same.nodes[1]))["certificates"] == []
    genuine = certified(same.nodes[0], tmp_path / "genuine.txt", "somebody, PhD")
    wait_for(lambda: outsider.status().tip_index == same.nodes[0].status().tip_index, "it has that")
    told_there = said("erase", genuine[:16], "--everywhere", *at(outsider), expect=2)
    assert "that organisation orders it, or members do by motion" in told_there
    assert "tallystick motion erase" not in told_there, "it may not move"


def test_an_issuer_key_certifies_under_its_label_until_it_is_withdrawn(same: Network, tmp_path: Path) -> None:
    first, second, *_ = same.nodes
    path = tmp_path / "registry"
    called("key", "new", "--no-passphrase", "--data", path)
    ledger = told("show", *at(first))["ledger_id"]
    line = called("key", "admit", "node-1", "--ledger", ledger, "--data", path).stdout.strip()
    assert told("key", "admit", "node-1", "--ledger", ledger, "--data", path)["line"] == line
    assert "[D6]" in said("issuer", "add", line, *at(second), expect=6)
    assert "certifies for node-1 (Registry)" in said("issuer", "add", line, "--label", "Registry", *at(first))
    diploma = tmp_path / "diploma.txt"
    diploma.write_text("Ada")
    (result,) = told("certify", diploma, "--key", path / "key", *at(first))["results"]
    key = DataFolder(path).public_key().hex()
    made, index = result["outcome"]["id"], result["outcome"]["log_index"]
    assert "(node-1, Registry)" in said("show", "certificate", made, *at(first))
    withdraw = ("issuer", "withdraw", key[:8], "--compromised-since", index)
    assert f"what it certified from log index {index:,} on is void" in said(*withdraw, *at(first), expect=2)
    said(*withdraw, *at(first), "--yes")
    assert "validity void (key compromised)" in said("show", "certificate", made, *at(first))
    assert f"compromised since {index:,}" in said("issuer", "list", "node-1", *at(first))
    assert "[D1]" in said("certify", "--subject", "x", "--key", path / "key", *at(first), expect=6)


def test_a_key_is_rotated_by_its_organisation_after_the_delay_and_by_motion_stopped(four: Network) -> None:
    first, second, third, _ = four.nodes
    new, admission = joined(four, "node-1b", "node-1")
    shown = said("key", "rotate", admission, *at(first), "--yes")
    assert "node-1 has announced" in shown
    wait_for(lambda: second.status().rotations, "the others see it")
    assert "if that is a thief's: tallystick member stop-rotation node-1" in said("status", *at(second))
    carry(moved(second, "member", "stop-rotation", "node-1"), third, first)
    assert organisations(first)["node-1"]["rotation"] is None
    carry(moved(second, "motion", "set", "rotation_delay_ms", "0"), third, first)
    shown = said("key", "rotate", admission, *at(first), "--yes")
    first.stop()
    wait_for(lambda: new.status().stake == 100, "the new key votes")
    new.certify("with the new key")


def test_who_leaves_is_told_until_when_to_stay(four: Network) -> None:
    first, second, third, fourth = four.nodes
    made = said("member", "leave", *at(fourth), "--yes")
    assert "Let the node run until the epoch in which that passes has ended" in made
    (motion,) = told("motion", "list", *at(fourth))["motions"]
    shown = said("status", *at(fourth))
    assert f"node-4 is removed when motion {motion['id'][:16]} passes; let this node run until then: it votes" in shown
    carry(motion["id"], first, second)
    wait_for(lambda: fourth.status().stake == 0, "its last epoch has ended")
    wait_for(lambda: may_stop(fourth), "others say that they have the block with which it left")
    shown = said("status", *at(fourth), expect=1)
    assert "node-4 was removed, and this key votes no more: the node may be switched off" in shown
    told_by = told("status", *at(fourth), expect=1)
    assert (told_by["state"], told_by["leaving"]["how"]) == ("left", "removed")
    fourth.stop()
    third.certify("three go on")


def test_stakes_are_set_by_motion_alone(same: Network) -> None:
    first, second, third = same.nodes[:3]
    refused = said("stake", "5", *at(first), expect=2)
    assert "members decide on stakes together on this ledger (rule S9)" in refused
    assert "tallystick member set-stake WHO=TOKENS" in refused
    asked = said("member", "set-stake", "node-1=200", *at(first), expect=2)
    assert "Afterwards the ledger stops without node-1: nothing becomes final, and if it is gone for good" in asked
    motion = moved(first, "member", "set-stake", "node-1=120", "node-2=120", "--yes")
    called("motion", "object", motion, *at(first))
    assert told("motion", "show", motion, *at(first))["objecting"] == 100
    carry(motion, first, second, third)
    assert [organisations(first)[f"node-{one}"]["staked"] for one in (1, 2, 3, 4)] == [120, 120, 100, 100]
    carry(moved(first, "member", "set-stake", "50"), second, third)
    assert {one["staked"] for one in organisations(first).values()} == {50}


def traces(node: NodeProcess, word: bytes) -> list[str]:
    """The files of a node's folder in which a word can be read: its ledger and search index, with their logs."""
    return [one.name for one in node.folder.path.iterdir() if one.is_file() and word in one.read_bytes()]


def is_without(node: NodeProcess, word: bytes) -> bool:
    return not traces(node, word)


def waiting(node: NodeProcess) -> Any:
    """What was ordered to be erased, and waits for the node's operator."""
    with Client(node.folder.path) as client:
        return client.status().erasures


def test_a_persons_data_is_erased_everywhere_and_who_has_confirmed_is_told(same: Network, tmp_path: Path) -> None:
    first, second, third, fourth = same.nodes[:4]
    subject = ("--subject", "Zuse Konrad, BSc")
    document = tmp_path / "own.txt"
    document.write_text("own")
    (result,) = told("certify", document, *subject, *at(first))["results"]
    own, before = str(result["outcome"]["id"]), Path(result["proof"])
    same.wait_until_agreed()
    for node in (first, second, third, fourth):
        wait_for(partial(knows_payload, node, own), f"{node.name} has the payload")
    assert "motion erase" in said("erase", own[:12], "--everywhere", *at(second), expect=2)
    asked = said("erase", own[:12], "--everywhere", *at(first), expect=2)
    assert "Order all nodes to erase the payload of" in asked
    assert told("status", *at(second))["erasures"] == [], "nothing was ordered"
    ordered = said("erase", own[:12], "--everywhere", "--yes", *at(first))
    assert "about the file own.txt: block" in ordered
    assert "about the file own.txt is erased here, and that is confirmed: block" in ordered
    assert "backups; exports; proofs and copies in anybody's hands" in ordered
    for node in (second, third):
        wait_for(partial(waiting, node), "it waits for the operator")
        assert knows_payload(node, own), "no node erases before its operator does"
        assert f"then: tallystick erase {own[:16]}" in said("status", *at(node))
        asked = said("erase", own[:16], *at(node), expect=2)
        assert "ordered it; a member's node confirms it on the ledger. Erase the payload of" in asked
        assert "is erased here, and that is confirmed: block" in said("erase", own[:16], "--yes", *at(node))
        assert told("status", *at(node))["erasures"] == []
    shown = said("show", "certificate", own, *at(first))
    assert "(its payload was erased)" in shown
    wait_for(lambda: len(erasure(first, own)["confirmed"]) == 3, "all three are final")
    assert [one["organisation"] for one in erasure(first, own)["unconfirmed"]] == ["node-4"]
    assert "each operator runs tallystick erase" in said("show", "certificate", own, *at(first))
    assert erasure(fourth, own)["is_erased_here"] is False
    for node in (first, second, third):
        wait_for(partial(is_without, node, b"Zuse"), "no file has the subject")
    assert traces(fourth, b"Zuse")
    assert "its payload was erased" in said("show", "certificate", own, *at(second))
    said("erase", own[:16], "--yes", *at(fourth))
    wait_for(partial(is_without, fourth, b"Zuse"), "no file has the subject")
    _assert_what_is_erased_is_proven_by_who_kept_it(document, before, own, fourth)


def _assert_what_is_erased_is_proven_by_who_kept_it(
    document: Path, before: Path, certificate: str, node: NodeProcess
) -> None:
    """A proof from before holds, with the content; one from after says that the content is not in it."""
    after, verify = document.with_name("after.tlog-proof"), ("verify", "--ledger", told("show", *at(node))["ledger_id"])
    called("prove", certificate, "--to", after, *at(node))
    assert b"Zuse" in b64decode(before.read_bytes().split(b"\nextra ")[1].split(b"\n")[0])
    assert b"Zuse" not in b64decode(after.read_bytes().split(b"\nextra ")[1].split(b"\n")[0])
    assert "✓ own.txt is certified by node-1 (node-1)" in said(*verify, document, "--proof", before)
    gone = "a certificate by node-1 (node-1) is proven; its content is not in this proof: erased, or left out"
    assert gone in said(*verify, after)
    refused = said(*verify, document, "--proof", after, expect=13)
    assert "erased, or left out (FILE.payload); nobody can tell from it which document it was about" in refused


def test_what_another_certified_is_erased_by_motion_and_a_node_that_was_cut_off_confirms_later(
    same: Network, tmp_path: Path
) -> None:
    first, second, third, fourth = same.nodes[:4]
    theirs = certified(fourth, tmp_path / "theirs.txt", "theirs")
    same.wait_until_agreed()
    motion = moved(first, "motion", "erase", theirs[:16], "--yes")
    carry(motion, second, third)
    wait_for(partial(waiting, third), "it waits for the operator")
    assert "ordered by motion on" in said("status", *at(third))
    payload_hash = told("show", "certificate", theirs, *at(third))["payload_hash"]
    with Client(third.folder.path) as client:  # erased, and killed before that is confirmed or final
        client.erase(payload_hash, timeout_s=0)
    third.kill()
    third.start()
    wait_for(lambda: third.status().state in ("quiet", "advancing"), "it runs again")
    (result,) = told("erase", theirs[:16], "--yes", *at(third))["confirmations"] or [{"state": "final"}]
    assert result["state"] == "final"
    wait_for(lambda: not waiting(third), "nothing waits")
    (confirmed,) = told("motion", "show", motion, *at(third))["erasure"]["confirmed"]
    assert confirmed["member"]["organisation"] == "node-3"
    assert "erased by node-3" in said("motion", "show", motion, *at(third))


def test_the_proof_that_a_node_was_killed_before_it_made_is_made_by_the_same_command(
    same: Network, tmp_path: Path
) -> None:
    node, report = same.nodes[1], tmp_path / "report.txt"
    report.write_text("The bridge is sound.")
    (result,) = told("certify", report, "--no-proof", *at(node))["results"]
    node.kill()
    assert (result["outcome"]["state"], result["proof"]) == ("final", None)
    told("certify", report, *at(node), expect=3)
    assert [one.name for one in tmp_path.iterdir()] == ["report.txt"]
    node.start()
    (again,) = told("certify", report, *at(node))["results"]
    assert (again["was_certified"], again["outcome"]["id"]) == (True, result["outcome"]["id"])
    ledger = told("show", *at(node))["ledger_id"]
    (verdict,) = told("verify", report, "--ledger", ledger)["files"]
    assert (verdict["proof"], verdict["proven"]["certificate"]) == (again["proof"], result["outcome"]["id"])


def test_who_certifies_anothers_payload_does_not_have_it_erased(same: Network, tmp_path: Path) -> None:
    first, second, *_ = same.nodes
    genuine = certified(first, tmp_path / "genuine.txt", "genuine")
    with Client(first.folder.path) as honest:
        shown = honest.certificate(genuine).payload
    assert shown is not None
    payload = payload_codec.decode(bytes.fromhex(shown.encoded))
    thief = second.folder.wallet("")
    with Client(second.folder.path, wallet=thief) as client:
        copied = issue_statement(thief, client.ledger_id, now_ms(), "", payload)
        (outcome,) = client.submit([encode(Entry(copied))])
        assert client.order_erasure(outcome.id).outcome.state == "final"
    same.wait_until_agreed()
    refused = said("erase", outcome.id[:16], "--yes", *at(first), expect=2)
    assert f"is that of another issuer's certificate, too: {genuine[:16]}… by node-1" in refused
    assert knows_payload(first, genuine)


def knows_payload(node: NodeProcess, certificate: str) -> bool:
    return told("show", "certificate", certificate, *at(node))["payload"] is not None


def erasure(node: NodeProcess, certificate: str) -> Any:
    return told("show", "certificate", certificate, *at(node))["erasure"]
