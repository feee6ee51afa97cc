"""The demo with nodes as real processes: universities certify, and decide together who is one of them."""

import secrets
import shutil
import string
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Final

from msgspec import to_builtins

from tallystick.api import decisions as d
from tallystick.api import views
from tallystick.api.proof_views import FileVerdict
from tallystick.api.words import change_in_words
from tallystick.cli.output import Terminal
from tallystick.cli.words import many, seconds
from tallystick.client.blocking import Client
from tallystick.client.drafts import Draft, about_file, about_files, in_words
from tallystick.client.own_node import OwnNode
from tallystick.client.proof_files import PROOF, find_proof
from tallystick.client.proof_writing import write_proof
from tallystick.client.verdicts import Question, Verifier
from tallystick.demo.account import KEPT, Account, Killing, Moment, NodeLine, Refusal, Stretch
from tallystick.demo.handing_on import DIPLOMA, check_handed_on, hand_on
from tallystick.demo.local_network import LocalNetwork, NodeProcess, terminated_like_interrupted
from tallystick.demo.play import LEDGER_NAME, Play, check_file, check_room, make_room, read_back
from tallystick.host.addresses import HERE, drawn_port
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import DEFAULT_STAKE, found_here, make_key, organisation_id
from tallystick.host.invite import read_invite
from tallystick.host.joining import fetch, set_up_invited
from tallystick.host.trust import TrustStore
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import SEED_BYTES, Wallet
from tallystick.problems import NotInTime, Problem
from tallystick.storage.store import Store

MOST_PROCESSES: Final = 16
PARAMS: Final = Params(
    epoch_blocks=10, epoch_ms=10_000, unbonding_blocks=20, unbonding_ms=60_000, anybody_certifies=False
)
"""To play with: whatever takes time is seen within a minute."""
UNIVERSITIES: Final = tuple(f"University {letter}" for letter in string.ascii_uppercase)

_DIPLOMA: Final = b"Diploma: Margaret Hamilton, BSc"
_FORGED: Final = _DIPLOMA.replace(b"BSc", b"MSc")
_STATEMENTS_MEANWHILE: Final = 4
_FINAL_SECONDS: Final = 60.0


def play_real(console: Terminal, paths: Sequence[Path], nodes: int, chain: Path) -> Account:
    """Play it, and keep the chain; no process outlives this. Raises `Problem` when something does not come to pass."""
    drafts = about_files(paths)
    check_room(chain)
    check_handed_on(chain)
    with terminated_like_interrupted(), tempfile.TemporaryDirectory(prefix="tallystick-") as root:
        kept, into, called = Path(root) / "kept.db", Path(root) / "net", UNIVERSITIES[:nodes]
        folders = found_here(LEDGER_NAME, into, nodes, "", params=PARAMS, port=drawn_port(nodes), called=called)
        with LocalNetwork([NodeProcess(folder) for folder in folders]) as network:
            demo = RealDemo(console, network)
            with demo.status:
                account = demo.play(drafts, paths, kept)
        make_room(chain)
        shutil.move(kept, chain)
        hand_on(kept.with_name(DIPLOMA), account.ledger.ledger_id, chain)
    return account


class RealDemo(Play):
    """One play, scene after scene."""

    due: ClassVar = (
        "the_outsider_was_refused",
        "went_on_without_the_killed",
        "the_joiner_caught_up",
        "another_was_admitted",
        "the_lost_key_was_replaced",
        "the_revoked_was_valid_until_then",
        "all_ended_well",
        *Play.due,
        "the_proof_outlived_the_nodes",
        "the_changed_document_failed",
    )

    def __init__(self, console: Terminal, network: LocalNetwork[NodeProcess]) -> None:
        with Store.open(network.nodes[0].folder.ledger_path, read_only=True) as store:
            genesis = store.genesis
        super().__init__(console, now_ms, genesis.created_ms)
        titles = {founder.key: founder.title for founder in genesis.founders}
        self._network, self._members = network, list(network.nodes)
        self._title = {node.name: titles[node.folder.public_key()] for node in self._members}
        self._refusals: list[Refusal] = []

    def play(self, drafts: Sequence[Draft], paths: Sequence[Path], kept: Path) -> Account:
        """All of it. Raises `Problem`."""
        members, newcomer = self._members, UNIVERSITIES[len(self._members)]
        self._start()
        self.show_scene("Files are certified through the nodes")
        for number, draft in enumerate(drafts):
            self._certify(members[number % len(members)], draft)
        self._refuse_an_outsider(members[1])
        self._kill_and_restart(members[2], [one for one in members if one is not members[2]])
        self._admit(newcomer)
        self._replace_the_key(members[3])
        self._revoke(members[0], kept.with_name("diploma.txt"))
        diploma = self._prove(members[0], members[-1], kept.with_name(DIPLOMA))
        return self._close(paths, kept, diploma)

    # ---- scenes -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        within, count = self._members[0].folder.path.parent, len(self._members)
        self.show_scene("The nodes start, and find each other")
        self.tell(">", f"{count} universities found a ledger: they alone certify, and decide by motions who is one")
        self.tell(">", f"{count} node processes start in {within}, each with a folder, a key and a port")
        self._joined_ms = dict.fromkeys([node.name for node in self._members], self.elapsed_ms)
        self._network.start()
        self.tell(">", "They have found each other, and vote")

    def _refuse_an_outsider(self, node: NodeProcess) -> None:
        self.show_scene("An outsider certifies a fake")
        attempt = f"a fake diploma of {self._title[self._members[0].name]}, by a key in no organisation"
        outcome = self._try(node, Wallet(secrets.token_bytes(SEED_BYTES)), attempt)
        says = f"An outsider's fake was refused by rule {outcome.rule} at the first node that saw it"
        is_refused = outcome.rule == "D1"
        says = says if is_refused else f"An outsider's fake was not refused by rule D1: it is {outcome.state}"
        self.judge("the_outsider_was_refused", is_refused, says, node=node.name, rule=outcome.rule)

    def _try(self, node: NodeProcess, wallet: Wallet, attempt: str) -> views.Outcome:
        """Somebody certifies with this key at a node, and is to be refused."""
        with Client(node.folder.path, wallet=wallet) as client:
            signed = client.sign([("Diploma: Nobody, PhD", None)])
            (outcome,) = client.submit(signed, timeout_s=_FINAL_SECONDS)
        if outcome.rule is not None:
            self._refusals.append(Refusal(node.name, outcome.rule, outcome.reason or "", attempt))
            self.tell("×", f"{self._called(node)} refuses [{outcome.rule}] {attempt}")
        return outcome

    def _kill_and_restart(self, victim: NodeProcess, others: Sequence[NodeProcess]) -> None:
        called, tip_index = self._called(victim), victim.status().tip_index
        self.show_scene(f"{called} is killed: the ledger goes on without it")
        victim.kill()
        one = Killing(victim.name, tip_index, self.elapsed_ms)
        self.tell("!", f"{called} is killed (SIGKILL) at block {tip_index}")
        for number in range(_STATEMENTS_MEANWHILE):
            draft = in_words(f"{self._title[victim.name]} is away, statement {number + 1}")
            final = self._certify(others[number % len(others)], draft)
            one.went_on = one.went_on if number else final
            one.last_index = final.index or 0
        with Store.open(victim.folder.ledger_path, read_only=True) as store:
            one.kept_index = store.tip_index
        victim.launch()
        one.restarted_ms = self.elapsed_ms
        self.tell(">", f"{called} starts again, with {many(one.kept_index, 'block')} that it had kept")
        one.caught_up = self._wait_for(victim, max(node.status().tip_index for node in others))
        self.tell(">", f"{called} has caught up with block {one.caught_up.index}, each checked")
        self._network.wait_until_voting()
        one.voted_again = self._certify(victim, in_words(f"{self._title[victim.name]} is back"))
        self.judge_killing(one, called=called)

    def _admit(self, title: str) -> None:
        host, *others = self._members
        self.show_scene(f"{title} joins with a line of text, and is admitted by the others")
        joiner, caught_up = self._invite(host, title)
        self.judge_joining(joiner.name, caught_up, self._called(joiner))
        with joiner.client() as client:
            own = client.admission(organisation_id(title))
        change = d.Admit(own.organisation, title, None, own.key, "member", DEFAULT_STAKE, own.admitted)
        self._members.append(joiner)
        passed = self._decide(change, host, others)
        votes = self._voting(joiner)
        certified = self._certify(joiner, in_words(f"{title} certifies from now on"))
        says = f"{title} was admitted by a motion that passed with block {passed.index}: it votes, and certifies"
        facts = {"title": title, "passed": passed, "votes": votes, "certified": certified}
        self.judge("another_was_admitted", (certified.index or 0) > (passed.index or 0), says, **facts)

    def _replace_the_key(self, lost: NodeProcess) -> None:
        """A member's machine is gone for good, and its key with it."""
        title, old = self._title[lost.name], lost.folder.wallet("")
        self.show_scene(f"{title} loses its key: the others replace it, and the ledger never stops")
        lost.kill()
        lost_ms, tip_index = self.elapsed_ms, self._members[0].status().tip_index
        self.tell("!", f"The machine of {title} is lost for good at block {tip_index}, and its key with it")
        others = [one for one in self._members if one is not lost]
        new, _ = self._invite(others[0], title)
        with new.client() as client:
            own = client.admission(organisation_id(title))
        change = d.ReplaceMemberKey(own.organisation, old.public_key.hex(), own.key, None, own.admitted)

        def go_on() -> None:
            self._certify(others[1], in_words(f"The ledger goes on without {title}"))

        passed = self._decide(change, others[0], others[1:], meanwhile=go_on)
        votes = self._voting(new)
        took_ms = self.elapsed_ms - lost_ms
        self._stretches += [
            Stretch(title, "there", self._joined_ms[lost.name], lost_ms),
            Stretch(title, "killed", lost_ms, lost_ms + took_ms),
        ]
        self._network.nodes.remove(lost)
        self._members[self._members.index(lost)] = new
        again = self._certify(new, in_words(f"{title} certifies with its new key"))
        outcome = self._try(others[0], old, f"a diploma by the key that {title} lost")
        says = f"{title} lost its key, and {seconds(took_ms)} later another voted, by a motion of the others; meanwhile"
        says = (
            f"{says} {many((passed.index or 0) - tip_index, 'block')} became final, and the old key certifies no more"
        )
        says = (
            says if outcome.rule == "D1" else f"The key that {title} lost is not refused: its fake is {outcome.state}"
        )
        facts = {"title": title, "lost_at": tip_index, "passed": passed, "votes": votes, "certified": again}
        self.judge("the_lost_key_was_replaced", outcome.rule == "D1", says, old_key_refused_by=outcome.rule, **facts)

    def _revoke(self, node: NodeProcess, diploma: Path) -> None:
        self.show_scene("A diploma is revoked: was it valid then?")
        diploma.write_text("Diploma: Grace Hopper, PhD\n")
        draft = about_file(diploma, "Diploma: Grace Hopper, PhD")
        assert draft.described is not None
        self._certify(node, draft)
        with node.client() as client:
            (found,) = client.statements_of(draft.described)
            outcome = client.revoke(found.id, "revoked", "mistake").outcome
        index = outcome.block_index or 0
        self.tell("!", f"{self._title[node.name]} revokes it, certified by mistake: block {index}")
        last = self._members[-1]
        self._wait_for(last, index)
        with last.client() as client:
            (certificate,) = client.statements_of(draft.described)
            now = certificate.validity
            certified_ms = certificate.place.block_timestamp_ms
            since_ms = (now.since_ms if now else None) or certified_ms
            times = (certified_ms - 1, certified_ms, since_ms - 1, since_ms)
            states = [client.validity(certificate.id, at_ms).state for at_ms in times]
        holds = states == ["not_yet", "valid", "valid", "revoked"]
        self.tell(">", f"Was it valid? {self._called(last)}, of four times: {', '.join(states).replace('_', ' ')}")
        blocks = f"from block {certificate.place.block_index} until block {index}, and is revoked since"
        says = f"“{certificate.subject}” was valid {blocks}: the node of {self._title[last.name]} says so of each time"
        says = says if holds else f"Of a diploma that was revoked the node of {self._title[last.name]} says otherwise"
        facts = {"id": certificate.id, "subject": certificate.subject, "reason": now.reason if now else None}
        told = dict(zip(map(str, times), states, strict=True))
        self.judge("the_revoked_was_valid_until_then", holds, says, states=told, **facts)

    def _prove(self, issuer: NodeProcess, another: NodeProcess, diploma: Path) -> Path:
        """A diploma, and beside it the proof that any node makes of it."""
        self.show_scene("A diploma is proven by a file beside it")
        diploma.write_bytes(_DIPLOMA)
        draft = about_file(diploma, _DIPLOMA.decode())
        final = self._certify(issuer, draft)
        self._wait_for(another, final.index or 0)
        with another.client() as client:
            assert draft.described is not None
            (found,) = client.statements_of(draft.described)
            proof = diploma.with_name(diploma.name + PROOF)
            write_proof(client.prove(found.id, timeout_s=_FINAL_SECONDS), proof)
        size = f"{proof.stat().st_size:,} bytes"
        self.tell("+", f"{self._called(another)} makes {proof.name}, of {size}, when members have countersigned")
        return diploma

    def _verify_alone(self, diploma: Path, ledger_id: str) -> None:
        """When no node is left, by whoever has the diploma, its proof and the ledger's id."""
        self.show_scene("All nodes have stopped: the proof needs none of them")
        genuine = self._verdict(diploma, ledger_id)
        diploma.write_bytes(_FORGED)
        forged = self._verdict(diploma, ledger_id)
        diploma.write_bytes(_DIPLOMA)
        proven, holds, says = genuine.proven, False, f"Without nodes “{_DIPLOMA.decode()}” does not verify"
        if genuine.failure is None and proven is not None:
            holds = not self._network.running
            by = f"{len(proven.cosigners)} of {len(self._members)} universities countersigned"
            says = f"“{proven.subject}” verifies without any node, by its proof and the ledger's id:"
            says = f"{says} {proven.issuer.title} certified it, {by}"
        self.judge("the_proof_outlived_the_nodes", holds, says, verdict=to_builtins(genuine))
        failure, says = forged.failure, f"With one byte changed, “{_FORGED.decode()}”, it verifies as well"
        if failure is not None:
            says = f"With one byte changed, “{_FORGED.decode()}”, it fails at check {failure.rule}: {failure.step}"
        is_refused = failure is not None and failure.rule == "P10"
        self.judge("the_changed_document_failed", is_refused, says, verdict=to_builtins(forged))

    def _verdict(self, document: Path, ledger_id: str) -> FileVerdict:
        """As `tallystick verify --ledger` judges it for somebody who has no node, and trusted nobody before."""
        trust = TrustStore(document.with_name("trust"))
        found = Verifier(trust, OwnNode(), Question(now_ms(), ledger=ledger_id)).verify(find_proof(document))
        told = f"“{document.read_text()}”"
        if found.failure is not None:
            self.tell("×", f"{told} does not verify [{found.failure.rule}]: {found.failure.reason}")
        elif found.proven is not None:
            changes = f"{many(len(found.proven.changes), 'change')} of members followed"
            self.tell("■", f"{told} verifies: all signatures checked from the genesis on, {changes}, no node asked")
        return found

    # ---- parts of them ------------------------------------------------------------------------------------------

    def _called(self, node: NodeProcess) -> str:
        return f"{node.name} of {self._title[node.name]}"

    def _certify(self, process: NodeProcess, draft: Draft) -> Moment:
        with process.client() as client:
            signed, began_ms = client.sign([(draft.subject, draft.payload)]), self.elapsed_ms
            (outcome,) = client.submit(signed, timeout_s=_FINAL_SECONDS)
        final, who = Moment(self.elapsed_ms, outcome.block_index), self._title[process.name]
        failed = f"{who} did not certify {draft.subject!r}"
        if outcome.reason is not None:
            raise Problem(f"{failed}: {outcome.reason}")
        if final.index is None:
            raise NotInTime(f"{failed} within {_FINAL_SECONDS:.0f} s")
        what = Path(draft.file).name if draft.file else f"“{draft.subject}”"
        told = f"{who} certifies {what}: block {final.index}"
        self.tell("+", f"{told}, final after {self.elapsed_ms - began_ms} ms")
        return final

    def _decide(
        self,
        change: d.AnyChange,
        mover: NodeProcess,
        others: Sequence[NodeProcess],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Moment:
        """One moves that something be changed, the others approve until it has passed. Raises `Problem`."""
        what = change_in_words(d.change_in(change))
        with mover.client() as client:
            moved = client.move(change)
            motion = client.motion(moved.id)
        at = f"{motion.approving} of {motion.total_stake} approve, {motion.needed} are needed"
        self.tell("+", f"{self._title[mover.name]} moves to {what}: {at}")
        for node in others:
            meanwhile()
            self._wait_for(node, moved.outcome.block_index or 0)
            with node.client() as client:
                moved = client.approve(motion.id)
                motion = client.motion(motion.id)
            self.tell("+", f"{self._title[node.name]} approves: {motion.approving} of {motion.total_stake}")
            if motion.state == "passed":
                self.tell("■", f"The motion has passed, and is in effect: block {motion.decided_block}")
                return Moment(self.elapsed_ms, motion.decided_block)
        raise Problem(f"the motion to {what} did not pass: it is {motion.state}")

    def _voting(self, node: NodeProcess) -> Moment:
        self._network.wait_until(lambda: node.status().is_voting, f"{node.name} voting")
        moment = Moment(self.elapsed_ms, node.status().tip_index)
        self.tell(">", f"{self._called(node)} votes")
        return moment

    def _invite(self, host: NodeProcess, title: str) -> tuple[NodeProcess, Moment]:
        """Another node, with a key of its own, joins; it reads along."""
        with host.client() as client:
            invite = client.invite()
        self.tell(">", f"{self._title[host.name]} invites a node of {title}: tallystick join {invite[:24]}…")
        name = f"node-{len(self._title) + 1}"
        joiner = NodeProcess(DataFolder(host.folder.path.with_name(name)))
        self._joined_ms[name], self._title[name] = self.elapsed_ms, title
        invited = read_invite(invite)
        genesis = fetch(invited, make_key(joiner.folder, ""))
        address = f"{HERE}:{drawn_port()}"
        set_up_invited(joiner.folder, invited, genesis, address, address)
        self._network.nodes.append(joiner)
        joiner.launch()
        caught_up = self._wait_for(joiner, host.status().tip_index)
        self.tell(">", f"{self._called(joiner)} has caught up with block {caught_up.index}, each checked")
        return joiner, caught_up

    def _wait_for(self, node: NodeProcess, tip_index: int) -> Moment:
        self._network.wait_until(lambda: node.status().tip_index >= tip_index, f"{node.name} catching up")
        return Moment(self.elapsed_ms, node.status().tip_index)

    # ---- the end ------------------------------------------------------------------------------------------------

    def _close(self, paths: Sequence[Path], kept: Path, proven: Path) -> Account:
        """Keep the chain, verify each file at every node and in the kept chain, have all nodes end, and go on alone."""
        self.show_scene("Every file is verified at every node")
        tip_index = max(node.status().tip_index for node in self._network.running)
        for node in self._network.running:
            self._wait_for(node, tip_index)
        with ExitStack() as stack:
            clients = {node.name: stack.enter_context(node.client()) for node in self._members}
            ends = {name: client.ledger() for name, client in clients.items()}
            clients[self._members[0].name].backup(kept)
            chain = read_back(kept)
            doors = {self._title[name]: client.statements_of for name, client in clients.items()}
            files = [check_file(path, doors | {KEPT: chain.covers}) for path in paths]
        for one in files:
            told = f"{one.name} verifies at the nodes of {', '.join(one.verified_by[:-1])}, and in {KEPT}"
            self.tell("■", f"{told}; with one byte changed it fails at {len(one.failed_when_changed_by)} of them")
        nodes = [
            NodeLine(
                name, self._title[name], self._joined_ms[name], one.tip.index, one.tip.hash, one.log_size, one.log_root
            )
            for name, one in ends.items()
        ]
        codes = self._network.stop()
        ended = f"All {len(codes)} processes ended when they were asked to"
        says = "A process had to be killed, or ended badly" if any(codes.values()) else ended
        self.judge("all_ended_well", not any(codes.values()), says, exit_codes=codes)
        self.judge_ends(chain, nodes, files, [*doors, KEPT])
        self._verify_alone(proven, chain.ledger.ledger_id)
        account = self.give_account(chain, nodes, files)
        account.refusals = self._refusals
        return account
