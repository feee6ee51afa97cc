"""A ledger with a directory, told anything: what is legal, who weighs what and what was valid are as a model says."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from tests.builders import ADA, START_MS, evidence
from tests.governed import GovernedScribe, directory_genesis
from tests.simulation.decisions_model import Key, Model

from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import (
    Approval,
    KeyChange,
    Motion,
    Objection,
    Revocation,
    StakingOperation,
    Supersession,
    VoteEvidence,
    issue,
    issue_statement,
)
from tallystick.ledger.changes import (
    AddIssuer,
    EndIssuer,
    Remove,
    Rename,
    ReplaceMemberKey,
    RotateMemberKey,
    SetMemberRole,
    SetOrganisationKey,
    SetParameter,
    SetStakes,
    SetStatus,
    StakeChange,
    StopRotation,
)
from tallystick.ledger.directory import organisation_place
from tallystick.ledger.errors import Refused
from tallystick.ledger.transition import Draft, context_of, next_state
from tallystick.ledger.trie import Trie
from tallystick.ledger.validity import Stated, ValidityState, validity_at
from tallystick.storage.state_codec import decode_state, encode_state

EPOCH_BLOCKS, EPOCH_MS = 3, 40
GENESIS = directory_genesis(
    (10, 10, 10, 9),
    epoch_blocks=EPOCH_BLOCKS,
    epoch_ms=EPOCH_MS,
    unbonding_blocks=2 * EPOCH_BLOCKS,
    unbonding_ms=2 * EPOCH_MS,
    rotation_delay_ms=25,
    block_ahead_ms=None,
)

ORGANISATIONS = ("ada", "ben", "cy", "dot", "eve")
FRESH = tuple(f"key {number}" for number in range(9))

organisations = st.sampled_from(ORGANISATIONS)
fresh = st.sampled_from(FRESH)
actors = st.one_of(organisations, organisations, st.sampled_from([f"{one}'s offline" for one in ORGANISATIONS]), fresh)
"""Organisations by their member keys now, their organisation keys, or any other key."""
numbers = st.integers(0, 7)
effects = st.sampled_from([2, 3])
weights = st.integers(0, 14)
since = st.none() | st.integers(0, 30)
mostly = st.sampled_from(["who may", "who may", "member key", "any"])
"""Who acts: whoever may, the organisation's member key, or any other."""

changes = st.one_of(
    st.tuples(st.just("admit"), st.just("eve"), weights),
    st.tuples(st.just("remove"), organisations),
    st.tuples(st.just("stakes"), st.dictionaries(organisations, weights, min_size=1, max_size=3)),
    st.tuples(st.just("replace"), organisations, fresh, since),
    st.tuples(st.just("offline"), organisations, st.none() | fresh),
    st.tuples(st.just("rename"), organisations, st.sampled_from(["One", "ONE", "Two", "Ada"])),
    st.tuples(st.just("stop"), organisations),
    st.tuples(st.just("status"), numbers, effects),
    st.tuples(st.just("anybody"), st.integers(0, 1)),
    st.tuples(st.just("delay"), st.sampled_from([0, 25])),
)


def a_chain() -> Blockchain:
    return Blockchain(GENESIS, lambda state, header: None)


class Decisions(RuleBasedStateMachine):
    """Organisations do what they like, legal or not. Each block is added by three nodes, one of which restarts."""

    def __init__(self):
        super().__init__()
        self.scribe, self.model = GovernedScribe(GENESIS), Model(GENESIS)
        self.scribe.chain, self.replay = a_chain(), a_chain()
        self.names = {key.public_key: name for name, key in self.scribe.keys.items()}
        self.motions, self.statements, self.issuers, self.past = (
            [],
            [],
            [],
            [(self.scribe.state, encode_state(self.scribe.state))],
        )
        self.number = 0
        self._begin(START_MS + 1)

    def _begin(self, time_ms):
        self.time_ms, self.chosen, state = time_ms, [], self.scribe.state
        self.moved, self.context = state.stakes, state.context(time_ms)
        self.draft = Draft(state, self.context, self.scribe.chain.finder())

    # ---- who, and what ------------------------------------------------------------------------------------------

    def wallet(self, actor):
        """That of an organisation's key now, or of the key with this name."""
        name, _, is_offline = actor.partition("'s ")
        own = self.model.organisations.get(name)
        key = (own.offline if is_offline else own.key) if own is not None else None
        found = self.scribe.key(self.names.get(key or b"", actor))
        self.names[found.public_key] = self.names.get(found.public_key, actor)
        return found

    def admitted(self, name, organisation):
        """A key, and its admission."""
        return self.wallet(name).public_key, self.scribe.admission(name, organisation)

    def member_key(self, organisation):
        own = self.model.organisations.get(organisation)
        return (own.key if own is not None else None) or bytes(32)

    def weight(self, organisation):
        return self.model.weights().get(self.member_key(organisation), 0)

    def target(self, number):
        return self.statements[-1 - number % len(self.statements)].id if self.statements else bytes(32)

    def change(self, spec):
        own = self.model.organisations.get(spec[1]) if spec[1] in ORGANISATIONS else None
        match spec:
            case ("admit", name, stake):
                self.wallet(name)
                return self.scribe.admit(name, stake)
            case ("remove", name):
                return Remove(name, self.weight(name))
            case ("stakes", after):
                return SetStakes(tuple(StakeChange(one, self.weight(one), after[one]) for one in sorted(after)))
            case ("replace", name, after, index):
                key, admitted = self.admitted(after, name)
                return ReplaceMemberKey(name, self.member_key(name), key, index, admitted)
            case ("offline", name, after):
                key, admitted = self.admitted(after, name) if after is not None else (None, None)
                return SetOrganisationKey(name, own.offline if own is not None else None, key, admitted)
            case ("rename", name, title):
                return Rename(name, own.title if own is not None else "nobody", title, None, None)
            case ("stop", name):
                rotating = own.rotating if own is not None else None
                return StopRotation(name, rotating[0] if rotating is not None else bytes(32))
            case ("status", number, effect):
                return SetStatus(self.target(number), effect, 1)
            case ("anybody", after):
                return SetParameter("anybody_certifies", self.model.anybody, after)
            case ("delay", after):
                return SetParameter("rotation_delay_ms", self.model.delay_ms, after)

    def submit(self, kind, actor, *fields):
        self.number += 1
        made = issue(kind, self.wallet(actor), GENESIS.ledger_id, START_MS + self.number, *fields)
        return self.take(made)

    def take(self, made):
        """What the model says of it and what the chain says are the same. Returns it, if it is legal."""
        before = (self.draft.governed, self.draft.motions, self.draft.at)
        try:
            moved = self.moved.after([made], self.context) if isinstance(made, VoteEvidence) else self.moved
            self.draft.add(made)
        except Refused as refused:
            rule_broken: Refused | None = refused
        else:
            rule_broken = None
        is_legal = self.model.takes(made, self.time_ms)
        assert is_legal == (rule_broken is None), (rule_broken, made)
        if not is_legal:
            assert (self.draft.governed, self.draft.motions, self.draft.at) == before
            return None
        self.moved = moved
        self.chosen.append(made)
        return made

    # ---- what they do -------------------------------------------------------------------------------------------

    @rule(actor=actors)
    def certify(self, actor):
        self.number += 1
        subject = f"number {self.number}"
        if made := self.take(issue_statement(self.wallet(actor), GENESIS.ledger_id, START_MS, subject)):
            self.statements.append(made)

    @rule(actor=actors, spec=changes, open_ms=st.sampled_from([0, 20, 60, 86_400_000, 91 * 86_400_000]))
    def move(self, actor, spec, open_ms):
        if made := self.submit(Motion, actor, self.change(spec), self.time_ms + open_ms):
            self.motions.append(made)

    @rule(spec=changes, next_spec=changes)
    def agree(self, spec, next_spec):
        """Two motions of which everybody approves."""
        for mover, change in (("ada", self.change(spec)), ("ben", self.change(next_spec))):
            motion = self.submit(Motion, mover, change, self.time_ms + 86_400_000)
            for name in ORGANISATIONS if motion is not None else ():
                self.submit(Approval, name, motion.id)

    @rule(spec=changes, approving=st.lists(organisations, max_size=5), objecting=st.lists(organisations, max_size=2))
    def agree_in_part(self, spec, approving, objecting):
        if (motion := self.submit(Motion, "ada", self.change(spec), self.time_ms + 86_400_000)) is not None:
            self.motions.append(motion)
            for kind, names in ((Approval, approving), (Objection, objecting)):
                for name in names:
                    self.submit(kind, name, motion.id)

    @precondition(lambda self: self.motions)
    @rule(actor=actors, number=numbers, kind=st.sampled_from([Approval, Approval, Objection]))
    def say(self, actor, number, kind):
        self.submit(kind, actor, self.motions[-1 - number % len(self.motions)].id)

    def acting(self, actor, organisation, who):
        """Whoever may change an organisation's keys, or another."""
        own = self.model.organisations.get(organisation)
        if who == "any":
            return actor
        is_offline = who == "who may" and own is not None and own.offline is not None
        return f"{organisation}'s offline" if is_offline else organisation

    @rule(actor=actors, who=mostly, name=organisations, after=fresh, index=since)
    def rotate(self, actor, who, name, after, index):
        key, admitted = self.admitted(after, name)
        operation = RotateMemberKey(name, self.member_key(name), key, index, admitted)
        self.submit(KeyChange, self.acting(actor, name, who), operation)

    @rule(actor=actors, who=mostly, name=organisations, key=fresh, open_ms=st.none() | st.integers(0, 60))
    def add_issuer(self, actor, who, name, key, open_ms):
        until_ms = None if open_ms is None else self.time_ms + open_ms
        added, admitted = self.admitted(key, name)
        operation = AddIssuer(name, added, "an office", until_ms, admitted)
        if self.submit(KeyChange, self.acting(actor, name, who), operation) is not None:
            self.issuers.append((key, name))

    @rule(actor=actors, who=mostly, key=actors, number=numbers, index=since)
    def end_issuer(self, actor, who, key, number, index):
        key, name = self.issuers[-1 - number % len(self.issuers)] if who != "any" and self.issuers else (key, "ada")
        operation = EndIssuer(self.wallet(key).public_key, index)
        self.submit(KeyChange, self.acting(actor, name, who), operation)

    @rule(actor=actors, who=mostly, name=organisations, role=st.sampled_from([1, 1, 2]))
    def set_role(self, actor, who, name, role):
        operation = SetMemberRole(self.wallet(name).public_key, role)
        self.submit(KeyChange, self.acting(actor, name, who), operation)

    def organisation_of(self, number):
        """That of a statement."""
        one = self.model.statements.get(self.target(number))
        return (one.holder if one is not None else None) or "ada"

    @rule(actor=actors, who=mostly, number=numbers, effect=effects)
    def revoke(self, actor, who, number, effect):
        by = actor if who == "any" else self.organisation_of(number)
        if made := self.submit(Revocation, by, self.target(number), effect, 1):
            self.statements.append(made)

    @rule(actor=actors, who=mostly, number=numbers, successor=numbers)
    def supersede(self, actor, who, number, successor):
        by = actor if who == "any" else self.organisation_of(number)
        self.submit(Supersession, by, self.target(number), self.target(successor))

    @rule(actor=organisations, amount=st.sampled_from([-5, 5]))
    def stake(self, actor, amount):
        self.submit(StakingOperation, actor, amount)

    @precondition(lambda self: self.number % 4 == 0)
    @rule(offender=actors, back=st.integers(-1, 4))
    def accuse(self, offender, back):
        self.number += 1
        accused, epoch = self.wallet(offender), max(0, self.model.number - back)
        self.take(evidence(accused, view=self.number, genesis=GENESIS, epoch=epoch))

    # ---- a block ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.chosen)
    @rule(wait_ms=st.integers(1, 60))
    def end_block_and_wait(self, wait_ms):
        self.end_block(wait_ms)

    @precondition(lambda self: self.chosen)
    @rule(wait_ms=st.integers(1, 9))
    def end_block(self, wait_ms):
        before = self.scribe.state
        block = self.scribe.forge(*self.chosen, timestamp_ms=self.time_ms, signer=ADA)
        state, decided = self.scribe.state, self.model.end_block(self.time_ms)
        assert state.decided == decided
        self.replay.append(block)
        kept = decode_state(encode_state(before), GENESIS)
        assert next_state(kept, block.header, block.certificates, self.replay.finder()) == state == self.replay.state
        assert state.root == state.tip.state_root
        assert state.voters == before.epoch.hash
        assert state.epoch.number > before.epoch.number or state.epoch == before.epoch
        self.past.append((state, encode_state(state)))
        self.check_weights(state)
        self.check_directory(state)
        self.check_statements(state)
        self._begin(self.time_ms + wait_ms)

    def check_weights(self, state):
        model, stakes = self.model, state.stakes
        assert dict(stakes.members) == model.weights()
        assert (state.epoch.number, dict(state.epoch.members)) == (model.number, model.counting)
        assert (stakes.burned_keys, stakes.burned) == (model.burned_keys, model.burned)
        assert all(one.free == 0 for one in stakes.accounts.values())
        for key, held in model.held.items():
            assert stakes.account(key).at(context_of(state.tip)).liable == held.liable(tuple_of(state))

    def check_directory(self, state):
        model, directory = self.model, state.directory
        found = {
            key: Key(one.organisation, one.role, one.since, one.until, one.until_ms, one.compromised_since)
            for key, one in directory.keys.items()
        }
        assert found == model.keys
        for name, own in model.organisations.items():
            one = directory.organisations[name]
            rotation = one.rotation
            rotating = None if rotation is None else (rotation.key, rotation.due_ms, rotation.compromised_since)
            seen = (one.title, one.member_key, one.organisation_key, rotating)
            assert seen == (own.title, own.key, own.offline, own.rotating)
            live = [entry for entry in model.keys.values() if entry.organisation == name and entry.until is None]
            assert one.live_keys == len(live)
        assert directory.organisations.keys() == model.organisations.keys()
        assert directory.member_keys == {one.key for one in model.organisations.values() if one.key is not None}
        assert state.motions.open.keys() == model.motions.keys()
        records = [(organisation_place(name), one.encoded) for name, one in directory.organisations.items()]
        records += [(key, one.encoded) for key, one in directory.keys.items()]
        assert directory.root == shuffled_root(records, self.number)

    def check_statements(self, state):
        model, directory = self.model, state.directory
        entries = list(state.status.trie.items())
        assert {target: state.status.of(target).effect for target, _ in entries} == model.effects
        assert state.status.root == shuffled_root(entries, self.number)
        for one, at in model.statements.items():
            assert directory.holder(at.issuer, at.log_index) == at.holder, "a certificate never changes hands"
            stated, entry = Stated(at.issuer, at.log_index, at.time_ms), state.status.of(one)
            key = model.keys.get(at.issuer)
            listed = key is not None and key.since <= at.log_index
            is_void = listed and key.void_from is not None and key.void_from <= at.log_index
            then = ValidityState.VOID if is_void or model.effects.get(one) == 3 else ValidityState.VALID
            now = _NOW[model.effects.get(one, 0)] if then is ValidityState.VALID else then
            said = [
                validity_at(stated, directory.keys.get(stated.issuer), [entry] if entry else [], ms).state
                for ms in times(at, state)
            ]
            assert said == [ValidityState.NOT_YET, then, now]

    def teardown(self):
        for state, data in self.past:
            assert encode_state(state) == data, "what is past stays as it was"
            assert state.root == state.tip.state_root
        chain = a_chain()
        for block in self.scribe.blocks:
            chain.append(block)
        assert chain.state == self.scribe.state


_NOW = {0: ValidityState.VALID, 1: ValidityState.SUPERSEDED, 2: ValidityState.REVOKED}


def times(at, state):
    """Before it was certified, then, and now."""
    return at.time_ms - 1, at.time_ms, state.tip.timestamp_ms


def tuple_of(state):
    place = context_of(state.tip)
    return place.epoch, place.index, place.timestamp_ms


def shuffled_root(records, seed):
    """Of the trie, the records set in any order."""
    records, trie = list(records), Trie()
    Random(seed).shuffle(records)
    for key, value in records:
        trie = trie.set(key, value)
    return trie.root()


Decisions.TestCase.settings = settings(
    settings(), max_examples=max(60, settings().max_examples // 4), stateful_step_count=60
)
TestDecisions = Decisions.TestCase
