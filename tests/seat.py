"""One member's part in agreement, without a node: what it hears is said in words, and so is what it does.

Said to it (several, with `;` between them):

    block b 2 on a            the leader of view 2 makes block b on block a (`tip`: on the final one); nobody has it yet
    block b 2 on a bad=root   the same with a wrong state root; bad=version, bad=empty: without a certificate
    block b 2 on a at=900     the same, dated 900 ms from the begin
    whole b, header b         it hears of the block, or of its header alone
    cy dot nullify 1          single votes; `notarize 1 a`, `finalize 1 a` for a block
    quorum notarize 1 a       a certificate of all others' votes
    parent 3 1 a              a peer says that what was proposed in view 3, or its parent, was notarized in view 1
    waits s                   a certificate waits to be forged
    +600                      so many ms pass

Done by it, each a string: `propose 1 new1 on 0`, `propose 2 a again on 1`, `notarize 1 a`, `nullify 1`, `finalize 1 a`
(each with ` & keep a` if the block goes to the database with it), `persist notarize 1 a`, `final a b`, `request a`,
`request views 1..3`, `relay nullify 1`, `repeat`, `mismatch B12`, `twin 1`, `caught ben`.
"""

from itertools import count

from msgspec.structs import replace

from tallystick.consensus.agreement import (
    Finalized,
    IllegalProposal,
    PersistQuorum,
    Rebroadcast,
    RelayVotes,
    RequestBlock,
    RequestViewCertificates,
    SendProposal,
    SendVote,
    StateMismatch,
    TwinFound,
)
from tallystick.consensus.signing_guard import SigningGuard
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TIMESTAMP_MS
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, NAMES, NOTARIZE, NULLIFY, cast, tally_of
from tests.builders import CY, GENESIS, MEMBERS, START_MS, sign_block, statement

KINDS = {name: kind for kind, name in NAMES.items()}
NOW_MS = START_MS + 1_000


class Schedule:
    """Leaders by a list of names, in turn, in place of the draw."""

    def __init__(self, names="ben cy dot ada", members=MEMBERS):
        self._keys = [members[name].public_key for name in names.split()]

    def leader(self, stakes, ledger_id, epoch, view):
        key = self._keys[(view - 1) % len(self._keys)]
        return key if stakes.account(key).staked else None

    def check(self, state, header):
        """Who may forge, for the gate (B4)."""
        epoch = state.epoch
        if not header.view or header.forger != self.leader(epoch.stakes, header.ledger_id, epoch.number, header.view):
            raise Refused(Rule.B4, f"not the leader of view {header.view}")


class Waiting:
    """Certificates that wait to be forged, legal wherever they are."""

    def __init__(self):
        self.certificates = []
        self.came_ms = {}
        """By id."""

    def __len__(self):
        return len(self.certificates)

    def choose(self, now_ms, base, above, until_ms=MAX_TIMESTAMP_MS):
        known = above.known({one.id for one in self.certificates})
        return [one for one in self.certificates if self.came_ms[one.id] <= until_ms and one.id not in known]


class Seat:
    """A member (`owner=None`: an observer), what it knows, and its own guard file."""

    def __init__(self, owner="ada", leaders="ben cy dot ada", genesis=GENESIS, records=()):
        self.genesis, self.schedule = genesis, Schedule(leaders)
        self.owner = MEMBERS[owner] if owner else None
        self.chain = Blockchain(genesis, self.schedule.check)
        self.file, self.now_ms, self.box = list(records), NOW_MS, Waiting()
        self.blocks, self.states, self.kept, self._numbers = {}, {}, [], count()
        self.start()

    @property
    def voters(self):
        """All members but itself, in the order of their names."""
        return [one for one in MEMBERS.values() if one is not self.owner]

    def start(self, finalization=None, tallies=(), proposals=()):
        """(Re)start from the guard file, and what is given of the database."""
        guard = SigningGuard(self.owner, self.genesis.ledger_id, self.file, bytes(32)) if self.owner else None
        self.simplex = Simplex(guard, self.schedule.leader)
        return [self.said(one) for one in self.simplex.start(self.chain, finalization, tallies, proposals)]

    # ---- what it is told --------------------------------------------------------------------------------------

    def tell(self, words):
        """Returns what that proves of others."""
        found = []
        for clause in filter(None, (one.strip() for one in words.split(";"))):
            found += self._tell(clause.split())
        return [self.said(one) for one in found if one is not None]

    def _tell(self, clause):
        simplex = self.simplex
        match clause:
            case ["block", name, view, "on", parent, *how]:
                self.make(name, int(view), parent, **dict(one.split("=") for one in how))
            case ["whole", name]:
                return [simplex.add_block(self.blocks[name])]
            case ["header", name]:
                return [simplex.add_header(self.blocks[name].signed_header)]
            case ["parent", view, parent_view, name]:
                simplex.views.heard_parent_view(int(view), self.blocks[name].hash, int(parent_view))
            case ["waits", subject]:
                self.box.certificates.append(one := statement(subject, ledger=self.genesis.ledger_id))
                self.box.came_ms[one.id] = self.now_ms
            case [words] if words[0] == "+":
                self.now_ms += int(words)
            case ["quorum", *ballot]:
                return simplex.add_tally(self.tally(self.voters, *ballot))
            case _:
                names = [one for one in clause if one in MEMBERS]
                return [one for name in names for one in self._vote(name, *clause[len(names) :])]
        return []

    def _vote(self, name, *ballot):
        return self.simplex.add_tally(self.tally([MEMBERS[name]], *ballot))

    def tally(self, voters, kind, view, block="", epoch=None):
        """Their votes: `notarize 1 a`, and so on; in the epoch of the moment unless one is given."""
        block_hash = (self.chain.state.tip.hash if block == "tip" else self.blocks[block].hash) if block else None
        ballot = self.simplex.views.ballot(KINDS[kind], int(view), block_hash)
        ballot = replace(ballot, epoch=int(epoch)) if epoch is not None else ballot
        return tally_of([cast(one, self.genesis.ledger_id, ballot) for one in voters])

    def make(self, name, view, parent, bad="", at=None, by=None):
        """A block of the view's leader, with a statement of its own."""
        base = self.chain.state if parent == "tip" else self.states[parent]
        key = self.schedule.leader(base.epoch.stakes, self.genesis.ledger_id, base.epoch.number, view)
        forger = next(one for one in MEMBERS.values() if one.public_key == key)
        certificates = () if bad == "empty" else (statement(f"in {name}", CY, self.genesis.ledger_id),)
        now_ms = START_MS + int(at) if at else self.now_ms + next(self._numbers)
        header = make_header(base, view, now_ms, key, certificates)
        if bad == "root":
            header = replace(header, state_root=bytes(32))
        elif bad == "version":
            header = replace(header, version=2)
        self.blocks[name] = sign_block(header, certificates, forger)
        if not bad:
            self.states[name] = self.chain.after(self.blocks[name], base)

    # ---- what it does -----------------------------------------------------------------------------------------

    def does(self, words=""):
        """What follows from the last part of this, in order, until nothing more does; parts stand with `|` between."""
        *before, last = words.split("|")
        for part in before:
            self._follows(part)
        return self._follows(last)

    def _follows(self, words):
        done, self._to_keep = self.tell(words), {}
        while outputs := self.simplex.step(self.now_ms, self.box):
            self.file += self.simplex.guard.take_records()
            done += [words for one in outputs if (words := self.said(one))]
            for one in outputs:
                if isinstance(one, Finalized):
                    for block, state in zip(one.blocks, one.states, strict=True):
                        self.chain.publish(block, state)
                    self.simplex.tip_advanced(one.finalization)
                if isinstance(one, PersistQuorum):
                    self.kept += one.blocks
        self.file += self.simplex.guard.take_records()
        return done

    def said(self, output):
        """An output, or a contradiction that was found, in words."""
        match output:
            case SendProposal(view, parent_view, block, is_new):
                name = self._name(block.hash, f"new{view}", block)
                return f"propose {view} {name}{'' if is_new else ' again'} on {parent_view}"
            case SendVote(vote):
                block = self._to_keep.pop(vote.ballot.block_hash, None)
                kept = f" & keep {self._name(block.hash, f'new{block.header.view}', block)}" if block else ""
                return f"{self._ballot(vote.ballot)}{kept}"
            case PersistQuorum(tallies, blocks):
                self._to_keep = {one.hash: one for one in blocks}
                return tallies and "persist " + ", ".join(self._ballot(one.ballot) for one in tallies)
            case Finalized(blocks):
                return " ".join(["final", *(self._name(one.hash) for one in blocks)])
            case RequestBlock(block_hash):
                return f"request {self._name(block_hash)}"
            case RequestViewCertificates(first, last):
                return f"request views {first}..{last}"
            case RelayVotes(tallies):
                return "relay " + ", ".join(self._ballot(one.ballot) for one in tallies)
            case Rebroadcast():
                return "repeat"
            case StateMismatch(refused):
                return f"mismatch {refused.rule.name}"
            case IllegalProposal():
                return ""
            case TwinFound(_, view):
                return f"twin {view}"
        return f"caught {next(name for name, one in MEMBERS.items() if one.public_key == output.offender)}"

    def _ballot(self, ballot):
        block = "" if ballot.kind == NULLIFY else f" {self._name(ballot.block_hash, f'new{ballot.view}')}"
        return f"{NAMES[ballot.kind]} {ballot.view}{block}"

    def _name(self, block_hash, otherwise="unknown", block=None):
        name = next((name for name, one in self.blocks.items() if one.hash == block_hash), None)
        if name is None and block_hash == self.chain.state.tip.hash:
            return "tip"
        if name is None and block is not None:
            self.blocks[otherwise] = block
        return name or otherwise


__all__ = ["FINALIZE", "KINDS", "NOTARIZE", "NOW_MS", "NULLIFY", "Schedule", "Seat", "Waiting"]
