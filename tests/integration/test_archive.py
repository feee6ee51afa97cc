"""What a node has kept and what its host answers from it: the archive in memory is the equal of the store on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builders import (
    ADA,
    BEN,
    CY,
    GENESIS,
    FinalScribe,
    Scribe,
    found,
    keep,
    staking,
    statement,
    vote,
    with_payload,
)
from tests.integration.test_store import blocks_of

from tallystick.consensus.agreement import PersistQuorum
from tallystick.ledger.block import Block
from tallystick.ledger.checkpoint import Checkpoint, Cosignature, cosign
from tallystick.ledger.finality import FinalHeader
from tallystick.ledger.messages import (
    BlockRequest,
    Blocks,
    Entry,
    FinalizationRequest,
    Finalizations,
    HeaderRequest,
    Headers,
    PayloadRequest,
    Payloads,
    ViewCertificateRequest,
    Votes,
    decode_message,
    encode_message,
)
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Tally, tally_of
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import FullArchive, answer, carry_out, sign_address
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import (
    ArchiveChange,
    ErasePayload,
    ForgetCertificate,
    PersistAddress,
    PersistBlock,
    PersistCertificates,
    PersistCosignatures,
    PersistPayload,
)
from tallystick.storage.store import Store


@pytest.fixture(params=["memory", "store"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FullArchive]:
    if request.param == "memory":
        yield MemoryArchive()
        return
    with Store.create(tmp_path / "chain.db", GENESIS) as store:
        yield store


# ---- what is kept -----------------------------------------------------------------------------------------------


def test_an_archive_gives_back_blocks_in_order_and_payloads_by_hash(archive: FullArchive) -> None:
    scribe, entry = Scribe(), with_payload("one")
    keep(archive, scribe.forge(entry.certificate), [entry.payload])
    for block in scribe.forge_many(150):
        keep(archive, block, [])
    assert blocks_of(archive) == [block.encoded for block in scribe.blocks]
    assert [block.index for block in archive.blocks(149)] == [149, 150, 151]
    assert list(archive.blocks(152)) == []
    assert archive.payload(entry.payload.hash()) == entry.payload
    assert archive.payload(bytes(32)) is None


def test_an_archive_keeps_late_payloads_and_forgets_erased_ones(archive: FullArchive) -> None:
    scribe, entry = Scribe(), with_payload("one")
    keep(archive, scribe.forge(entry.certificate), [])
    archive.keep_payload(entry.payload)
    archive.keep_payload(entry.payload)
    assert archive.payload(entry.payload.hash()) == entry.payload
    archive.erase_payload(entry.payload.hash())
    archive.keep_payload(entry.payload)
    assert archive.payload(entry.payload.hash()) is None
    assert list(archive.erased()) == [entry.payload.hash()]


def test_a_certificate_is_kept_until_a_block_holds_it_or_it_is_forgotten(archive: FullArchive) -> None:
    first, second, third = with_payload("first"), Entry(statement("second")), with_payload("third")
    archive.keep_certificates([first, second])
    archive.keep_certificates([third])
    assert list(archive.waiting()) == [first, second, third]
    keep(archive, Scribe().forge(first.certificate), [])
    assert archive.payload(first.payload.hash()) == first.payload
    archive.erase_payload(third.payload.hash())
    assert list(archive.waiting()) == [second, Entry(third.certificate)]
    archive.forget_certificate(second.certificate.id)
    assert list(archive.waiting()) == [Entry(third.certificate)]


def test_an_archive_keeps_the_address_that_it_was_given_last_of_each_key(archive: FullArchive) -> None:
    first, later = (sign_address(ADA, GENESIS.ledger_id, f"ada:{port}", port) for port in (1, 2))
    other = sign_address(BEN, GENESIS.ledger_id, "ben:1", 1)
    for record in (first, other, later):
        archive.keep_address(record)
    assert sorted(archive.addresses(), key=lambda one: one.address) == [later, other]


def test_an_archive_keeps_the_cosignatures_of_the_newest_countersigned_checkpoint_and_of_later_ones(
    archive: FullArchive,
) -> None:
    def cosigned(size: int, member: Wallet, time_s: int = 1) -> Cosignature:
        return cosign(member, Checkpoint(GENESIS.origin, size, bytes(32)), time_s)

    def keep_them(*ones: Cosignature, since: int = 0, dropped: tuple[int, ...] = ()) -> list[tuple[int, bytes, int]]:
        carry_out(PersistCosignatures(ones, since, dropped), archive)
        return [(one.size, one.member, one.time_s) for one in archive.cosignatures()]

    ada, ben = sorted((ADA, BEN), key=lambda one: one.public_key)
    assert keep_them(cosigned(2, ben), cosigned(2, ada)) == [(2, ada.public_key, 1), (2, ben.public_key, 1)]
    assert keep_them(cosigned(3, ada), cosigned(2, ben, 9))[1:] == [(2, ben.public_key, 9), (3, ada.public_key, 1)]
    assert keep_them(cosigned(4, ada), since=3, dropped=(3,)) == [(4, ada.public_key, 1)]
    assert list(archive.cosignatures()) == [cosigned(4, ada)]


def test_an_archive_gives_back_the_votes_of_a_view_and_of_an_epoch(archive: FullArchive) -> None:
    """In the order of views, whatever order they were kept in."""
    late, early = tally_of([vote(NULLIFY, member=ADA, view=20)]), tally_of([vote(NULLIFY, member=ADA, view=3)])
    other = tally_of([vote(FINALIZE, b"b" * 32, BEN, view=3)])
    later_epoch = tally_of([vote(NULLIFY, member=ADA, epoch=1, view=3)])
    many = [tally_of([vote(NOTARIZE, bytes([number]) * 32, ADA, view=7)]) for number in range(40)]
    archive.keep_votes([late, early], [])
    archive.keep_votes([other, *many, later_epoch], [])
    assert list(archive.votes(0)) == [early, other, *many, late]
    assert list(archive.votes(1)) == [later_epoch]
    assert list(archive.votes(2)) == []
    assert list(archive.votes_of(0, 3)) == [early, other]
    assert list(archive.votes_of(0, 7)) == many
    assert list(archive.votes_of(0, 4)) == []
    assert list(archive.view_certificates(0, 3, 20)) == [late, *many, early]
    assert list(archive.view_certificates(0, 4, 19)) == many
    assert list(archive.view_certificates(0, 20, 3)) == []


def test_an_archive_forgets_votes_of_epochs_that_are_evidence_no_more(archive: FullArchive) -> None:
    """And proposals up to the block that was kept; both only with a block that says so."""
    scribe = Scribe()
    others = [scribe.draft(statement(f"not taken {number}"), index=number) for number in (1, 2, 3)]
    votes = {epoch: [tally_of([vote(NULLIFY, member=one, epoch=epoch)]) for one in (ADA, BEN)] for epoch in range(4)}
    for tallies in votes.values():
        archive.keep_votes(tallies, others[::-1])
    assert list(archive.proposals()) == others
    for oldest, left in ((0, [0, 1, 2, 3]), (2, [2, 3]), (0, [2, 3])):
        keep(archive, scribe.forge(), oldest_epoch=oldest)
        assert [epoch for epoch in range(4) if list(archive.votes(epoch)) == votes[epoch]] == left
        assert not [epoch for epoch in range(4) if epoch not in left and list(archive.votes(epoch))]
        assert list(archive.proposals()) == others[scribe.state.index :]


CHANGING = found(epoch_blocks=4)


@pytest.fixture(scope="module")
def agreed() -> FinalScribe:
    """Eleven blocks in epochs of four; members change after the first; blocks 2, 6 and 7 have no votes of their own."""
    scribe = FinalScribe(CHANGING)
    for index in range(1, 12):
        moving = [staking(100, ledger=CHANGING.ledger_id)] if index == 3 else []
        scribe.forge(*moving, is_finalized=index not in (2, 6, 7))
    return scribe


@pytest.fixture(params=["memory", "store"])
def kept_by_votes(request: pytest.FixtureRequest, agreed: FinalScribe, tmp_path: Path) -> Iterator[FullArchive]:
    if request.param == "memory":
        yield agreed.archive
        return
    with Store.create(tmp_path / "chain.db", CHANGING) as store:
        for kept in agreed.kept:
            store.append(kept)
        yield store


def test_an_archive_knows_what_is_proven_final_and_where_epochs_end(
    kept_by_votes: FullArchive, agreed: FinalScribe
) -> None:
    archive = kept_by_votes
    assert archive.tip_index == 11
    assert [archive.finalized_from(index) for index in (0, 1, 2, 6, 11, 12)] == [1, 1, 3, 8, 11, None]
    assert [archive.finalization(index) is not None for index in (1, 2, 12)] == [True, False, False]
    assert [archive.epoch_ends(epoch, 9) for epoch in (0, 1, 2)] == [[4, 8], [8], []]
    assert archive.epoch_ends(0, 1) == [4]
    changed = archive.voters(1)
    assert changed is not None
    assert dict(changed)[ADA.public_key] == 200
    assert [archive.voters(epoch) for epoch in (0, 2, 9)] == [None, changed, changed]
    fourth, eighth, last = (archive.final_header(index) for index in (4, 8, 11))
    assert fourth is not None
    assert eighth is not None
    finalization = archive.finalization(4)
    assert finalization is not None
    assert fourth == FinalHeader(agreed.blocks[3].header, finalization, agreed.kept[3].roots, changed)
    assert (eighth.roots, eighth.members) == (agreed.kept[7].roots, None)
    assert last is not None
    assert (last.roots, last.members) == (None, None)
    assert archive.final_header(2) is archive.final_header(0) is archive.final_header(12) is None


# ---- what is answered from it -----------------------------------------------------------------------------------


def asked_blocks(archive: FullArchive, start: int, count: int, most_bytes: int = 1 << 20) -> tuple[list[int], ...]:
    """Indexes of the blocks and the headers that are answered, and of what the votes with them finalize."""
    message = answer(archive, BlockRequest(start, count), most_bytes)
    assert isinstance(message, Blocks)
    assert message.start == start
    path = [*(block.header for block in message.blocks), *message.headers]
    hashes = {block.hash: block.index for block in archive.blocks()}
    proven = [hashes[message.finalization.ballot.block_hash]] if message.finalization else []
    assert not proven or proven == [path[-1].index]
    return [block.index for block in message.blocks], [header.index for header in message.headers], proven


def test_blocks_are_answered_up_to_what_proves_them_and_never_beyond_their_epoch(kept_by_votes: FullArchive) -> None:
    archive = kept_by_votes
    assert asked_blocks(archive, 1, 2) == ([1, 2], [3], [3])
    assert asked_blocks(archive, 2, 2) == ([2, 3], [], [3])
    assert asked_blocks(archive, 3, 9) == ([3, 4], [], [4])
    assert asked_blocks(archive, 4, 1) == ([4], [], [4])
    assert asked_blocks(archive, 5, 2) == ([5, 6], [7, 8], [8])
    assert asked_blocks(archive, 9, 64) == ([9, 10, 11], [], [11])
    assert asked_blocks(archive, 5, 4, most_bytes=1) == ([5], [6, 7, 8], [8])
    assert asked_blocks(archive, 1, 256, most_bytes=1) == ([1], [2, 3, 4], [4])
    assert asked_blocks(archive, 12, 3) == asked_blocks(archive, 0, 3) == ([], [], [])


def test_of_blocks_that_an_answer_has_no_room_for_headers_are_read(
    kept_by_votes: FullArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request for many large blocks costs no more than the answer."""
    read, blocks = list[int](), kept_by_votes.blocks

    def noted(start: int = 1) -> Iterator[Block]:
        for block in blocks(start):
            read.append(block.index)
            yield block

    monkeypatch.setattr(kept_by_votes, "blocks", noted)
    message = answer(kept_by_votes, BlockRequest(5, 256), 1)
    assert isinstance(message, Blocks)
    assert [header.index for header in message.headers] == [6, 7, 8]
    assert read == [5, 6]
    assert answer(kept_by_votes, HeaderRequest(8, 8), 1) != Headers(())
    assert read == [5, 6]


def test_headers_lead_only_so_far(kept_by_votes: FullArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.network.archiving.MAX_HEADERS", 3)
    assert asked_blocks(kept_by_votes, 5, 2) == ([5, 6], [7, 8], [8])
    monkeypatch.setattr("tallystick.network.archiving.MAX_HEADERS", 2)
    assert asked_blocks(kept_by_votes, 5, 2) == ([5], [], [5])
    assert asked_blocks(kept_by_votes, 6, 1) == ([6], [7, 8], [8])


def test_blocks_of_a_tip_without_votes_are_answered_as_far_as_they_are_proven(archive: FullArchive) -> None:
    """A node that came by a trusted block has blocks that it cannot prove."""
    scribe = FinalScribe(GENESIS)
    for index in range(1, 7):
        scribe.forge(is_finalized=index == 3)
        archive.append(scribe.kept[-1])
    assert asked_blocks(archive, 1, 6) == ([1, 2, 3], [], [3])
    assert asked_blocks(archive, 4, 3) == ([4, 5, 6], [], [])
    assert asked_blocks(archive, 4, 3, most_bytes=1) == ([4], [5, 6], [])


def test_a_lone_forgers_blocks_are_answered_without_votes(archive: FullArchive) -> None:
    for block in Scribe().forge_many(5):
        keep(archive, block)
    assert asked_blocks(archive, 2, 3) == ([2, 3, 4], [], [])


def finalizations(archive: FullArchive, epoch: int, most_bytes: int = 1 << 20) -> list[int]:
    message = answer(archive, FinalizationRequest(epoch), most_bytes)
    assert isinstance(message, Finalizations)
    assert all((proof.roots is None) == (proof.header.index == 11) for proof in message.proofs)
    return [proof.header.index for proof in message.proofs]


def test_the_ends_of_epochs_and_the_tip_are_proven_one_after_the_other(kept_by_votes: FullArchive) -> None:
    assert [finalizations(kept_by_votes, epoch) for epoch in (0, 1, 2, 3)] == [[4, 8, 11], [8, 11], [11], []]
    assert [finalizations(kept_by_votes, 0, most_bytes) for most_bytes in (0, 2_500)] == [[4], [4, 8]]


def test_what_comes_after_an_end_that_cannot_be_proven_is_not_proven_either(archive: FullArchive) -> None:
    scribe = FinalScribe(found(epoch_blocks=2))
    for index in range(1, 8):
        scribe.forge(is_finalized=index != 4)
        archive.append(scribe.kept[-1])
    assert [archive.epoch_ends(0, 9), archive.final_header(4)] == [[2, 4, 6], None]
    for epoch, proven in ((0, [2]), (1, []), (2, [6, 7])):
        message = answer(archive, FinalizationRequest(epoch), 1 << 20)
        assert isinstance(message, Finalizations)
        assert [proof.header.index for proof in message.proofs] == proven


def certificates(archive: FullArchive, epoch: int, first: int, last: int, most_bytes: int = 1 << 20) -> list[Tally]:
    message = answer(archive, ViewCertificateRequest(epoch, first, last), most_bytes)
    if message is None:
        return []
    assert isinstance(message, Votes)
    decode_message(encode_message(message))
    return list(message.tallies)


def test_view_certificates_are_answered_newest_first_and_merged_by_ballot(archive: FullArchive) -> None:
    nullify = {view: [vote(NULLIFY, member=one, view=view) for one in (ADA, BEN, CY)] for view in (5, 6, 8)}
    notarize = [vote(NOTARIZE, b"b" * 32, one, view=6) for one in (ADA, CY)]
    kept = [*(tally_of(votes[:2]) for votes in nullify.values()), tally_of(notarize)]
    archive.keep_votes([*kept, tally_of([vote(FINALIZE, b"b" * 32, CY, view=6)])], [])
    archive.keep_votes([tally_of(votes[1:]) for votes in nullify.values()], [])
    whole = {view: tally_of(votes) for view, votes in nullify.items()}
    assert certificates(archive, 0, 5, 9) == [whole[8], whole[6], tally_of(notarize), whole[5]]
    assert certificates(archive, 0, 6, 7) == [whole[6], tally_of(notarize)]
    assert certificates(archive, 0, 5, 9, most_bytes=1) == [whole[8]]
    assert certificates(archive, 0, 9, 5) == certificates(archive, 0, 9, 20) == certificates(archive, 1, 5, 9) == []


def test_the_newest_finalization_of_an_epoch_stands_for_the_certificates_below_it(kept_by_votes: FullArchive) -> None:
    """Views are those of the blocks: 1 to 4 in an epoch."""
    archive = kept_by_votes
    nullifications = [
        tally_of([vote(NULLIFY, member=ADA, epoch=epoch, view=view, genesis=CHANGING)])
        for epoch in (1, 2)
        for view in (1, 2, 3, 4, 5)
    ]
    archive.keep_votes(nullifications, [])
    ended, tip = archive.finalization(8), archive.finalization(11)
    assert certificates(archive, 2, 1, 9) == [nullifications[9], nullifications[8], tip]
    assert certificates(archive, 2, 4, 9) == [nullifications[9], nullifications[8]]
    assert certificates(archive, 2, 1, 2) == certificates(archive, 2, 3, 3) == [tip]
    assert certificates(archive, 1, 1, 9) == [nullifications[4], ended]
    assert certificates(archive, 3, 1, 9) == []


def test_headers_and_payloads_are_answered_from_what_is_kept(archive: FullArchive) -> None:
    scribe, entries = Scribe(), [with_payload(str(number)) for number in range(4)]
    for entry in entries[:3]:
        keep(archive, scribe.forge(entry.certificate), [entry.payload])
    headers = answer(archive, HeaderRequest(3, 2), 1 << 20)
    assert headers == Headers(tuple(block.header for block in scribe.blocks[1:]))
    assert answer(archive, HeaderRequest(9, 2), 1 << 20) == Headers(())
    hashes = tuple(entry.payload.hash() for entry in reversed(entries))
    payloads = [entry.payload for entry in entries[2::-1]]
    for most_bytes, sent in ((1 << 20, payloads), (1, payloads[:1])):
        assert answer(archive, PayloadRequest(hashes), most_bytes) == Payloads(tuple(sent))


def test_what_a_node_asks_for_is_kept_or_forgotten(archive: FullArchive) -> None:
    block, entry, other = Scribe().forge(), with_payload("waits"), with_payload("late")
    record = sign_address(ADA, GENESIS.ledger_id, "ada:1", 1)
    nullify = tally_of([vote(NULLIFY)])
    changes: list[ArchiveChange] = [
        PersistCertificates((entry, Entry(other.certificate))),
        PersistPayload(other.payload),
        ForgetCertificate(entry.certificate.id),
        ErasePayload(entry.payload.hash()),
        PersistAddress(record),
        PersistQuorum((nullify,), (block,)),
    ]
    for change in changes:
        carry_out(change, archive)
    assert list(archive.waiting()) == [other]
    assert list(archive.erased()) == [entry.payload.hash()]
    assert list(archive.addresses()) == [record]
    assert (list(archive.votes(0)), list(archive.proposals())) == ([nullify], [block])
    carry_out(PersistBlock(block, (), oldest_epoch=1), archive)
    assert (list(archive.votes(0)), list(archive.proposals()), list(archive.blocks())) == ([], [], [block])
