"""From state to state: what a block's certificates do one after the other, and what its end does."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, BEN, CY, START_MS, evidence, found, refuses, sign_block, staking, wallet
from tests.governed import NAMES, GovernedScribe, directory_genesis

from tallystick.ledger import transition
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.changes import Admit, Effect, Remove, Rename, ReplaceMemberKey, SetStakes
from tallystick.ledger.directory import Position
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import EMPTY_ROOT
from tallystick.ledger.motions import Outcome
from tallystick.ledger.params import MAX_UNBONDING_EPOCHS
from tallystick.ledger.stake import BlockContext
from tallystick.ledger.state import genesis_state
from tallystick.ledger.transition import Draft, context_of, make_header, next_state
from tallystick.storage.state_codec import decode_state, encode_state

THREE = ("ada", "ben", "cy")


@pytest.fixture
def scribe():
    return GovernedScribe()


def rename(title="Ada"):
    return Rename("ada", "University of Ada", title, None, None)


# ---- the end of an epoch ----------------------------------------------------------------------------------------


def test_a_decision_ends_an_epoch_only_while_few_others_are_remembered(scribe):
    """After that with the first block by which the epoch's time is over, though stakes are as they were."""
    state = scribe.state
    ends = tuple(BlockContext(0, 0, START_MS + number) for number in range(transition.MAX_EPOCH_ENDS))
    motion = scribe.motion(rename())
    certificates = [motion, scribe.approval(motion, "ben"), scribe.approval(motion, "cy")]

    def after(base, certificates, ms=1):
        time_ms = base.tip.timestamp_ms + ms
        header = make_header(base, 1, time_ms, ADA.public_key, certificates, scribe.chain.finder())
        return next_state(base, header, certificates, scribe.chain.finder())

    assert after(replace(state, epoch_ends=ends[1:]), certificates).decided == {motion.id: Outcome.PASSED}
    waiting = after(replace(state, epoch_ends=ends), certificates)
    assert (waiting.epoch.number, waiting.decided) == (0, {})
    assert [one.id for one in waiting.motions.passed] == [motion.id]
    assert decode_state(encode_state(replace(scribe.state)), scribe.genesis) == scribe.state
    with refuses(Rule.M4):
        after(waiting, [scribe.objection(motion, "ada")])
    more = [scribe.statement()]
    almost = after(waiting, more, ms=599_998)
    assert almost.epoch.number == 0
    over = after(almost, [scribe.statement()])
    assert (over.epoch.number, over.decided) == (1, {motion.id: Outcome.PASSED})
    assert not over.motions.open


def test_epochs_that_last_their_time_leave_room_for_decisions():
    assert transition.MAX_EPOCH_ENDS - MAX_UNBONDING_EPOCHS == transition.MAX_EARLY_ENDS == 1_024


def test_evidence_of_an_epoch_that_a_decision_ended_stays_legal(scribe):
    scribe.decide(scribe.remove("dot"), *THREE)
    scribe.forge(evidence(BEN, genesis=scribe.genesis, epoch=0), evidence(CY, genesis=scribe.genesis, epoch=1))
    assert scribe.state.stakes.burned == 20
    with refuses(Rule.V6):
        scribe.forge(evidence(ADA, genesis=scribe.genesis, epoch=2))


def test_evidence_in_the_block_in_which_a_motion_passes_comes_first(scribe):
    motion = scribe.motion(scribe.remove("dot"))
    certificates = [motion, scribe.approval(motion, "ben"), scribe.approval(motion, "cy")]
    scribe.forge(*certificates, evidence(wallet("dot"), genesis=scribe.genesis))
    assert scribe.state.decided == {motion.id: Outcome.VOID}, "dot's stake is not 10 any more"
    assert scribe.state.epoch.total == 30
    scribe.decide(scribe.remove("dot"), *THREE)
    assert scribe.state.directory.organisations["dot"].member_key is None


def test_evidence_against_a_rotated_key_burns_its_successors(scribe):
    """Else a member with an organisation key contradicts itself, rotates, and goes on with all its stake."""
    scribe.decide(scribe.organisation_key("ben", "offline"), *THREE)
    epoch = scribe.state.epoch.number
    scribe.forge(scribe.rotation("ben", "new", "offline"))
    scribe.forge(scribe.rotation("ben", "newer", "offline"))
    next_epoch_ms = scribe.state.tip.timestamp_ms + scribe.genesis.params.epoch_ms
    scribe.forge(scribe.statement("ada"), timestamp_ms=next_epoch_ms)
    assert scribe.member_key("ben") == scribe.key("newer").public_key
    scribe.forge(evidence(wallet("ben"), genesis=scribe.genesis, epoch=epoch))
    assert scribe.stake_of("ben") == 0
    keys = {scribe.key(name).public_key for name in ("ben", "new", "newer")}
    assert scribe.state.stakes.burned_keys == keys
    assert scribe.state.stakes.burned == 10 * len(keys), "of the older ones what was unbonding"


def test_evidence_against_a_key_that_a_motion_replaced_burns_no_other(scribe):
    """Who stole the key of an organisation does not burn the stake that the others gave to its new one."""
    scribe.decide(scribe.replace_key("dot", "new", 0), *THREE)
    scribe.forge(evidence(wallet("dot"), genesis=scribe.genesis, epoch=0))
    assert scribe.state.stakes.burned_keys == {wallet("dot").public_key}
    assert scribe.stake_of("dot") == 10


def test_accounts_without_tokens_leave_the_state():
    """Otherwise every rotation left one, for ever."""
    params = {"epoch_blocks": 1, "epoch_ms": 1, "unbonding_blocks": 6, "unbonding_ms": 6, "rotation_delay_ms": 0}
    scribe = GovernedScribe(directory_genesis((10, 10, 10, 0), **params))
    assert wallet("dot").public_key not in scribe.state.stakes.accounts
    scribe.forge(scribe.rotation("ada", "new"))
    assert len(scribe.state.stakes.accounts) == 4, "the old key's are unbonding"
    for number in range(8):
        scribe.forge(scribe.rotation("dot", f"dot {number}", f"dot {number - 1}" if number else "dot"))
    scribe.decide(rename(), "ben", "cy", "new")
    members = {scribe.key(name).public_key for name in ("new", "ben", "cy")}
    assert set(scribe.state.stakes.accounts) == members
    scribe.decide(scribe.set_stakes(cy=0), "ben", "cy", "new")
    scribe.forge(scribe.rotation("cy", "cy later"))
    scribe.forge(evidence(wallet("cy"), genesis=scribe.genesis, epoch=scribe.state.epoch.number - 2))
    assert scribe.key("cy later").public_key not in scribe.state.stakes.accounts
    assert scribe.key("cy later").public_key in scribe.state.stakes.burned_keys


def test_rotations_come_after_what_passed(scribe):
    scribe.forge(scribe.rotation("ada", "new"))
    due_ms = scribe.state.directory.organisations["ada"].rotation.due_ms
    motion = scribe.motion(scribe.set_stakes(ada=7), "ben")
    certificates = [motion, scribe.approval(motion, "cy"), scribe.approval(motion, "dot")]
    scribe.forge(*certificates, timestamp_ms=due_ms)
    assert scribe.state.decided == {motion.id: Outcome.PASSED}
    assert scribe.state.epoch.stake(scribe.key("new").public_key) == 7
    assert scribe.state.epoch.number == 1, "one block, one end"


# ---- what a block costs -----------------------------------------------------------------------------------------


def test_a_block_of_statements_touches_neither_directory_nor_motions_nor_status(scribe):
    """They may be large; each block shares what it does not change."""
    scribe.forge(scribe.motion(rename()), made := scribe.statement())
    scribe.forge(scribe.revocation(made))
    before = scribe.state
    scribe.forge(scribe.statement())
    after = scribe.state
    assert (after.directory, after.stakes, after.params) == (before.directory, before.stakes, before.params)
    for name in ("directory", "stakes", "params", "status", "motions", "epoch"):
        assert getattr(after, name) is getattr(before, name), name


def test_only_the_motions_that_are_spoken_of_are_counted(scribe):
    motions = [scribe.motion(rename(f"{number}"), by) for number in range(4) for by in NAMES]
    scribe.forge(*motions)
    scribe.forge(scribe.statement())
    before = scribe.state.motions
    scribe.forge(scribe.approval(motions[0], "ben"))
    changed = {one for one in before.open if scribe.state.motions.open[one] is not before.open[one]}
    assert changed == {motions[0].id}


# ---- a draft ----------------------------------------------------------------------------------------------------


def draft_of(scribe):
    header = scribe.draft(scribe.statement()).header
    return Draft(scribe.state, context_of(header), scribe.chain.finder()), header


def test_what_a_draft_refuses_changes_nothing(scribe):
    made = scribe.statement()
    scribe.forge(made)
    draft, header = draft_of(scribe)
    for wrong in (
        scribe.statement("stranger"),
        scribe.motion(Remove("dot", 9)),
        scribe.motion(rename(), "stranger"),
        scribe.approval(scribe.motion(rename()), "ada"),
        scribe.end_issuer("nobody"),
        scribe.revocation(made, "ben"),
        scribe.supersession(made, made),
        staking(5, ledger=scribe.ledger_id),
        evidence(BEN, genesis=scribe.genesis, epoch=9),
    ):
        before = (draft.governed, draft.motions, draft.at)
        with pytest.raises(Refused):
            draft.add(wrong)
        assert (draft.governed, draft.motions, draft.at) == before
    good = [scribe.statement()]
    draft.add(good[0])
    assert draft.at == Position(0, 2, header.timestamp_ms)
    assert draft.finish(header, good) == next_state(scribe.state, header, good, scribe.chain.finder())


def test_a_ledger_without_organisations_has_the_roots_of_nothing():
    roots = genesis_state(found()).roots
    assert (roots.directory, roots.status, roots.motions) == (EMPTY_ROOT,) * 3


def test_the_gate_names_the_rule_that_a_certificate_broke(scribe):
    wrong = scribe.statement("stranger")
    block = super(GovernedScribe, scribe).draft(wrong, state_root=bytes(32))
    with refuses(Rule.B5, "[D1]"):
        scribe.chain.after(block)


# ---- any sequence -----------------------------------------------------------------------------------------------

EPOCH_BLOCKS, EPOCH_MS, DELAY_MS = 4, 40, 25
GENESIS = directory_genesis(
    (10, 10, 10, 9),
    epoch_blocks=EPOCH_BLOCKS,
    epoch_ms=EPOCH_MS,
    unbonding_blocks=2 * EPOCH_BLOCKS,
    unbonding_ms=2 * EPOCH_MS,
    rotation_delay_ms=DELAY_MS,
    block_ahead_ms=None,
)


@dataclass
class Open:
    """The model's motion."""

    change: object
    expires_ms: int
    words: dict = field(default_factory=dict)
    has_passed: bool = False


@dataclass
class Model:
    """Weights as motions and evidence say, in the plainest words; it counts every motion with every block."""

    keys: dict[str, Any]
    """Of each organisation its member key; `None`: it was removed."""
    weights: dict[Any, int]
    counting: dict[Any, int]
    listed: set[bytes]
    number: int = 0
    blocks: int = 0
    start_ms: int = START_MS
    title: str = "University of Ada"
    burned_keys: set = field(default_factory=set)
    rotating: dict = field(default_factory=dict)
    rotated_ms: dict = field(default_factory=dict)
    successors: dict = field(default_factory=dict)
    motions: dict = field(default_factory=dict)

    def end_block(self, time_ms):
        """What became of motions."""
        decided, total = {}, sum(self.counting.values())
        self.blocks += 1
        for name, motion in self.motions.items():
            current = {key: word for key, word in motion.words.items() if key in self.keys.values()}
            for_it = sum(self.counting.get(key, 0) for key, word in current.items() if word)
            against = sum(self.counting.get(key, 0) for key, word in current.items() if not word)
            if motion.has_passed:
                continue
            if time_ms >= motion.expires_ms:
                decided[name] = Outcome.EXPIRED
            elif for_it * 3 > total * 2:
                motion.has_passed = True
            elif against * 3 >= total:
                decided[name] = Outcome.CLOSED
        passed = [name for name, motion in self.motions.items() if motion.has_passed]
        due = sorted(name for name, (_, due_ms) in self.rotating.items() if due_ms <= time_ms)
        time_is_over = time_ms - self.start_ms >= EPOCH_MS
        held = {key: weight for key, weight in self.weights.items() if weight}
        is_over = time_is_over and (self.blocks >= EPOCH_BLOCKS or (held or self.counting) != self.counting)
        if passed or due or is_over:
            for name in passed:
                decided[name] = Outcome.PASSED if self.carry_out(self.motions[name].change) else Outcome.VOID
            for name in due:
                if name in self.rotating:
                    self.rotate(name, self.rotating.pop(name)[0], time_ms)
            held = {key: weight for key, weight in self.weights.items() if weight}
            self.number, self.blocks, self.start_ms, self.counting = self.number + 1, 0, time_ms, held or self.counting
        for name in decided:
            del self.motions[name]
        return decided

    def rotate(self, name, after, time_ms):
        if after not in self.listed:
            self.successors[self.keys[name]], self.rotated_ms[name] = after, time_ms
            self.replace_key(name, after)

    def burn(self, key):
        """The key, and those that its organisation rotated to."""
        while key is not None:
            self.burned_keys.add(key)
            self.weights[key] = 0
            key = self.successors.get(key)

    def replace_key(self, name, after):
        if after not in self.listed:
            before, self.keys[name] = self.keys[name], after
            self.listed.add(after)
            self.weights[after] = self.weights.pop(before, 0)

    def carry_out(self, change):
        weights, keys = dict(self.weights), self.keys
        match change:
            case Admit(organisation=name, key=key, stake=stake):
                if name in keys or key in self.listed:
                    return False
                keys[name] = key
                self.listed.add(key)
                self.weights[key] = stake
            case Remove(name, stake):
                held = keys.get(name)
                if (
                    held is None
                    or weights.pop(held, 0) != stake
                    or not (any(weights.values()) or not any(self.weights.values()))
                ):
                    return False
                self.weights, keys[name] = weights, None
                self.rotating.pop(name, None)
            case SetStakes(changes):
                for one in changes:
                    held = keys.get(one.organisation)
                    if held is None or weights.get(held, 0) != one.before or (one.after and held in self.burned_keys):
                        return False
                    weights[held] = one.after
                if not any(weights.values()) and any(self.weights.values()):
                    return False
                self.weights = weights
            case ReplaceMemberKey(organisation=name, before=before, after=after):
                if keys.get(name) is None or keys[name] != before or after in self.listed:
                    return False
                self.replace_key(name, after)
                self.rotating.pop(name, None)
            case Rename(title_before=before, title=title):
                if keys["ada"] is None or self.title != before:
                    return False
                self.title = title
        return True


names = st.sampled_from(["ada", "ben", "cy", "dot", "eve"])
fresh = st.integers(0, 5).map("fresh {}".format)
weights = st.integers(0, 12)
changes = st.one_of(
    st.tuples(st.just("admit"), st.just("eve"), weights),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("stakes"), st.dictionaries(names, weights, min_size=1, max_size=3)),
    st.tuples(st.just("stakes"), st.dictionaries(names, weights, min_size=1, max_size=3)),
    st.tuples(st.just("replace"), names, fresh),
    st.tuples(st.just("rename"), st.sampled_from(["One", "Two"])),
)
acts = st.one_of(
    st.tuples(st.just("move"), names, changes),
    st.tuples(st.just("agreed"), changes),
    *[st.tuples(st.just("word"), names, st.integers(0, 3), st.booleans())] * 2,
    st.tuples(st.just("rotate"), names, fresh),
    st.tuples(st.just("issuer"), names, fresh),
    st.tuples(st.just("end"), names, fresh, st.none() | st.integers(0, 9)),
    st.tuples(st.just("burn"), names, st.integers(0, 1), st.booleans()),
    st.tuples(st.just("revoke"), names, st.integers(0, 3), st.sampled_from([Effect.REVOKED, Effect.VOID])),
    st.tuples(st.just("state"), names),
)
chains = st.lists(st.tuples(st.lists(acts, max_size=5), st.integers(1, 30)), max_size=14)


class Writer(GovernedScribe):
    """Makes certificates of acts, and follows what the chain takes with a model of its own."""

    def __init__(self):
        super().__init__(GENESIS)
        self.chain = Blockchain(GENESIS, lambda state, header: None)
        keys = {name: key.public_key for name, key in NAMES.items()}
        stakes = {key.public_key: stake for key, stake in zip(NAMES.values(), (10, 10, 10, 9), strict=True)}
        self.model = Model(keys, dict(stakes), dict(stakes), set(stakes))
        self.of_key = {one.public_key: name for name, one in NAMES.items()}
        self.statements, self.motions, self.issuers = [], [], {}

    def wallet_of(self, organisation):
        """That of its member key now, or of the key that it began with."""
        held = self.model.keys.get(organisation)
        return self.of_key.get(held or b"", organisation)

    def key(self, name):
        found = super().key(name)
        self.of_key[found.public_key] = name
        return found

    def change(self, spec):
        match spec:
            case ("admit", name, stake):
                return self.admit(name, stake)
            case ("remove", name):
                return Remove(name, self.weight(name))
            case ("stakes", after):
                return self.set_stakes(**after)
            case ("replace", name, after):
                return self.replace_key(name, after)
            case ("rename", title):
                return rename(title)

    def weight(self, name):
        return self.model.weights.get(self.model.keys.get(name) or b"", 0)

    def stake_of(self, organisation):
        return self.weight(organisation)

    def member_key(self, organisation):
        return self.model.keys.get(organisation) or bytes(32)

    def made(self, act):
        """The certificates of an act, and what the model makes of each that is taken."""
        match act:
            case ("move", name, spec):
                yield self.motion(self.change(spec), self.wallet_of(name), days=1)
            case ("agreed", spec):
                motion = self.motion(self.change(spec), self.wallet_of("ada"), days=1)
                yield motion
                for name in ("ben", "cy", "dot", "eve"):
                    yield self.approval(motion, self.wallet_of(name))
            case ("word", name, number, approves) if self.motions:
                motion = self.motions[-1 - number % len(self.motions)]
                speak = self.approval if approves else self.objection
                yield speak(motion, self.wallet_of(name))
            case ("rotate", name, after):
                yield self.rotation(name, after, self.wallet_of(name))
            case ("issuer", name, key):
                yield self.add_issuer(key, name, self.wallet_of(name))
            case ("end", name, key, since):
                yield self.end_issuer(key, self.wallet_of(name), since)
            case ("burn", name, back, of_its_first_key):
                epoch = max(0, self.state.epoch.number - back)
                offender = name if of_its_first_key else self.wallet_of(name)
                yield evidence(self.key(offender), genesis=GENESIS, epoch=epoch, view=self._now() - START_MS)
            case ("revoke", name, number, effect) if self.statements:
                yield self.revocation(self.statements[number % len(self.statements)], self.wallet_of(name), effect)
            case ("state", name):
                yield self.statement(self.wallet_of(name))

    def taken(self, certificate, time_ms):
        """What the model makes of it."""
        model = self.model
        match type(certificate).__name__:
            case "Motion":
                self.motions.append(certificate)
                model.motions[certificate.id] = Open(certificate.change, certificate.expires_ms)
                model.motions[certificate.id].words[certificate.issuer] = True
            case "Approval" | "Objection" as kind:
                model.motions[certificate.motion].words[certificate.issuer] = kind == "Approval"
            case "Statement":
                self.statements.append(certificate)
            case "KeyChange":
                operation = certificate.operation
                if type(operation).__name__ == "RotateMemberKey":
                    once_ms = model.rotated_ms.get(operation.organisation, START_MS - EPOCH_MS) + EPOCH_MS
                    model.rotating[operation.organisation] = (operation.after, max(time_ms + DELAY_MS, once_ms))
                elif type(operation).__name__ == "AddIssuer":
                    model.listed.add(operation.key)
            case "VoteEvidence":
                model.burn(certificate.offender)

    def write(self, acts, wait_ms):
        """A block of the acts that are legal, one after the other; its header, its certificates, what they decided."""
        time_ms, state = self.state.tip.timestamp_ms + wait_ms, self.state
        context, find = state.context(time_ms), self.chain.finder()
        draft, chosen, burned = Draft(state, context, find), list[Any](), state.stakes
        for act in acts:
            for certificate in self.made(act):
                before = (draft.governed, draft.motions, draft.at)
                try:
                    draft.add(certificate)
                    burned = burned.after([certificate], context)
                except Refused:
                    if type(certificate).__name__ != "VoteEvidence":
                        assert (draft.governed, draft.motions, draft.at) == before
                        continue
                    draft = Draft(state, context, find)
                    for one in chosen:
                        draft.add(one)
                    continue
                chosen.append(certificate)
                self.taken(certificate, time_ms)
        if not chosen:
            return
        header = make_header(state, state.index + 1, time_ms, ADA.public_key, chosen, find)
        block = sign_block(header, chosen, ADA)
        again = decode_state(encode_state(state), GENESIS)
        assert again == state
        after = next_state(again, header, chosen, find)
        self.chain.append(block)
        self.blocks.append(block)
        assert after == self.state
        assert after.decided == self.state.decided == self.model.end_block(time_ms)


def check_past(before, after):
    """What was said of the past stays."""
    if before.epoch.number == after.epoch.number:
        assert after.epoch.hash == before.epoch.hash
    else:
        assert after.voters == before.epoch.hash
    for key, old in before.directory.keys.items():
        new = after.directory.keys[key]
        assert (new.organisation, new.since) == (old.organisation, old.since)
        if old.until is not None:
            assert new.until == old.until
            assert old.compromised_since is None or new.compromised_since <= old.compromised_since
        elif new.until is not None:
            assert before.log.size <= new.until <= after.log.size
    for target, _ in before.status.trie.items():
        assert after.status.of(target).effect >= before.status.of(target).effect


@given(chains)
def test_any_sequence_keeps_weights_as_motions_and_evidence_say(chain):
    writer = Writer()
    for acts, wait_ms in chain:
        before = writer.state
        writer.write(acts, wait_ms)
        state, model = writer.state, writer.model
        check_past(before, state)
        held = {key: weight for key, weight in model.weights.items() if weight}
        assert dict(state.stakes.members) == held
        assert (state.epoch.number, dict(state.epoch.members)) == (model.number, model.counting)
        assert state.directory.member_keys == {key for key in model.keys.values() if key is not None}
        assert set(state.directory.keys) == model.listed
        assert set(state.motions.open) == set(model.motions)
        accounts = state.stakes.accounts
        assert all(one.free == 0 for one in accounts.values())
        assert state.stakes.total == state.stakes.burned + sum(one.liable for one in accounts.values())
        if state.epoch.number > before.epoch.number:
            unbonding = [until for one in accounts.values() for until, _ in one.unbonding]
            assert not any(context_of(state.tip).reaches(until) for until in unbonding), "it belongs to nobody"
        assert state.stakes.burned_keys == model.burned_keys
        assert state.stakes.burned >= before.stakes.burned
    replay = Blockchain(GENESIS, lambda state, header: None)
    for block in writer.blocks:
        replay.append(block)
    assert replay.state == writer.state
    assert replay.state.root == writer.state.tip.state_root
