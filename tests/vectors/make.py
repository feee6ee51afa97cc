"""Writes the frozen vectors: `python -m tests.vectors.make`. A changed vector is a changed format."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, replace

from tallystick.consensus.proof_of_stake import draw
from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block, genesis_block
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    Erasure,
    ErasureConfirmation,
    KeyChange,
    Motion,
    Objection,
    Payload,
    ProposalEvidence,
    Revocation,
    StakingOperation,
    Statement,
    Supersession,
    VoteEvidence,
    certificates_hash,
    issue,
    issue_evidence,
    issue_stake,
    issue_statement,
    sign_certificate,
)
from tallystick.ledger.changes import (
    AddIssuer,
    Admit,
    AnyChange,
    AnyKeyOperation,
    Effect,
    EndIssuer,
    Erase,
    Reason,
    Remove,
    Rename,
    ReplaceMemberKey,
    Role,
    RotateMemberKey,
    SetCompromised,
    SetMemberRole,
    SetMlDsaKey,
    SetOrganisationKey,
    SetParameter,
    SetStakes,
    SetStatus,
    StakeChange,
    StopRotation,
    sign_admission,
)
from tallystick.ledger.checkpoint import Checkpoint, MlDsaCosignature, cosign
from tallystick.ledger.continuation import Continuation, OldVoter
from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.fields import MAX_INDEX, MAX_TIMESTAMP_MS, MAX_TOKENS, UNSIGNED, ZERO_DIGEST
from tallystick.ledger.finality import FinalHeader
from tallystick.ledger.genesis import Allotment, Founder, Genesis, continuing, make_genesis
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.messages import (
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
    Message,
    MlDsaCosignatures,
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
    encode_message,
)
from tallystick.ledger.names import FOLDING_HASH, fold
from tallystick.ledger.params import Params
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.state import State
from tallystick.ledger.transition import make_header
from tallystick.ledger.trie import Trie
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet, sign
from tallystick.network.archiving import sign_address
from tests.builders import sign_block
from tests.log_proofs import consistency_proof, inclusion_proof, root
from tests.vectors import names, signatures

FOLDER = Path(__file__).parent
_CREATED_MS = 1_750_000_000_000

WALLETS = [Wallet(bytes([number]) * 32) for number in (1, 2, 3)]
_ONE, _TWO, _THREE = WALLETS
_MORE = [Wallet(bytes([number]) * 32) for number in (4, 5, 6, 7)]

GENESES = [
    make_genesis("vectors", _CREATED_MS, [Allotment(one.public_key, 1_000, 100 * n) for n, one in enumerate(WALLETS)]),
    make_genesis(
        "Cours d’été",
        0,
        [],
        Params(
            forge_at_certificates=5,
            min_block_certificates=0,
            certificate_ahead_ms=None,
            block_ahead_ms=None,
            epoch_blocks=MAX_INDEX,
            epoch_ms=MAX_TIMESTAMP_MS,
            unbonding_blocks=0,
            unbonding_ms=0,
            mint_freely=True,
            admits_observers=False,
        ),
    ),
    make_genesis(
        "states",
        _CREATED_MS,
        [Allotment(one.public_key, 1_000, 100 * n) for n, one in enumerate(WALLETS)],
        Params(epoch_blocks=3, epoch_ms=30, unbonding_blocks=6, unbonding_ms=60),
    ),
    make_genesis(
        "governed",
        _CREATED_MS,
        (),
        Params(anybody_certifies=False, rotation_delay_ms=50),
        [
            Founder("north", "University of the North", "north.example", _ONE.public_key, Role.MEMBER, 100),
            Founder("south", "Université du Sud", None, _TWO.public_key, Role.MEMBER, 100),
            Founder("west", "West", None, _THREE.public_key, Role.VOTER, 50),
        ],
    ),
]
_NORTH = Founder("north", "University of the North", None, _ONE.public_key, Role.MEMBER, 100)
_OLD_VOTERS = [
    OldVoter(_ONE.public_key, 100, "north"),
    OldVoter(_TWO.public_key, 100, "south"),
    OldVoter(_THREE.public_key, 50, None),
]
GENESES.append(
    continuing(
        make_genesis("governed, continued", _CREATED_MS + 1_000, (), Params(anybody_certifies=False), [_NORTH]),
        Continuation(
            ledger_id=GENESES[3].ledger_id,
            name="governed",
            index=7,
            block_hash=bytes([7]) * 32,
            timestamp_ms=_CREATED_MS + 900,
            log_size=21,
            log_root=bytes([21]) * 32,
            voters=tuple(sorted(_OLD_VOTERS, key=lambda one: one.key)),
        ),
        [_ONE, _THREE],
    )
)
GENESIS = GENESES[0]
_LEDGER = GENESIS.ledger_id

PAYLOADS = [
    Payload(bytes(range(32)), "", "text/plain", b"hello"),
    Payload(bytes(32), "", "", b""),
    Payload(b"\xff" * 32, "", "application/octet-stream", bytes(range(256)) * 2),
]
EPOCHS = [
    Epoch(0, GENESIS.stakes(), 1, _CREATED_MS),
    Epoch(7, StakeTable({_THREE.public_key: Account(5, MAX_TOKENS - 5)}), 701, _CREATED_MS + 1),
]
VOTES = [
    cast(_ONE, _LEDGER, Ballot(NOTARIZE, 0, 1, b"\xaa" * 32)),
    cast(_ONE, _LEDGER, Ballot(NOTARIZE, 0, 1, b"\xbb" * 32)),
    cast(_TWO, _LEDGER, Ballot(NULLIFY, 0, 128, ZERO_DIGEST)),
    cast(_TWO, _LEDGER, Ballot(FINALIZE, 0, 128, b"\xbb" * 32)),
    cast(_TWO, _LEDGER, Ballot(NOTARIZE, 0, 128, b"\xaa" * 32)),
    cast(_THREE, _LEDGER, Ballot(FINALIZE, MAX_INDEX, MAX_INDEX, b"\xff" * 32)),
]
TALLIES = [
    tally_of(cast(one, _LEDGER, Ballot(FINALIZE, 0, 3, b"\xcc" * 32)) for one in WALLETS),
    tally_of(VOTES[:1]),
]


def _header(index: int, forger: Wallet, certificates: list[AnyCertificate], **more: Any) -> Header:
    fields = {
        "epoch": 0,
        "view": index,
        "parent_hash": b"\xaa" * 32,
        "timestamp_ms": _CREATED_MS + 10 * index,
        "certificates_hash": certificates_hash(certificates),
        "state_root": bytes([index]) * 32,
        **more,
    }
    return Header(version=1, ledger_id=_LEDGER, index=index, forger=forger.public_key, **fields)


def _signed(nonce: int) -> SignedHeader:
    return sign_block(_header(130, _TWO, [], view=200, nonce=nonce), [], _TWO).signed_header


CERTIFICATES: list[AnyCertificate] = [
    issue_statement(_ONE, _LEDGER, _CREATED_MS + 1, "a statement"),
    issue_statement(_TWO, _LEDGER, 0, ""),
    issue_statement(_TWO, _LEDGER, _CREATED_MS + 2, "Zoë — 密码 🔑", PAYLOADS[0]),
    issue_statement(_THREE, _LEDGER, MAX_TIMESTAMP_MS, "x" * 256, PAYLOADS[1]),
    issue_stake(_ONE, _LEDGER, _CREATED_MS + 3, 127),
    issue_stake(_ONE, _LEDGER, _CREATED_MS + 3, -128),
    issue_stake(_TWO, _LEDGER, _CREATED_MS + 4, MAX_TOKENS),
    issue_stake(_TWO, _LEDGER, _CREATED_MS + 4, -MAX_TOKENS),
    sign_certificate(
        StakingOperation(_THREE.public_key, _CREATED_MS + 5, "with a payload", PAYLOADS[2].hash(), 70_000),
        _THREE,
        _LEDGER,
    ),
    issue_evidence(_THREE, _LEDGER, _CREATED_MS + 6, VOTES[0], VOTES[1]),
    issue_evidence(_THREE, _LEDGER, _CREATED_MS + 6, VOTES[2], VOTES[3]),
    issue_evidence(_THREE, _LEDGER, _CREATED_MS + 7, _signed(0), _signed(2**63 - 1)),
]


def _admission(wallet: Wallet, organisation: str, ledger_id: bytes = _LEDGER) -> tuple[bytes, bytes]:
    """A key, and its signature for its own admission."""
    return wallet.public_key, sign_admission(wallet, ledger_id, organisation)


def _changes(ledger_id: bytes) -> list[AnyChange]:
    """Each kind of change that a motion may be about."""
    key, admitted = _admission(_MORE[0], "east", ledger_id)
    after, admitted_after = _admission(_MORE[1], "south", ledger_id)
    return [
        Admit("east", "East & Co", "east.example.org", key, Role.VOTER, 7, admitted),
        Remove("west", 50),
        SetStakes((StakeChange("north", 100, 1), StakeChange("south", 100, MAX_TOKENS - 1))),
        ReplaceMemberKey("south", _TWO.public_key, after, None, admitted_after),
        ReplaceMemberKey("south", _TWO.public_key, after, 3, admitted_after),
        SetOrganisationKey("south", None, after, admitted_after),
        SetOrganisationKey("south", after, None, None),
        Rename("south", "Université du Sud", "South", None, "south.example"),
        SetParameter("anybody_certifies", 0, 1),
        SetParameter("block_ahead_ms", None, 500),
        SetStatus(b"\xaa" * 32, Effect.VOID, Reason.FRAUD),
        StopRotation("south", after),
        Erase(b"\xaa" * 32),
        SetCompromised(after, None, 3),
        SetCompromised(after, 3, 0),
    ]


_ML_DSA_KEY = sha256(b"not a key").digest() * 41
"""1,312 bytes: the form is all that a ledger asks of a key of ML-DSA-44."""


def _operations(ledger_id: bytes) -> list[AnyKeyOperation]:
    """Each kind of what an organisation does with its own keys."""
    key, admitted = _admission(_MORE[2], "north", ledger_id)
    return [
        AddIssuer("north", key, "Registry", None, admitted),
        AddIssuer("north", key, "", MAX_TIMESTAMP_MS, admitted),
        EndIssuer(key, None),
        EndIssuer(key, 1),
        RotateMemberKey("north", _ONE.public_key, key, None, admitted),
        SetMemberRole(_ONE.public_key, Role.VOTER),
        SetMlDsaKey(_ONE.public_key, _ML_DSA_KEY),
        SetMlDsaKey(_ONE.public_key, None),
    ]


CERTIFICATES += [issue(Motion, _ONE, _LEDGER, _CREATED_MS + 8, one, _CREATED_MS + 9) for one in _changes(_LEDGER)]
CERTIFICATES += [issue(KeyChange, _ONE, _LEDGER, _CREATED_MS + 8, one) for one in _operations(_LEDGER)]
CERTIFICATES += [
    issue(Approval, _TWO, _LEDGER, _CREATED_MS + 9, CERTIFICATES[12].id),
    issue(Objection, _TWO, _LEDGER, _CREATED_MS + 9, CERTIFICATES[12].id),
    issue(Revocation, _ONE, _LEDGER, _CREATED_MS + 9, CERTIFICATES[0].id, Effect.REVOKED, Reason.MISTAKE),
    issue(Revocation, _ONE, _LEDGER, _CREATED_MS + 9, CERTIFICATES[0].id, Effect.VOID, Reason.UNSPECIFIED),
    issue(Supersession, _TWO, _LEDGER, _CREATED_MS + 9, CERTIFICATES[1].id, CERTIFICATES[2].id),
    issue(Erasure, _ONE, _LEDGER, _CREATED_MS + 9, CERTIFICATES[0].id),
    issue(ErasureConfirmation, _TWO, _LEDGER, 0, CERTIFICATES[1].id, CERTIFICATES[0].id),
]
_KINDS = {
    Statement: 1,
    StakingOperation: 2,
    VoteEvidence: 3,
    ProposalEvidence: 4,
    Motion: 5,
    Approval: 6,
    Objection: 7,
    KeyChange: 8,
    Revocation: 9,
    Supersession: 10,
    Erasure: 11,
    ErasureConfirmation: 12,
}


def _block(index: int, parent: bytes, certificates: list[AnyCertificate]) -> Block:
    forger = WALLETS[index % len(WALLETS)]
    return sign_block(_header(index, forger, certificates, parent_hash=parent, nonce=index**20), certificates, forger)


BLOCKS = [genesis_block(GENESIS)]
for _chosen in (CERTIFICATES[:1], CERTIFICATES[1:4], CERTIFICATES[4:12], [], CERTIFICATES[12:]):
    BLOCKS.append(_block(len(BLOCKS), BLOCKS[-1].hash, list(_chosen)))

_STATES_LEDGER = GENESES[2].ledger_id


def _contradiction(epoch: int) -> AnyCertificate:
    votes = [cast(_TWO, _STATES_LEDGER, Ballot(NOTARIZE, epoch, 1, block * 32)) for block in (b"\xaa", b"\xbb")]
    return issue_evidence(_THREE, _STATES_LEDGER, _CREATED_MS, *votes)


_FORGED: list[tuple[int, list[AnyCertificate]]] = [
    (1, [issue_statement(_ONE, _STATES_LEDGER, _CREATED_MS, "a statement")]),
    (2, [issue_stake(_ONE, _STATES_LEDGER, 0, 50), issue_stake(_TWO, _STATES_LEDGER, 0, -30)]),
    (30, [issue_statement(_ONE, _STATES_LEDGER, _CREATED_MS, "epoch 0 ends: blocks and time are over")]),
    (31, [_contradiction(0), issue_stake(_THREE, _STATES_LEDGER, 1, -10)]),
    (60, [issue_statement(_TWO, _STATES_LEDGER, _CREATED_MS, "epoch 1 ends: time is over, stakes changed")]),
    (61, [issue_stake(_THREE, _STATES_LEDGER, 2, -10)]),
    (200, [issue_statement(_ONE, _STATES_LEDGER, _CREATED_MS, "epoch 2 ends: time is over, stakes changed")]),
    (201, [issue_stake(_ONE, _STATES_LEDGER, 3, 1)]),
    (231, [issue_statement(_ONE, _STATES_LEDGER, _CREATED_MS, "epoch 3 ends, evidence of epoch 0 is over")]),
]


def _governed() -> list[tuple[int, list[AnyCertificate]]]:
    """Blocks of the ledger with organisations: motions that pass and close, keys, a rotation, revocations."""
    ledger_id = GENESES[3].ledger_id

    def made(kind: type[Any], wallet: Wallet, ms: int, *fields: Any) -> Any:
        return issue(kind, wallet, ledger_id, _CREATED_MS + ms, *fields)

    changes = [_changes(ledger_id)[place] for place in (0, 1, 7)]
    admission, removal, renaming = (made(Motion, _ONE, 1, one, _CREATED_MS + 10**6) for one in changes)
    adding, rotating = _operations(ledger_id)[0], _operations(ledger_id)[4]
    new, admitted = _admission(_MORE[3], "north", ledger_id)
    ending = EndIssuer(_MORE[2].public_key, 2)
    rotation = replace(rotating, after=new, admitted=admitted)
    first, second = (issue_statement(_MORE[2], ledger_id, _CREATED_MS, f"diploma {number}") for number in (1, 2))
    third = issue_statement(_TWO, ledger_id, _CREATED_MS, "diploma 3")
    erasure = made(Erasure, _TWO, 5, third.id)
    confirmation = issue(ErasureConfirmation, _TWO, ledger_id, 0, erasure.id, third.id)
    return [
        (1, [made(KeyChange, _ONE, 1, adding), first, second, third]),
        (2, [admission, removal, made(Objection, _THREE, 2, removal.id)]),
        (3, [made(Supersession, _MORE[2], 3, first.id, second.id), made(Approval, _TWO, 3, admission.id)]),
        (4, [made(Objection, _TWO, 4, removal.id), made(Revocation, _TWO, 4, third.id, Effect.VOID, Reason.FRAUD)]),
        (
            5,
            [renaming, made(KeyChange, _ONE, 5, rotation), made(KeyChange, _ONE, 5, ending), erasure],
        ),
        (55, [confirmation, made(Revocation, _ONE, 55, first.id, Effect.REVOKED, Reason.KEY_COMPROMISED)]),
        (56, [made(KeyChange, _TWO, 56, SetMlDsaKey(_TWO.public_key, _ML_DSA_KEY))]),
        (57, [made(KeyChange, _TWO, 57, SetMlDsaKey(_TWO.public_key, None))]),
    ]


def _states(genesis: Genesis, forged: list[tuple[int, list[AnyCertificate]]]) -> list[tuple[State, Block]]:
    """Each block of a chain, with the state that it leads to."""
    chain = Blockchain(genesis, lambda state, header: None)
    states = [(chain.state, genesis_block(genesis))]
    for time_ms, certificates in forged:
        view, now_ms, find = chain.state.index + 1, _CREATED_MS + time_ms, chain.finder()
        header = make_header(chain.state, view, now_ms, _ONE.public_key, certificates, find)
        block = sign_block(header, certificates, _ONE)
        chain.append(block)
        states.append((chain.state, block))
    return states


STATES = _states(GENESES[2], _FORGED)
GOVERNED = _states(GENESES[3], _governed())

ADDRESSES = [
    sign_address(_ONE, _LEDGER, "node.example.org:1", 0),
    sign_address(_TWO, _LEDGER, "192.0.2.7:7420", _CREATED_MS),
    sign_address(_THREE, _LEDGER, "[2001:db8::7]:65535", MAX_TIMESTAMP_MS),
]

COSIGNATURES = [cosign(key, Checkpoint(GENESIS.origin, 3, b"\x33" * 32), _CREATED_MS // 1000) for key in (_ONE, _TWO)]
_IDS = tuple(one.id for one in CERTIFICATES)
MESSAGES: list[Message] = [
    Status(_LEDGER, 1, 3, BLOCKS[3].hash, _IDS),
    Status(_LEDGER, 0, 0, BLOCKS[0].hash, ()),
    Certificates((Entry(CERTIFICATES[2], PAYLOADS[0]), Entry(CERTIFICATES[2]), Entry(CERTIFICATES[4]))),
    CertificateRequest(_IDS[:2]),
    NewBlock(BLOCKS[2]),
    BlockRequest(1, 256),
    Blocks(1, tuple(BLOCKS[1:])),
    Blocks(70_000, ()),
    PayloadRequest((PAYLOADS[0].hash(),)),
    Payloads(tuple(PAYLOADS)),
    Blocks(1, tuple(BLOCKS[1:2]), (BLOCKS[2].header,), TALLIES[0]),
    Votes(tuple(TALLIES)),
    sign(RecoveryRequest(_ONE.public_key, b"\xdd" * 32), _ONE, _LEDGER),
    sign(RecoveryResponse(_TWO.public_key, _ONE.public_key, b"\xdd" * 32, 0, 1, None, ()), _TWO, _LEDGER),
    sign(
        RecoveryResponse(_TWO.public_key, _ONE.public_key, b"\xdd" * 32, 0, 4, TALLIES[0], tuple(TALLIES[1:])),
        _TWO,
        _LEDGER,
    ),
    Proposal(1, None, BLOCKS[1].header, BLOCKS[1].signature, _IDS[:1]),
    Proposal(7, 6, BLOCKS[1].header, BLOCKS[1].signature, None),
    ProposalRequest(BLOCKS[1].hash, _IDS[:1]),
    ProposalCertificates(BLOCKS[1].hash, tuple(CERTIFICATES[:1])),
    FinalizationRequest(7),
    Finalizations(()),
    Finalizations(
        (
            FinalHeader(STATES[3][1].header, TALLIES[0], STATES[3][0].roots, EPOCHS[0].members),
            FinalHeader(STATES[3][1].header, TALLIES[0], STATES[3][0].roots),
            FinalHeader(BLOCKS[1].header, TALLIES[1]),
        )
    ),
    HeaderRequest(70_000, 1_024),
    Headers(()),
    Headers((BLOCKS[0].header, BLOCKS[1].header)),
    Prune(),
    Addresses(tuple(ADDRESSES[:1])),
    Addresses(tuple(ADDRESSES)),
    Cosignatures(tuple(COSIGNATURES)),
    CosignatureRequest(),
    MlDsaCosignatures((MlDsaCosignature(3, b"\x33" * 32, _ONE.public_key, _CREATED_MS // 1000, b"\x44" * 2_420),)),
    ViewCertificateRequest(3, 1, 70_000),
]
SIGNATURES = signatures.vectors()
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]

_KEYS = [digest(bytes([number])) for number in range(9)]
ENTRIES: list[dict[bytes, bytes]] = [
    {},
    {_KEYS[0]: b""},
    {bytes(32): b"bit 0 is 0", b"\x80" + bytes(31): b"bit 0 is 1"},
    {b"\xff" * 31 + b"\xfe": b"bit 255 is 0", b"\xff" * 32: b"bit 255 is 1"},
    {key: b"value %d" % number for number, key in enumerate(_KEYS[:8])},
    {bytes(31) + bytes([number]): bytes([number]) * number for number in (0, 1, 2, 4, 8, 128)},
]


def _plain(value: Any) -> Any:
    """The same in what JSON has: bytes as hex, structs as objects."""
    match value:
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case None | bool() | int() | str():
            return value
        case struct:
            return {name: _plain(item) for name, item in asdict(struct).items()}


def _wallet(wallet: Wallet, seed: int) -> dict[str, Any]:
    return {"seed": (bytes([seed]) * 32).hex(), "public_key": wallet.public_key.hex()}


def _payload(payload: Payload) -> dict[str, Any]:
    return {"fields": _plain(payload), "encoded": encode(payload).hex(), "hash": payload.hash().hex()}


def _certificate(certificate: AnyCertificate) -> dict[str, Any]:
    return {
        "kind": _KINDS[type(certificate)],
        "fields": _plain(certificate),
        "unsigned": replace(certificate, signature=UNSIGNED).encoded.hex(),
        "body": certificate.body.hex(),
        "id": certificate.id.hex(),
        "signed_bytes": certificate.signed_bytes(_LEDGER).hex(),
        "encoded": certificate.encoded.hex(),
        "leaf_hash": certificate.leaf_hash.hex(),
    }


def _epoch(epoch: Epoch) -> dict[str, Any]:
    return {
        "number": epoch.number,
        "members": [{"member": key.hex(), "staked": staked} for key, staked in epoch.members],
        "encoded": encode((epoch.number, epoch.members)).hex(),
        "hash": epoch.hash.hex(),
    }


def _vote(vote: Vote) -> dict[str, Any]:
    return {
        "fields": _plain(vote),
        "ballot_encoded": vote.ballot.encoded.hex(),
        "signed_bytes": vote.ballot.signed_bytes(_LEDGER).hex(),
        "encoded": encode(vote).hex(),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {"fields": _plain(tally), "encoded": encode(tally).hex()}


def _votes() -> dict[str, Any]:
    return {
        "ledger_id": _LEDGER.hex(),
        "epochs": [_epoch(one) for one in EPOCHS],
        "votes": [_vote(one) for one in VOTES],
        "conflicts": [
            {"first": first, "second": second, "conflict": VOTES[first].conflicts_with(VOTES[second])}
            for first in range(len(VOTES))
            for second in range(len(VOTES))
        ],
        "tallies": [_tally(one) for one in TALLIES],
    }


def _genesis(genesis: Genesis) -> dict[str, Any]:
    continues = genesis.continues
    unsigned = replace(genesis, continues=continues.with_consents({})).encoded if continues else None
    return {
        "fields": _plain(genesis),
        "encoded": encode(genesis).hex(),
        "ledger_id": genesis.ledger_id.hex(),
        "block_0_hash": genesis_block(genesis).hash.hex(),
        "consent_bytes": continues.consent_bytes(unsigned).hex() if continues and unsigned else None,
    }


def _block_vector(block: Block) -> dict[str, Any]:
    return {
        "header": _plain(block.header),
        "header_encoded": block.header.encoded.hex(),
        "hash": block.hash.hex(),
        "signed_bytes": block.header.signed_bytes().hex(),
        "signature": block.signature.hex(),
        "encoded": block.encoded.hex(),
    }


def _state(state: State, block: Block) -> dict[str, Any]:
    stakes, epoch = state.stakes, state.epoch
    return {
        "block": block.encoded.hex(),
        "roots": _plain(state.roots),
        "roots_encoded": encode(state.roots).hex(),
        "state_root": state.root.hex(),
        "next_voters": encode((epoch.number, epoch.members)).hex(),
        "accounts": encode(sorted(stakes.accounts.items())).hex(),
        "burned": encode((stakes.burned, sorted(stakes.burned_keys))).hex(),
        "parameters": encode(state.params).hex(),
        "evidence": encode(state.epoch_ends).hex(),
        "directory": [[key.hex(), value.hex()] for key, value in state.directory.trie.items()],
        "status": [[key.hex(), value.hex()] for key, value in state.status.trie.items()],
        "motions": [state.motions.open[one].encoded.hex() for one in sorted(state.motions.open)],
    }


def _message(message: Message) -> dict[str, Any]:
    return {"name": type(message).__name__, "encoded": encode_message(message).hex()}


def _address(record: AddressRecord) -> dict[str, Any]:
    return {
        "fields": _plain(record),
        "signed_bytes": record.signed_bytes(_LEDGER).hex(),
        "encoded": encode(record).hex(),
    }


def _draws() -> dict[str, Any]:
    stakes = GENESIS.stakes()
    views = [*range(1, 33), 2**32, 2**53 - 1]
    drawn = [{"epoch": epoch, "view": view} for epoch in (0, 7) for view in views]
    return {
        "ledger_id": _LEDGER.hex(),
        "stakes": [{"member": key.hex(), "staked": staked} for key, staked in stakes.members],
        "draws": [{**one, "member": _plain(draw(stakes, _LEDGER, one["epoch"], one["view"]))} for one in drawn],
    }


def _merkle() -> dict[str, Any]:
    leaves = [leaf_hash(bytes.fromhex(data)) for data in LEAVES]
    sizes = range(1, len(leaves) + 1)
    return {
        "leaves": [{"data": data, "leaf_hash": leaf.hex()} for data, leaf in zip(LEAVES, leaves, strict=True)],
        "roots": [{"size": size, "root": root(leaves[:size]).hex()} for size in (0, *sizes)],
        "inclusion": [
            {"size": size, "index": index, "proof": _plain(inclusion_proof(leaves[:size], index))}
            for size in sizes
            for index in range(size)
        ],
        "consistency": [
            {"old_size": old_size, "size": size, "proof": _plain(consistency_proof(leaves[:size], old_size))}
            for size in sizes
            for old_size in range(1, size + 1)
        ],
    }


def _trie(entries: dict[bytes, bytes]) -> dict[str, Any]:
    trie = Trie()
    for key, value in entries.items():
        trie = trie.set(key, value)
    proofs = [(key, trie.prove(key)) for key in dict.fromkeys([*entries, bytes(32), b"\xff" * 32, _KEYS[8]])]
    return {
        "entries": [{"key": key.hex(), "value": value.hex()} for key, value in entries.items()],
        "root": trie.root().hex(),
        "proofs": [
            {"key": key.hex(), "value": _plain(trie.get(key)), "fields": _plain(proof), "encoded": proof.encoded.hex()}
            for key, proof in proofs
        ],
    }


def _foldings() -> dict[str, Any]:
    return {
        "unicode": "14.0.0",
        "table_hash": FOLDING_HASH,
        "names": [{"name": name, "folded": fold(name)} for name in names.NAMES],
        "refused": names.REFUSED,
    }


def make() -> dict[Path, str]:
    """Every file and its text."""
    vectors = {
        "wallets": [_wallet(wallet, seed) for seed, wallet in enumerate((*WALLETS, *_MORE), start=1)],
        "payloads": [_payload(one) for one in PAYLOADS],
        "certificates": {"ledger_id": _LEDGER.hex(), "certificates": [_certificate(one) for one in CERTIFICATES]},
        "geneses": [_genesis(one) for one in GENESES],
        "blocks": [_block_vector(one) for one in BLOCKS],
        "states": {"genesis": encode(GENESES[2]).hex(), "states": [_state(*one) for one in STATES]},
        "governed": {"genesis": encode(GENESES[3]).hex(), "states": [_state(*one) for one in GOVERNED]},
        "addresses": {"ledger_id": _LEDGER.hex(), "addresses": [_address(one) for one in ADDRESSES]},
        "messages": [_message(one) for one in MESSAGES],
        "draws": _draws(),
        "votes": _votes(),
        "merkle": _merkle(),
        "tries": [_trie(one) for one in ENTRIES],
        "folding": _foldings(),
        "signatures": [_plain(one._asdict()) for one in SIGNATURES],
    }
    return {path_of(name): json.dumps(one, indent=1, ensure_ascii=True) + "\n" for name, one in vectors.items()}


def path_of(name: str) -> Path:
    """Where the vectors of this name are kept; signatures are in the package, for its start needs them."""
    return signatures.PATH if name == signatures.PATH.stem else FOLDER / f"{name}.json"


if __name__ == "__main__":
    for path, text in make().items():
        path.write_text(text, encoding="ascii")
        print(path)
