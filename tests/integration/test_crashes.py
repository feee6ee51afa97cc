"""Real nodes that are killed, stopped and starved: what was told to be final stays, and what was taken comes."""

import random
import time

from tests.integration.network import network, streams, wait_for

KILLS = 6


def test_nothing_final_is_lost_or_doubled_when_nodes_are_killed_at_any_moment(seed: int) -> None:
    chance = random.Random(seed)
    with network() as net:
        net.start()
        with streams(net.nodes) as told:
            for _ in range(KILLS):
                before = sum(len(one.final) for one in told)
                wait_for(lambda before=before: sum(len(one.final) for one in told) > before, "the ledger goes on")
                time.sleep(chance.uniform(0, 0.5))
                doomed = chance.sample(net.nodes, chance.choice((1, 1, 1, 2, 4)))
                for node in doomed:
                    node.kill()
                for node in doomed:
                    node.start()
        net.wait_until_agreed()
        final = [one for each in told for one in each.final]
        taken = [one for each in told for one in each.taken]
        assert not [one for each in told for one in each.rejected]
        print(len(final), len(taken), sum(one.cut_off for one in told))
        net.assert_equal_chains(final, taken)
