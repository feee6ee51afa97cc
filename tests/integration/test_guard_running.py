"""Members whose guard is lost, damaged, moved or doubled, as processes: what they say, and that they lose no stake."""

import json
import shutil
from typing import Any

from tests.integration.command_line import called
from tests.integration.network import (
    Network,
    NodeProcess,
    running_network,
    streams,
    wait_for,
    with_settings,
)
from tests.ports import drawn_port

from tallystick.consensus.signing_guard import Floor, GuardStatus, Signed, TwinSeen
from tallystick.host.guard_file import read_guard, summaries


def told(node: NodeProcess, expect: int) -> Any:
    return json.loads(called("status", "--json", "--data", node.folder.path, expect=expect).stdout)


def records(node: NodeProcess) -> list[object]:
    return list(read_guard(node.folder.guard_path, node.folder.public_key()).records)


def certify_until(net: Network, condition: Any, what: str) -> list[Any]:
    """Certify through all that run, one after the other, until it is so."""
    final: list[Any] = []

    def is_so() -> bool:
        running = [node for node in net.nodes if node.process is not None and node.process.poll() is None]
        final.extend(running[len(final) % len(running)].certify(f"{what}: {len(final)}"))
        return bool(condition())

    wait_for(is_so, what)
    return final


# ---- kept -------------------------------------------------------------------------------------------------------


def test_a_clean_stop_leaves_a_guard_that_holds_what_counts() -> None:
    with running_network(1) as net:
        (node,) = net.nodes
        for number in range(5):
            node.certify(f"{number}")
        assert node.stop() == 0
        (floor,) = [one for one in records(node) if isinstance(one, Floor)]
        assert floor.view >= 5
        assert not [one for one in records(node) if isinstance(one, Signed) and one.view <= floor.view]


# ---- lost -------------------------------------------------------------------------------------------------------


def test_a_member_whose_guard_is_gone_says_whom_it_waits_for_recovers_and_is_silent_for_a_while() -> None:
    with running_network(4) as net:
        *others, away, node = net.nodes
        final = [one for number in range(3) for one in others[0].certify(f"{number}")]
        net.wait_until_agreed()
        for one in (node, away):
            assert one.stop() == 0
        node.folder.guard_path.unlink()
        node.start()
        wait_for(lambda: len(node.status().unanswered) == 1, "the two that run have answered")
        said = told(node, expect=1)
        assert (said["state"], said["guard"], said["is_voting"]) == ("recovering", "lost", False)
        assert [one["key"] for one in said["unanswered"]] == [away.folder.public_key().hex()]
        away.start()
        wait_for(lambda: node.status().guard == "ready", "a quorum of the others has answered")
        silent = node.status().silent_until
        assert silent is not None
        said = told(node, expect=1)
        assert (said["state"], said["silent_until"]) == ("silent", {"epoch": silent.epoch, "view": silent.view})
        final += certify_until(net, lambda: node.status().is_voting, "later views come")
        away.kill()  # from here on it takes the recovered member's votes
        final += node.certify("with its vote")
        away.start()
        net.wait_until_agreed()
        for event in ("signing guard lost", "recovering", "recovered", "votes again"):
            wait_for(lambda: event in node.log, f"the log says: {event}")  # noqa: B023
        net.assert_equal_chains(final)


def test_one_of_three_equal_members_goes_on_by_its_operators_word() -> None:
    with running_network(3) as net:
        *others, node = net.nodes
        final = others[0].certify("before")
        net.wait_until_agreed()
        assert node.stop() == 0
        node.folder.guard_path.unlink()
        node.start()
        wait_for(lambda: not node.status().unanswered, "both others have answered, and are no quorum")
        assert told(node, expect=1)["guard"] == "lost"
        assert node.stop() == 0
        called("guard", "accept-loss", "--data", node.folder.path, expect=2)
        called("guard", "accept-loss", "--yes", "--data", node.folder.path)
        node.start()
        wait_for(lambda: node.status().guard == "ready", "it goes on")
        final += certify_until(net, lambda: node.status().is_voting, "later views come")
        net.assert_equal_chains(final)


def test_a_damaged_guard_is_kept_aside_and_said_and_the_member_recovers() -> None:
    with running_network(4) as net:
        *others, node = net.nodes
        final = others[0].certify("before")
        net.wait_until_agreed()
        node.kill()
        damaged = bytearray(node.folder.guard_path.read_bytes())
        damaged[len(damaged) // 3] ^= 1
        node.folder.guard_path.write_bytes(damaged)
        node.start()
        wait_for(lambda: node.status().guard == "ready", "the others have answered")
        aside = node.folder.path / "guard.damaged-1"
        assert aside.read_bytes() == damaged
        assert f"is damaged; it is kept as {aside}" in node.log
        final += certify_until(net, lambda: node.status().is_voting, "later views come")
        net.assert_equal_chains(final)


def test_killed_at_any_moment_a_member_finds_its_guard_whole() -> None:
    with running_network(4) as net:
        *_, node = net.nodes
        with streams(net.nodes[:2]) as streamed:
            for _ in range(4):
                before = len(streamed[0].final)
                wait_for(lambda: len(streamed[0].final) > before + 3, "the ledger goes on")  # noqa: B023
                node.kill()
                assert read_guard(node.folder.guard_path, node.folder.public_key()).loss is None
                node.start()
        net.wait_until_agreed()
        assert "recovering" not in node.log
        net.assert_equal_chains([one for each in streamed for one in each.final])


# ---- moved ------------------------------------------------------------------------------------------------------


def test_a_moved_member_goes_on_where_it_was_moved_to_and_not_here() -> None:
    with running_network(4) as net:
        *others, old = net.nodes
        final = others[0].certify("before")
        net.wait_until_agreed()
        assert old.stop() == 0
        new = NodeProcess(net.path / "net" / "moved")
        called("guard", "move", new.folder.path, "--data", old.folder.path)
        for name in ("ledger.db", "node.toml"):
            shutil.copy(old.folder.path / name, new.folder.path / name)
        old.launch()
        assert old.wait() == 2
        assert "was moved to another machine: run it there" in old.log
        net.nodes.remove(old)
        net.add(new).start()
        net.wait_until_voting()
        others[0].kill()  # from here on it takes the moved member's votes
        final += new.certify("with its vote")
        others[0].start()
        net.wait_until_agreed()
        net.assert_equal_chains(final)


# ---- twins ------------------------------------------------------------------------------------------------------


def test_a_twin_ends_loudly_and_started_again_signs_nothing_until_its_operator_says_so() -> None:
    """The folder was copied to a second machine 'to be safe', and both run."""
    with running_network(4) as net:
        *others, first = net.nodes
        others[0].certify("before")
        assert first.stop() == 0
        second = NodeProcess(net.path / "net" / "twin")
        shutil.copytree(first.folder.path, second.folder.path)
        with_settings(second, listen=f"127.0.0.1:{drawn_port(1)}")
        twins = (first, second)
        for one in twins:
            one.start()
        net.add(second)

        def ended() -> list[NodeProcess]:
            return [one for one in twins if one.process is not None and one.process.poll() is not None]

        for number in range(200):
            if ended():
                break
            others[number % 3].certify(f"{number}")
        seen = ended()[0]
        assert seen.wait() == 4
        assert "another machine signs with this node's own key" in seen.log
        (stayed,) = [one for one in twins if one is not seen]
        assert any(isinstance(one, TwinSeen) for one in records(seen))
        seen.start()
        said = told(seen, expect=1)
        assert (said["guard"], said["is_voting"]) == ("twin", False)
        assert said["twin"] is not None
        before = records(seen)
        for number in range(6):
            others[number % 3].certify(f"beside it: {number}")
        assert records(seen) == before, "it signs nothing"
        assert seen.stop() == 0
        if stayed.process is not None and stayed.process.poll() is None:
            stayed.stop()
        called("guard", "recover", "--data", seen.folder.path, expect=2)
        called("guard", "recover", "--yes", "--data", seen.folder.path)
        ledger_id = next(one.ledger_id for one in before if isinstance(one, TwinSeen))
        assert summaries(records(seen))[ledger_id].status is GuardStatus.LOST  # type: ignore[arg-type]
