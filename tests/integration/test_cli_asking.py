"""The commands that ask a running node, and what they make of its answers."""

import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY, GENESIS, STRANGER
from tests.integration.command_line import PASSPHRASE, REPORT, cli, in_json
from tests.integration.fake_node import NOW_MS, Running, found, status

from tallystick.cli.words import utc
from tallystick.host.control import (
    MAX_BATCH,
    Accepted,
    Answer,
    BackedUp,
    Backup,
    BlockFound,
    CertificateFound,
    Certify,
    ChangeStake,
    FindFile,
    GetBlock,
    GetPeers,
    GetStakes,
    GetStatus,
    MemberLine,
    PeerLine,
    Peers,
    Refused,
    Request,
    Stakes,
    Stuck,
    Submit,
    Unban,
)
from tallystick.host.key_file import create_key_file
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import block_codec
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.messages import Entry
from tallystick.ledger.vote import tally_codec
from tallystick.node.intake import Intake
from tallystick.storage.file_statement import FILE_MEDIA_TYPE
from tallystick.storage.store import Store

# ---- certify --------------------------------------------------------------------------------------------------


def test_of_a_file_only_name_size_and_hash_go_out(folder: Path, running: Running) -> None:
    chain = running.start()
    told = in_json("certify", "report.txt", "--note", "final", "--data", "node", cwd=folder)
    (request,) = chain.asked
    assert isinstance(request, Certify)
    (statement,) = request.statements
    assert (statement.subject, statement.media_type) == ("File report.txt", FILE_MEDIA_TYPE)
    assert b"bridge" not in statement.content
    assert b"report.txt" in statement.content
    assert (told["final"], told["refused"]) == (1, 0)
    (one,) = told["certificates"]
    assert (one["state"], one["block_index"], one["position"], one["took_ms"]) == ("final", 7, 0, 120.0)
    assert "report.txt is certified: block 7" in cli("certify", "report.txt", "--data", "node", cwd=folder).stdout


def test_a_statement_in_words_needs_no_file(folder: Path, running: Running) -> None:
    chain = running.start()
    args = ["--subject", "Ada: BSc", "--note", "1.0", "--media-type", "application/json", "--data", "node"]
    cli("certify", *args, cwd=folder)
    (request,) = chain.asked
    assert isinstance(request, Certify)
    (statement,) = request.statements
    assert (statement.subject, statement.media_type, statement.content) == ("Ada: BSc", "application/json", b"1.0")


def test_a_refusal_ends_with_1_and_names_the_rule(folder: Path, running: Running) -> None:
    running.start(lambda request: [Accepted(1, bytes(32)), Refused(0, "C7", "[C7] room in the box")])
    args = ["certify", "report.txt", "report.txt", "--data", "node", "--no-wait"]
    assert "report.txt was refused: [C7] room in the box" in cli(*args, cwd=folder, expect=1).stdout
    told = in_json(*args, cwd=folder, expect=1)
    assert [(one["state"], one["rule"]) for one in told["certificates"]] == [("refused", "C7"), ("taken", None)]


def test_waiting_ends_when_the_time_is_up(folder: Path, running: Running) -> None:
    blocked = threading.Event()

    def answering(request: Request) -> Iterator[Answer]:
        yield Accepted(0, bytes(32))
        blocked.wait(10)

    running.start(answering)
    args = ["certify", "report.txt", "--data", "node"]
    try:
        told = cli(*args, "--timeout", "0.2", cwd=folder, expect=4)
        assert "report.txt is taken, and not final yet" in told.stdout
        assert "the time was up" in told.stderr
        assert "not final yet" in cli(*args, "--no-wait", cwd=folder).stdout
    finally:
        blocked.set()


def test_a_key_of_ones_own_signs_here(folder: Path, running: Running) -> None:
    chain = running.start()
    create_key_file(folder / "ada.key", ADA, PASSPHRASE, "interactive")
    args = ["certify", "report.txt", "--key", "ada.key", "--data", "node"]
    cli(*args, cwd=folder, TALLYSTICK_PASSPHRASE=PASSPHRASE)
    (asked, request) = chain.asked
    assert asked == GetStatus()
    assert isinstance(request, Submit)
    codec: Codec[Entry] = Codec(Entry, 1 << 20, "entry")
    entry = codec.decode(request.entries[0])
    assert entry.certificate.issuer == ADA.public_key
    with Store.open(running.node.ledger_path, read_only=True) as store:
        checked = Intake(store.genesis.ledger_id, _Knows()).check_entry(entry)
    assert checked.entry.payload is not None
    assert chain.asked[0] == GetStatus()


class _Knows:
    def has_verified(self, _: object) -> bool:
        return False

    def knows_block(self, _: object) -> bool:
        return False

    def knows_vote(self, _: object) -> bool:
        return False

    def awaits_blocks(self, _: object) -> bool:
        return False


def test_a_batch_goes_out_in_requests_that_the_node_takes(folder: Path, running: Running) -> None:
    chain = running.start()
    rows = [f"statement {number}" for number in range(MAX_BATCH + 10)]
    (folder / "batch.csv").write_text("subject\n" + "\n".join(rows) + "\n")
    told = in_json("certify", "--batch", "batch.csv", "--data", "node", cwd=folder)
    sent = [request.statements for request in chain.asked if isinstance(request, Certify)]
    assert [len(one) for one in sent] == [MAX_BATCH, 10]
    assert [one.subject for batch in sent for one in batch] == rows
    assert [one["subject"] for one in told["certificates"]] == rows
    assert told["final"] == len(rows)


def test_a_row_may_name_a_file_beside_the_table(folder: Path, running: Running) -> None:
    chain = running.start()
    (folder / "table").mkdir()
    (folder / "table" / "a.txt").write_text("a")
    table = '\ufefffile,subject,note,media_type\na.txt,,"one, two",\n,Ada,1.0,application/json\n,Ben,,\n'
    (folder / "table" / "batch.csv").write_text(table)
    cli("certify", "--batch", "table/batch.csv", "--data", "node", cwd=folder)
    (request,) = chain.asked
    assert isinstance(request, Certify)
    said = [(one.subject, one.media_type) for one in request.statements]
    assert said == [("File a.txt", FILE_MEDIA_TYPE), ("Ada", "application/json"), ("Ben", "")]
    assert b"one, two" in request.statements[0].content


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("subject\na\n\n" + "x" * 257 + "\n", "line 4: [E2]"),
        ("subject,file\na,\n,gone.txt\n", "line 3: there is no file"),
        ("subject,note\na,b\nc\n", "line 3: fewer fields than columns"),
        ("subject\na,b\n", "line 2: more fields than columns"),
        ("subject,note\n,b\n", "line 2: neither a subject nor a file"),
        ("subject,media_type\na,text/plain\n", "line 2: a media type without a note"),
        ("file,media_type\nreport.txt,text/plain\n", "line 2: a media type is the note's"),
        ("subject\na\nb\na\n", "line 4: says the same as line 2"),
        ("subjekt\na\n", "has a column 'subjekt'"),
        ("note\na\n", "neither a column subject nor a column file"),
        ("subject,subject\na,b\n", "has a column twice"),
        ("subject\n", "has no rows"),
        ("", "neither a column"),
        ('subject\n"a\n', "is no CSV file"),
        ("subject\n" + "\n".join("x" * 300 for _ in range(12)) + "\n", "; and 2 more"),
    ],
)
def test_one_bad_row_and_nothing_is_sent(folder: Path, running: Running, table: str, message: str) -> None:
    chain = running.start()
    (folder / "batch.csv").write_text(table)
    done = cli("certify", "--batch", "batch.csv", "--data", "node", cwd=folder, expect=2)
    assert message in done.stderr
    assert done.stdout == ""
    assert chain.asked == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name a FILE, a --subject, or a --batch"),
        (["report.txt", "--batch", "x.csv"], "stands in the CSV file alone"),
        (["--subject", "a", "--media-type", "text/plain"], "--media-type is the note's"),
        (["report.txt", "--note", "a", "--media-type", "text/plain"], "--media-type is the note's"),
        (["--batch", "gone.csv"], "gone.csv cannot be read"),
        (["gone.txt"], "there is no file gone.txt"),
        (["--subject", "a\nb"], "[E2]"),
        (["--subject", "a", "--note", "x" * 70_000], "[E1]"),
        (["report.txt", "--note", "x" * 2_000], "[E2]"),
    ],
)
def test_certify_says_what_is_wrong(folder: Path, running: Running, args: list[str], message: str) -> None:
    chain = running.start()
    done = cli("certify", *args, "--data", "node", cwd=folder, expect=2)
    assert message in " ".join(done.stderr.split())
    assert chain.asked == []


@pytest.mark.parametrize(
    "args",
    [["certify", "report.txt"], ["stake", "5"], ["status"], ["invite"], ["show", "peers"]],
    ids=lambda one: one[0],
)
def test_without_a_running_node_it_ends_with_3_and_says_how_to_start_it(folder: Path, args: list[str]) -> None:
    told = cli(*args, "--data", "node", cwd=folder, expect=3).stderr
    assert "tallystick run" in told
    told = cli(*args, "--data", "elsewhere", cwd=folder, expect=2).stderr
    assert "there is no node in elsewhere: make one with tallystick new or tallystick join" in told


def test_a_node_that_ends_while_it_is_asked_is_told(folder: Path, running: Running) -> None:
    def answering(request: Request) -> Iterator[Answer]:
        yield Accepted(0, bytes(32))
        raise OSError("gone")

    running.start(answering)
    told = cli("certify", "report.txt", "--data", "node", cwd=folder, expect=2).stderr
    assert "the node ended before it answered; look at its log, and start it again" in told


# ---- verify ---------------------------------------------------------------------------------------------------


def test_verify_asks_the_running_node_and_checks_its_answer(folder: Path, running: Running) -> None:
    chain = running.start()
    told = in_json("verify", "report.txt", "--data", "node", cwd=folder)
    assert told["checked"] == "node"
    (file,) = told["files"]
    (certificate,) = file["certificates"]
    assert (certificate["issuer"], certificate["block_index"], certificate["position"]) == ("Alice", 1, 0)
    assert 3 * certificate["voted_stake"] > 2 * certificate["total_stake"] == 2 * 400
    assert {type(request) for request in chain.asked} >= {FindFile, GetBlock}
    shown = cli("verify", "report.txt", cwd=folder, TALLYSTICK_DATA="node").stdout
    assert "report.txt is certified" in shown
    assert f"by signed votes of {certificate['voted_stake']} of 400 tokens at stake" in shown
    (folder / "report.txt").write_bytes(REPORT + b"!")
    assert (
        "no certificate on this ledger covers it"
        in cli("verify", "report.txt", "--data", "node", cwd=folder, expect=1).stdout
    )


def _other_certificate(store: Store, answer: CertificateFound) -> CertificateFound:
    return replace(found(store, 2, 0), block_index=1, block_hash=answer.block_hash)


def _other_place(_: Store, answer: CertificateFound) -> CertificateFound:
    return replace(answer, position=answer.position + 1)


def _forged_certificate(_: Store, answer: CertificateFound) -> CertificateFound:
    return replace(answer, encoded=answer.encoded[:-1] + bytes([answer.encoded[-1] ^ 1]))


def _other_payload(store: Store, answer: CertificateFound) -> CertificateFound:
    others = (found(store, index, 0) for index in range(2, store.tip_index))
    return replace(answer, payload=next(one.payload for one in others if one.payload))


@pytest.mark.parametrize(
    ("lie", "rule"),
    [(_other_certificate, "B7"), (_other_place, "B7"), (_forged_certificate, "C1"), (_other_payload, "C3")],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_node_that_lies_about_a_certificate_is_caught(folder: Path, running: Running, lie: Any, rule: str) -> None:
    def answering(request: Request) -> Iterable[Answer] | None:
        if not isinstance(request, FindFile):
            return None
        with Store.open(running.node.ledger_path, read_only=True) as store:
            return [lie(store, found(store, 1, 0))]

    running.start(answering)
    told = cli("verify", "report.txt", "--data", "node", cwd=folder, expect=1)
    assert f"does not hold: [{rule}]" in told.stderr
    assert "is certified" not in told.stdout


def _other_hash(answer: BlockFound) -> BlockFound:
    block = block_codec.decode(answer.encoded)
    header = replace(block.header, timestamp_ms=block.header.timestamp_ms + 1)
    return replace(answer, encoded=encode(replace(block, header=header)))


def _without_a_certificate(answer: BlockFound) -> BlockFound:
    block = block_codec.decode(answer.encoded)
    return replace(answer, encoded=encode(replace(block, certificates=block.certificates[1:])))


def _forged_vote(answer: BlockFound) -> BlockFound:
    tally = tally_codec.decode(answer.finalization)
    (member, signature), *others = tally.signatures
    forged = (member, signature[:-1] + bytes([signature[-1] ^ 1]))
    return replace(answer, finalization=encode(replace(tally, signatures=(forged, *others))))


def _too_few_votes(answer: BlockFound) -> BlockFound:
    tally = tally_codec.decode(answer.finalization)
    return replace(answer, finalization=encode(replace(tally, signatures=tally.signatures[:2])))


def _other_vote(answer: BlockFound) -> BlockFound:
    tally = tally_codec.decode(answer.finalization)
    return replace(answer, finalization=encode(replace(tally, ballot=replace(tally.ballot, block_hash=bytes(32)))))


@pytest.mark.parametrize(
    ("lie", "rule"),
    [
        (_other_hash, "B3"),
        (_without_a_certificate, "B7"),
        (_forged_vote, "V1"),
        (_too_few_votes, "V2"),
        (_other_vote, "V2"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_node_that_lies_about_a_block_is_caught(folder: Path, running: Running, lie: Any, rule: str) -> None:
    def answering(request: Request) -> Iterable[Answer] | None:
        if not isinstance(request, GetBlock) or request.index != 1:
            return None
        return [lie(one) for one in running.chain(request) if isinstance(one, BlockFound)]

    running.start(answering)
    told = cli("verify", "report.txt", "--data", "node", cwd=folder, expect=1)
    assert f"does not hold: [{rule}]" in told.stderr


def test_a_block_without_votes_of_its_own_is_final_with_a_later_one(folder: Path, running: Running) -> None:
    def answering(request: Request) -> Iterable[Answer] | None:
        if not isinstance(request, GetBlock) or request.index != 1:
            return None
        return [replace(one, finalization=b"") for one in running.chain(request) if isinstance(one, BlockFound)]

    running.start(answering)
    (file,) = in_json("verify", "report.txt", "--data", "node", cwd=folder)["files"]
    assert file["certificates"][0]["final_by"] == 2


def test_a_stopped_nodes_ledger_is_checked_as_a_file(folder: Path) -> None:
    told = in_json("verify", "report.txt", "--data", "node", cwd=folder)
    assert told["checked"] == "chain"
    assert told["files"][0]["certificates"][0]["proof"]


def test_a_file_that_lies_about_does_not_speak_in_a_nodes_place(folder: Path, ledger: Path) -> None:
    shutil.copy(ledger, folder / "tallystick-demo.db")
    Store.create(folder / "empty.db", GENESIS).close()
    shutil.copy(folder / "empty.db", folder / "node" / "ledger.db")
    shutil.move(folder / "node", folder / ".tallystick")
    assert in_json("verify", "report.txt", cwd=folder, expect=1)["ledger_id"] == GENESIS.ledger_id.hex()
    shutil.move(folder / ".tallystick", folder / "away")
    assert in_json("verify", "report.txt", cwd=folder)["files"][0]["verifies"]


# ---- show -----------------------------------------------------------------------------------------------------


def test_show_tells_the_same_of_a_running_node_as_of_its_file(folder: Path, running: Running) -> None:
    of_file = {
        part: in_json("show", *part.split(), "--data", "node", cwd=folder) for part in ("block 1", "block 0", "stakes")
    }
    (first, *_) = of_file["block 1"]["certificates"]
    by_id = f"certificate {first['id'][:12]}"
    of_file[by_id] = in_json("show", *by_id.split(), "--data", "node", cwd=folder)
    running.start()
    for part in ("block 1", "block 0", by_id):
        of_node = in_json("show", *part.split(), "--data", "node", cwd=folder)
        assert of_node.keys() == of_file[part].keys()
        for key, one in of_node.items():
            assert one is None or key == "log_size" or one == of_file[part][key], (part, key)
    for part in ("chain", "block 1", "block 7", "block 0", by_id, "stakes", "member Alice", "peers"):
        assert cli("show", *part.split(), "--data", "node", cwd=folder).stdout


def test_the_stake_behind_later_blocks_is_not_claimed_when_it_cannot_be_shown(folder: Path, running: Running) -> None:
    index, _ = last_of_epoch(running, 1)
    running.start()
    block = in_json("show", "block", str(index), "--data", "node", cwd=folder)
    assert block["voters"]
    assert block["voted_stake"] is None


def last_of_epoch(running: Running, number: int) -> tuple[int, Epoch]:
    """The index of the epoch's last block, and whose votes counted for it."""
    with Store.open(running.node.ledger_path, read_only=True) as store:
        checked = CheckedChain(store)
        index = max(block.index for block in checked.blocks() if block.header.epoch == number)
        return index, checked.epoch_of(index)


@pytest.mark.parametrize(("later", "is_shown"), [(0, True), (1, False)])
def test_the_votes_are_weighed_by_their_own_epochs_stakes_alone(
    folder: Path, running: Running, later: int, is_shown: bool
) -> None:
    index, epoch = last_of_epoch(running, 2)
    lines = tuple(MemberLine(member, 0, stake, (), stake, True) for member, stake in epoch.members)
    running.start(lambda request: [Stakes(lines, 0, epoch.number + later)] if request == GetStakes() else None)
    block = in_json("show", "block", str(index), "--data", "node", cwd=folder)
    assert block["voters"]
    assert block["voted_stake"] == (sum(epoch.stake(one) for one in voters_of(running, index)) if is_shown else None)


def voters_of(running: Running, index: int) -> tuple[bytes, ...]:
    with Store.open(running.node.ledger_path, read_only=True) as store:
        finality = CheckedChain(store).finality(index)
        return finality.voters if finality else ()


def test_votes_of_too_little_of_the_stake_that_the_node_tells_are_refused(folder: Path, running: Running) -> None:
    index, epoch = last_of_epoch(running, 2)
    lines = (MemberLine(STRANGER.public_key, 0, 10_000, (), 10_000, True),)
    running.start(lambda request: [Stakes(lines, 0, epoch.number)] if request == GetStakes() else None)
    told = cli("show", "block", str(index), "--data", "node", cwd=folder, expect=1).stderr
    assert "[V2]" in told
    assert "0 of 10000 staked tokens voted for it" in told


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["block", "999"], 1, "there is no block 999"),
        (["certificate", "00000000"], 1, "no certificate's id begins with"),
        (["certificate", "00"], 2, "give 8 digits of the id or more"),
        (["member", "Nobody"], 1, "no account is called Nobody"),
        (["member"], 2, "a member is named by a name or key"),
    ],
)
def test_show_says_what_a_node_does_not_have(
    folder: Path, running: Running, args: list[str], code: int, message: str
) -> None:
    running.start()
    assert message in " ".join(cli("show", *args, "--data", "node", cwd=folder, expect=code).stderr.split())


def test_show_a_member_by_name_and_by_key(folder: Path, running: Running) -> None:
    of_file = in_json("show", "member", "Bob", "--data", "node", cwd=folder)
    running.start()
    bob = in_json("show", "member", "Bob", "--data", "node", cwd=folder)
    assert bob["public_key"] == of_file["public_key"]
    assert in_json("show", "member", bob["public_key"][:9], "--data", "node", cwd=folder) == bob


# ---- status, stake, check, backup -----------------------------------------------------------------------------


def telling(running: Running, **changed: Any) -> None:
    def answering(request: Request) -> Iterable[Answer] | None:
        if request == GetPeers():
            return [Peers((PeerLine(BEN.public_key, "ben:7117", False, 100, NOW_MS - 300_000, 3),))]
        if request == GetStatus():
            with Store.open(running.node.ledger_path, read_only=True) as store:
                return [status(store, **changed)]
        return None

    running.start(answering)


@pytest.mark.parametrize(
    ("changed", "state", "said"),
    [
        ({}, "quiet", "nothing waits; a quiet ledger makes no blocks"),
        ({"waiting": 3}, "advancing", "3 certificates to be forged"),
        ({"index": 430, "best_index": 1000}, "catching_up", "block 430 of 1,000, 43 %"),
        ({"members_connected": 1}, "alone", "no other member is connected"),
    ],
)
def test_status_says_how_the_node_is(
    folder: Path, running: Running, changed: dict[str, Any], state: str, said: str
) -> None:
    telling(running, **changed)
    told = in_json("status", "--data", "node", cwd=folder)
    assert told["state"] == state
    assert said in told["why"]
    shown = cli("status", "--data", "node", cwd=folder).stdout
    assert said in shown
    assert "votes with 100 of 400 tokens" in shown


LOST = {"is_voting": False, "guard": "lost"}


@pytest.mark.parametrize(
    ("changed", "state", "said"),
    [
        ({**LOST, "unanswered": (BEN.public_key, CY.public_key)}, "recovering", "Ben, Cy did not answer yet"),
        ({**LOST, "is_loss_accepted": True}, "recovering", "its operator accepted the loss"),
        (LOST, "recovering", "all others answered and are no quorum without it: read tallystick guard accept-loss"),
        ({"is_voting": False, "silent_until": (2, 1_234)}, "silent", "it votes from epoch 2, view 1,235 on"),
        ({"is_voting": False, "guard": "twin", "twin": (3, 7)}, "twin", "own key (seen in epoch 3, view 7)"),
        ({"is_burned": True}, "burned", "its stake is lost, its votes with this epoch"),
        ({"is_burned": True, "stake": 0, "is_voting": False}, "burned", "its stake is lost, its votes with this epoch"),
        ({"is_voting": False, "mismatch": "[B12] why"}, "mismatch", "illegal by this node's state ([B12] why)"),
        ({**LOST, "stuck": Stuck(NOW_MS, 200, 400, ())}, "stuck", "and does not vote: what this key signed is lost"),
        ({**LOST, "best_index": 9_999}, "catching_up", "and does not vote: what this key signed is lost"),
    ],
)
def test_status_of_a_member_that_does_not_vote_says_why_and_ends_with_1(
    folder: Path, running: Running, changed: dict[str, Any], state: str, said: str
) -> None:
    telling(running, **changed)
    with Store.open(running.node.ledger_path) as store:
        store.remember_names({BEN.public_key: "Ben", CY.public_key: "Cy"})
    told = in_json("status", "--data", "node", cwd=folder, expect=1)
    assert told["state"] == state
    shown = " ".join(cli("status", "--data", "node", cwd=folder, expect=1).stdout.split())
    assert said in shown
    assert told["why_not_voting"] in shown
    assert "votes with" not in shown or state == "burned"


def test_status_of_a_stuck_ledger_names_who_is_missing_and_ends_with_1(folder: Path, running: Running) -> None:
    telling(running, waiting=2, stuck=Stuck(NOW_MS - 90_000, 200, 400, (BEN.public_key, CY.public_key)))
    with Store.open(running.node.ledger_path) as store:
        store.remember_names({BEN.public_key: "Ben", CY.public_key: "Cy"})
    told = in_json("status", "--data", "node", cwd=folder, expect=1)
    assert told["state"] == "stuck"
    assert [(one["name"], one["last_heard_ms"]) for one in told["stuck"]["missing"]] == [
        ("Ben", NOW_MS - 300_000),
        ("Cy", None),
    ]
    shown = cli("status", "--data", "node", cwd=folder, expect=1).stdout
    assert "for 1 min 30 s no block became final: 200 of 400 tokens at stake are heard, 267 are needed" in shown
    assert "Ben with 100 tokens: not connected, last heard of 5 min ago" in shown
    assert "Cy with 0 tokens: not connected, not heard of" in shown


def test_who_is_banned_is_listed_with_why_and_let_in_again_by_command(folder: Path, running: Running) -> None:
    def answering(request: Request) -> Iterable[Answer] | None:
        banned = PeerLine(BEN.public_key, "", False, 0, 0, 0, NOW_MS + 600_000, "[E2] form: not a message")
        return {GetPeers(): [Peers((banned,))], Unban(BEN.public_key): []}.get(request)

    node = running.start(answering)
    (peer,) = in_json("show", "peers", "--data", "node", cwd=folder)["peers"]
    assert (peer["banned_until_ms"], peer["banned_for"]) == (NOW_MS + 600_000, "[E2] form: not a message")
    shown = cli("show", "peers", "--data", "node", cwd=folder).stdout
    assert f"banned for 10 min more: {BEN.public_key.hex()[:12]}…: [E2] form: not a message" in shown
    told = cli("unban", CY.public_key.hex(), "--data", "node", cwd=folder, expect=1).stderr
    assert "no banned peer is called" in told
    assert Unban(BEN.public_key) not in node.asked
    done = in_json("unban", BEN.public_key.hex()[:8], "--data", "node", cwd=folder)
    assert done["public_key"] == BEN.public_key.hex()
    assert Unban(BEN.public_key) in node.asked


@pytest.mark.parametrize("amount", ["50", "-20"])
def test_stake_says_when_it_takes_effect(folder: Path, running: Running, amount: str) -> None:
    with Store.open(running.node.ledger_path, read_only=True) as store:
        block, params = store.block(7), store.genesis.params
    assert block is not None
    assert block.header.epoch == 0
    chain = running.start()
    told = in_json("stake", amount, "--data", "node", cwd=folder)
    assert chain.asked[0] == ChangeStake(int(amount))
    assert (told["block_index"], told["counts_from_epoch"]) == (7, 1)
    free_ms = block.header.timestamp_ms + params.unbonding_ms
    until = (2, 7 + params.unbonding_blocks, free_ms) if amount == "-20" else (None, None, None)
    assert (told["free_from_epoch"], told["free_from_block"], told["free_from_ms"]) == until
    shown = " ".join(cli("stake", amount, "--data", "node", cwd=folder).stdout.split())
    assert "It counts from epoch 1 on; it begins after the first block that is 5.0 s or more into epoch 0." in shown
    liable = f"stay liable until epoch 2, block {7 + params.unbonding_blocks} and {utc(free_ms)}"
    assert (liable in shown) == (amount == "-20")


def test_a_stake_that_is_refused_names_the_rule(folder: Path, running: Running) -> None:
    running.start(lambda request: [Refused(0, "S2", "[S2] tokens to stake are the issuer's own")])
    assert "[S2]" in cli("stake", "5", "--data", "node", cwd=folder, expect=1).stderr
    assert in_json("stake", "5", "--data", "node", cwd=folder, expect=1)["rule"] == "S2"
    assert "0 tokens move nothing" in cli("stake", "0", "--data", "node", cwd=folder, expect=2).stderr


def test_check_reads_the_whole_ledger_again(folder: Path) -> None:
    told = in_json("check", "--data", "node", cwd=folder)
    assert told["tip_index"] > 10
    assert "vote and rule checked again" in cli("check", "--chain", "node/ledger.db", cwd=folder).stdout
    data = bytearray((folder / "node" / "ledger.db").read_bytes())
    place = data.index(b"File report.txt")
    data[place] ^= 1
    (folder / "node" / "ledger.db").write_bytes(data)
    shown = cli("check", "--data", "node", cwd=folder, expect=1)
    assert re.search(r"^  (block|payload) .*: \[", shown.stdout, re.MULTILINE)
    assert "tallystick check --repair --data node" in shown.stderr
    told = in_json("check", "--chain", "node/ledger.db", cwd=folder, expect=1)
    assert (told["is_sound"], len(told["damage"])) == (False, 1)


def test_a_running_node_makes_its_own_backup(folder: Path, running: Running, ledger: Path) -> None:
    def answering(request: Request) -> Iterable[Answer] | None:
        if not isinstance(request, Backup):
            return None
        shutil.copy(ledger, request.path)
        return [BackedUp(20, Path(request.path).stat().st_size)]

    chain = running.start(answering)
    told = in_json("backup", "copy.db", "--data", "node", cwd=folder)
    assert told == {"file": "copy.db", "tip_index": 20, "size_bytes": ledger.stat().st_size}
    assert chain.asked == [Backup(str(folder / "copy.db"))], "the node may be in another folder than we are"


def test_the_ledger_of_a_stopped_node_is_copied_from_its_file(folder: Path) -> None:
    told = in_json("backup", "copy.db", "--data", "node", cwd=folder)
    assert in_json("check", "--chain", "copy.db", cwd=folder)["tip_index"] == told["tip_index"] > 10
    assert "exists already" in cli("backup", "copy.db", "--data", "node", cwd=folder, expect=2).stderr
