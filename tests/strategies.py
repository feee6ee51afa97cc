"""Hypothesis strategies for what travels and what is signed; signatures are arbitrary bytes."""

import msgspec
from hypothesis import strategies as st

from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Payload, ProposalEvidence, StakingOperation, Statement, VoteEvidence
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.fields import MAX_INDEX, MAX_TIMESTAMP_MS, MAX_TOKENS
from tallystick.ledger.finality import FinalHeader
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.messages import (
    MAX_HEADERS,
    MAX_RANGE_BLOCKS,
    Addresses,
    BlockRequest,
    Blocks,
    CertificateRequest,
    Certificates,
    CosignatureRequest,
    Cosignatures,
    Entry,
    FinalizationRequest,
    Finalizations,
    HeaderRequest,
    Headers,
    NewBlock,
    PayloadRequest,
    Payloads,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    Prune,
    RecoveryRequest,
    RecoveryResponse,
    Status,
    ViewCertificateRequest,
    Votes,
)
from tallystick.ledger.vote import Ballot, Tally, Vote

digests = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
times = st.integers(0, MAX_TIMESTAMP_MS)
indexes = st.integers(0, MAX_INDEX)
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)
payloads = st.builds(Payload, salt=digests, subject=texts, media_type=texts, content=st.binary(max_size=300))
ballots = st.builds(Ballot, kind=st.integers(1, 3), epoch=indexes, view=indexes, block_hash=digests)
votes = st.builds(Vote, ballot=ballots, member=digests, signature=signatures)
tallies = st.builds(
    Tally,
    ballot=ballots,
    signatures=st.lists(st.tuples(digests, signatures), min_size=1, max_size=4).map(tuple),
)
headers = st.builds(
    Header,
    version=st.integers(1, 255),
    ledger_id=digests,
    epoch=indexes,
    index=indexes,
    view=indexes,
    parent_hash=digests,
    timestamp_ms=times,
    forger=digests,
    certificates_hash=digests,
    state_root=digests,
    nonce=st.integers(0, 2**63 - 1),
)
signed_headers = st.builds(SignedHeader, header=headers, signature=signatures)
certificates = st.one_of(
    st.builds(
        Statement,
        issuer=digests,
        timestamp_ms=times,
        subject=texts,
        payload_hash=st.none() | digests,
        signature=signatures,
    ),
    st.builds(
        StakingOperation,
        issuer=digests,
        timestamp_ms=times,
        subject=texts,
        payload_hash=st.none() | digests,
        amount=st.integers(-MAX_TOKENS, MAX_TOKENS),
        signature=signatures,
    ),
    *(
        st.builds(
            kind,
            issuer=digests,
            timestamp_ms=times,
            subject=texts,
            payload_hash=st.none() | digests,
            first=signed,
            second=signed,
            signature=signatures,
        )
        for kind, signed in ((VoteEvidence, votes), (ProposalEvidence, signed_headers))
    ),
)
blocks = st.builds(
    Block, header=headers, signature=signatures, certificates=st.lists(certificates, max_size=3).map(tuple)
)

_labels = st.text("abcXYZ019", min_size=1, max_size=9)
_hosts = st.one_of(
    st.lists(_labels, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
)
addresses = st.builds("{}:{}".format, _hosts, st.integers(1, 65_535))
address_records = st.builds(AddressRecord, key=digests, address=addresses, time_ms=times, signature=signatures)

cosignatures = st.builds(
    Cosignature,
    size=indexes,
    root=digests,
    member=digests,
    time_s=st.integers(0, 2**43),
    signature=signatures,
    log_signature=signatures,
)


def _some(strategy, **bounds):
    return st.lists(strategy, max_size=4, **bounds).map(tuple)


messages = st.one_of(
    st.builds(Status, ledger_id=digests, epoch=indexes, tip_index=indexes, tip_hash=digests, waiting=_some(digests)),
    st.builds(
        Certificates,
        entries=_some(st.builds(Entry, certificate=certificates, payload=st.none() | payloads), min_size=1),
    ),
    st.builds(CertificateRequest, ids=_some(digests)),
    st.builds(NewBlock, block=blocks),
    st.builds(BlockRequest, start=indexes, count=st.integers(1, MAX_RANGE_BLOCKS)),
    st.builds(Blocks, start=indexes, blocks=_some(blocks), headers=_some(headers), finalization=st.none() | tallies),
    st.builds(PayloadRequest, hashes=_some(digests)),
    st.builds(Payloads, payloads=_some(payloads)),
    st.builds(Prune),
    st.builds(Addresses, records=_some(address_records, min_size=1)),
    st.builds(Cosignatures, cosignatures=_some(cosignatures, min_size=1)),
    st.builds(CosignatureRequest),
    st.builds(Votes, tallies=_some(tallies, min_size=1)),
    st.builds(RecoveryRequest, member=digests, nonce=digests, signature=signatures),
    st.builds(
        RecoveryResponse,
        member=digests,
        asker=digests,
        nonce=digests,
        epoch=indexes,
        view=indexes,
        entered_by=st.none() | tallies,
        votes=_some(tallies),
        signature=signatures,
    ),
    st.builds(
        Proposal,
        view=indexes,
        parent_view=st.none() | indexes,
        header=headers,
        signature=signatures,
        ids=st.none() | _some(digests),
    ),
    st.builds(ProposalRequest, block_hash=digests, ids=_some(digests)),
    st.builds(ProposalCertificates, block_hash=digests, certificates=_some(certificates)),
    st.builds(FinalizationRequest, epoch=indexes),
    st.builds(Finalizations, proofs=_some(st.builds(FinalHeader, header=headers, finalization=tallies))),
    st.builds(HeaderRequest, last=indexes, count=st.integers(1, MAX_HEADERS)),
    st.builds(Headers, headers=_some(headers)),
    st.builds(ViewCertificateRequest, epoch=indexes, first=indexes, last=indexes),
)

_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | digests | signatures | texts,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=25,
)
messagepack = _plain.map(msgspec.msgpack.encode)
"""MessagePack of any shape."""
