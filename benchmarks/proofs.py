"""Proofs of one ledger of a million certificates: making and verifying them, and what they weigh."""

import gc
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

from msgspec.structs import replace

from benchmarks.result import Figure, at_least, at_most, figure
from benchmarks.workload import CREATED_MS, ISSUERS, cpu_seconds, statements
from tallystick.ledger.block import Block, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.bundle import Bundle, read_bundle
from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    Motion,
    Payload,
    Statement,
    issue,
    issue_statement,
)
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.changes import ReplaceMemberKey, Role, sign_admission
from tallystick.ledger.checkpoint import Checkpoint, cosign, cosigned_bytes
from tallystick.ledger.file_statement import FileStatement, file_payload
from tallystick.ledger.genesis import Founder, Genesis, make_genesis
from tallystick.ledger.keys import Domain, is_signed
from tallystick.ledger.params import Params
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, Ballot, cast, tally_of
from tallystick.ledger.wallet import Wallet
from tallystick.node.checkpoints import Countersigned
from tallystick.node.events import PersistBlock
from tallystick.proof.verify import Demand, verify
from tallystick.storage.making import ProofFiles
from tallystick.storage.proving import Prover
from tallystick.storage.store import Store

CERTIFICATES = 1_000_000
BLOCK = 256
LARGE_BLOCKS, LARGE = 40, Params().max_block_certificates
"""Of another ledger, whose blocks are as large as they may be."""
MEMBERS = 4
FILES = 10_000
"""About so many files of one batch in the middle of the ledger proofs are made."""
SAMPLES = 200
ROUNDS = 9
REPLACEMENTS = 100
STARTS = 9
NOW_MS = CREATED_MS + 86_400_000
DOCUMENT = FileStatement("Diploma of somebody.pdf", 234_567, sha256(b"diploma").digest(), "with distinction")


def of_a_million() -> Iterator[Figure]:
    """Figures of proofs about files, of a ledger with four organisations; and of one whose members changed."""
    with tempfile.TemporaryDirectory() as folder:
        with Store.create(Path(folder) / "ledger.db", four_members()) as store:
            kept = Kept(store, ISSUERS[:MEMBERS])
            places = _fill(kept)
            made_ms, batch, files = _made(kept, places)
            scattered_ms = _scattered(kept)
        large_ms = _of_large_blocks(Path(folder) / "large.db")
        ratios, signatures, verified_ms = _verified(files, kept.genesis)
        sizes = [len(one.proof) for one in files]
        replaced_bytes, replaced_ms = _after_replacements(Path(folder) / "replaced.db")
    what, goal = f"a proof of one of {CERTIFICATES:,}, {MEMBERS} members", at_most(5)
    yield figure("made", what, made_ms, "ms", goal=goal)
    yield figure("made, anywhere", "the same, anywhere in the log", scattered_ms, "ms", goal=goal)
    yield figure("made, large blocks", f"the same, {LARGE_BLOCKS} blocks of {LARGE:,}", large_ms, "ms", goal=goal)
    yield figure("batch", f"proofs of a batch of {FILES:,}", [batch], "proofs/s", goal=at_least(1_000))
    yield figure("verified / signatures", f"verified / its {signatures} signatures alone", ratios, goal=at_most(3))
    yield figure("verified", "the same alone", [verified_ms], "ms")
    yield figure("size", "with payload", sizes, "bytes", goal=at_most(8_192))
    after = f"all files of a proof after {REPLACEMENTS} replacements of a member, one by one"
    yield figure("size, replaced", after, [replaced_bytes], "bytes", goal=at_most(65_536))
    yield figure("verified, replaced", "the same", [replaced_ms], "ms")
    yield figure("import", "tallystick.proof in a new process", _import_ms(), "ms", goal=at_most(100))


def four_members() -> Genesis:
    """Four universities."""
    founders = [
        Founder(f"university-{number}", f"University {number}", f"{number}.example.org", one.public_key, Role.MEMBER, 1)
        for number, one in enumerate(ISSUERS[:MEMBERS])
    ]
    return make_genesis("Universities", CREATED_MS, (), Params(), founders)


class Kept:
    """A chain and its store; members finalize each block, and cosign the last."""

    def __init__(self, store: Store, members: Sequence[Wallet]) -> None:
        self.store, self.genesis = store, store.genesis
        self.chain = Blockchain(store.genesis, lambda state, header: None)
        self.wallets = {one.public_key: one for one in members}
        self.voters = self.chain.state.epoch

    def forge(self, certificates: Sequence[AnyCertificate], payloads: Sequence[Payload] = ()) -> Block:
        """The next block, 1 ms after the one before, kept."""
        state, self.voters = self.chain.state, self.chain.state.epoch
        forger = self.wallets[self.voters.members[0][0]]
        header = make_header(state, state.tip.timestamp_ms + 1, 0, forger.public_key, certificates)
        signature = forger.sign(Domain.BLOCK, header.ledger_id, header.encoded)
        block = verified(Block(header, signature, tuple(certificates)))
        self.chain.append(block)
        after, ballot = self.chain.state, Ballot(FINALIZE, header.epoch, header.view, block.hash)
        votes = tally_of([cast(self.wallets[key], self.genesis.ledger_id, ballot) for key, _ in self.voters.members])
        persist = PersistBlock(block, tuple(payloads), votes, members_hash=after.roots.of_log.members_hash)
        if after.epoch.number > header.epoch:
            persist = replace(persist, roots=after.roots, members=after.epoch.members)
        self.store.append(persist)
        return block

    def countersigned(self) -> Countersigned:
        """The log after the last block, by all members."""
        state, origin = self.chain.state, self.genesis.origin
        checkpoint = Checkpoint(origin, state.log.size, state.log.root())
        wallets = [self.wallets[key] for key, _ in self.voters.members]
        return Countersigned(state, self.voters, tuple(cosign(one, checkpoint, NOW_MS // 1000) for one in wallets))

    def prover(self) -> Prover:
        """A new one, with nothing at hand."""
        return Prover(self.store)


def _file(kept: Kept, number: int, by: Wallet) -> tuple[Statement, Payload]:
    payload = file_payload(DOCUMENT, sha256(b"%d" % number).digest())
    return issue_statement(by, kept.genesis.ledger_id, CREATED_MS + number, "", payload), payload


def _fill(kept: Kept) -> list[tuple[Place, int]]:
    """Keep `CERTIFICATES`, and find those about files: their places, and their indexes in the log."""
    start = CERTIFICATES // 2 // BLOCK * BLOCK
    for first in range(0, CERTIFICATES - FILES, BLOCK):
        if first == start:
            _forge_files(kept)
        kept.forge(statements(kept.genesis, min(BLOCK, CERTIFICATES - FILES - first), first))
    index = kept.chain.certificate_index
    return [(index.place_at(number), number) for number in range(start, start + FILES)]


def _forge_files(kept: Kept) -> None:
    for first in range(0, FILES, BLOCK):
        numbers = range(first, min(first + BLOCK, FILES))
        pairs = [_file(kept, number, ISSUERS[number % MEMBERS]) for number in numbers]
        kept.forge([one for one, _ in pairs], [payload for _, payload in pairs])


def _made(kept: Kept, places: list[tuple[Place, int]]) -> tuple[list[float], float, list[ProofFiles]]:
    """Milliseconds for one, proofs a second in a batch, and the proofs made one by one."""
    at, chosen = kept.countersigned(), places[:: len(places) // SAMPLES]
    prover, files = kept.prover(), []
    prover.prove(*places[0], at)
    made_ms = []
    for place, number in chosen:
        start = time.perf_counter()
        files.append(prover.prove(place, number, at))
        made_ms.append((time.perf_counter() - start) * 1e3)
    prover = kept.prover()
    gc.collect()
    start = time.perf_counter()
    for place, number in places:
        prover.prove(place, number, at)
    return made_ms, len(places) / (time.perf_counter() - start), files


def _scattered(kept: Kept) -> list[float]:
    """Milliseconds for each of some drawn at random: their blocks are not at hand, as a rule."""
    at, prover, index = kept.countersigned(), kept.prover(), kept.chain.certificate_index
    size, draw = at.state.log.size, random.Random(1)
    prover.prove(index.place_at(size - 1), size - 1, at)
    made_ms = []
    for number in draw.sample(range(size), SAMPLES):
        start = time.perf_counter()
        prover.prove(index.place_at(number), number, at)
        made_ms.append((time.perf_counter() - start) * 1e3)
    return made_ms


def _of_large_blocks(path: Path) -> list[float]:
    with Store.create(path, four_members()) as store:
        kept = Kept(store, ISSUERS[:MEMBERS])
        for first in range(0, LARGE_BLOCKS * LARGE, LARGE):
            kept.forge(statements(kept.genesis, LARGE, first))
        return _scattered(kept)


def _verified(files: list[ProofFiles], genesis: Genesis) -> tuple[list[float], int, float]:
    """Cost of verifying over that of the signatures alone, how many these are, and the ms of one proof."""
    demand = Demand(NOW_MS, genesis.ledger_id, document=DOCUMENT)
    proofs = [one.proof.encode() for one in files]
    signed = [list(_signatures(read_bundle(one), genesis)) for one in proofs]
    ratios, whole_ms = [], []
    for _ in range(ROUNDS):
        gc.collect()
        bare = cpu_seconds(partial(_check, signed))
        whole = cpu_seconds(lambda: [verify(read_bundle(one), demand) for one in proofs])
        ratios.append(whole / bare)
        whole_ms.append(whole / len(proofs) * 1e3)
    return ratios, len(signed[0]), statistics.median(whole_ms)


def _signatures(bundle: Bundle, genesis: Genesis) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Message, signature and key of each that a proof without a hand-over has."""
    extra, note, certificate = bundle.extra, bundle.proof.checkpoint, bundle.extra.certificate
    voters, text = [key for key, _ in genesis.stakes().members], note.text.encode()
    ballot = Ballot(FINALIZE, extra.header.epoch, extra.votes.view, extra.header.hash)
    for place, signature in extra.votes.signatures:
        yield ballot.signed_bytes(genesis.ledger_id), signature, voters[place]
    logs, cosignatures = note.signatures[: len(voters)], note.signatures[len(voters) :]
    for key, one in zip(voters, logs, strict=True):
        yield text, one.signature, key
    for key, one in zip(voters, cosignatures, strict=True):
        time_s = int.from_bytes(one.signature[:8], "big")
        yield cosigned_bytes(time_s, note.text), one.signature[8:], key
    yield certificate.signed_bytes(genesis.ledger_id), certificate.signature, certificate.issuer


def _check(proofs: list[list[tuple[bytes, bytes, bytes]]]) -> None:
    assert all(is_signed(*one) for proof in proofs for one in proof)


def _after_replacements(path: Path) -> tuple[int, float]:
    """Bytes of all files of one proof, made after every member was replaced many times, and ms to verify it."""
    params = Params(epoch_blocks=1, epoch_ms=0, unbonding_blocks=2, unbonding_ms=0)
    with Store.create(path, replace(four_members(), params=params)) as store:
        kept = Kept(store, ISSUERS[:MEMBERS])
        for number in range(REPLACEMENTS):
            _replace(kept, number)
        statement, payload = _file(kept, 0, kept.wallets[kept.chain.state.epoch.members[0][0]])
        kept.forge([statement], [payload])
        place = kept.chain.place_of(statement.id)
        assert place is not None
        files = kept.prover().prove(place, kept.chain.state.log.size - 1, kept.countersigned())
        bundle = read_bundle(files.proof.encode(), files.members, files.payload)
        started = time.process_time()
        verdict = verify(bundle, Demand(NOW_MS, kept.genesis.ledger_id, document=DOCUMENT))
        took_s = time.process_time() - started
    assert len({key for one in verdict.changes for key in one.joined}) == REPLACEMENTS
    size = sum(map(len, (files.proof, files.members or b"", files.payload or b"")))
    return size, 1e3 * took_s


def _replace(kept: Kept, number: int) -> None:
    """One block with a motion that another member key be an organisation's, and all the words that it takes."""
    ledger_id, state, name = kept.genesis.ledger_id, kept.chain.state, f"university-{number % MEMBERS}"
    before = state.directory.organisations[name].member_key
    assert before is not None
    after, now_ms = Wallet(sha256(b"member %d" % number).digest()), CREATED_MS + 10 * number
    change = ReplaceMemberKey(name, before, after.public_key, None, sign_admission(after, ledger_id, name))
    mover, *others = [kept.wallets[key] for key, _ in state.epoch.members if key != before]
    motion = issue(Motion, mover, ledger_id, now_ms, change, state.tip.timestamp_ms + 86_400_000)
    kept.wallets[after.public_key] = after
    kept.forge([motion, *(issue(Approval, one, ledger_id, now_ms + 1, motion.id) for one in others)])


def _import_ms() -> list[float]:
    """Of all that verifying needs, in a process of its own."""
    code = "import time; t = time.perf_counter(); import tallystick.proof.verify; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True) for _ in range(STARTS)]
    return [1e3 * float(one.stdout) for one in runs]
