"""Somebody who comes late: much to fetch, killed on the way, and equal in the end."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.network import (
    Network,
    NodeProcess,
    free_ports,
    set_up_member,
    short_folder,
    tallystick,
    wait_for,
)

from tallystick.host.control import Certify, Invitation, Invite, MadeFinal, NewStatement
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import Wallet

CERTIFICATES = int(os.environ.get("TALLYSTICK_LATE_CERTIFICATES", "20000"))
AT_A_TIME = 250

PARAMS = Params(forge_at_certificates=AT_A_TIME, epoch_blocks=16, unbonding_blocks=32)


@contextmanager
def long_ledger() -> Iterator[tuple[Network, NodeProcess, NodeProcess]]:
    """One member with most of the stake, running, that has made many certificates final; another that never ran."""
    with short_folder() as path, Network(path) as net:
        wallets = [Wallet.generate(), Wallet.generate()]
        first = free_ports(2)
        addresses = {one.public_key: f"127.0.0.1:{first + number}" for number, one in enumerate(wallets)}
        stakes = {wallets[0].public_key: 300, wallets[1].public_key: 100}
        early, late = (
            net.add(set_up_member(path / name, wallet, stakes, PARAMS, addresses, name="Long"))
            for name, wallet in zip(("early", "late"), wallets, strict=True)
        )
        early.start("--log-level", "warning")
        begun_s = time.monotonic()
        with early.client() as client:
            for start in range(0, CERTIFICATES, AT_A_TIME):
                said = tuple(NewStatement(f"{start + number}") for number in range(AT_A_TIME))
                final = sum(isinstance(one, MadeFinal) for one in client.ask(Certify(said)))
                assert final == AT_A_TIME
        print(f"{CERTIFICATES} certificates in {early.status().index} blocks in {time.monotonic() - begun_s:.1f} s")
        yield net, early, late


def kill_half_way(node: NodeProcess, tip: int) -> int:
    """Kill the node while it fetches; how far it was known to be."""
    node.launch()
    node.wait_until_running()
    reached = wait_for(lambda: node.status().index, "it fetches")
    while reached < tip // 2:
        reached = node.status().index
    node.kill()
    assert reached < tip, f"it was too quick to be killed half way: raise CERTIFICATES, {CERTIFICATES} now"
    return int(reached)


def test_late_joiners_fetch_thousands_of_certificates_and_resume_where_they_were_killed() -> None:
    with long_ledger() as (net, early, late):
        ticket = early.one(Invite(), Invitation).ticket
        observer = net.add(NodeProcess(net.path / "observer"))
        own = f"127.0.0.1:{free_ports(1)}"
        tallystick("join", ticket, "--data", observer.folder.path, "--address", own, "--no-passphrase")
        tip = early.status().index
        for joiner in (late, observer):
            begun_s = time.monotonic()
            reached = kill_half_way(joiner, tip)
            joiner.start()
            assert joiner.status().index >= reached, "it began anew"
            wait_for(lambda joiner=joiner: joiner.status().index == tip, f"{joiner.name} has caught up", 600)
            print(f"{joiner.name}: {time.monotonic() - begun_s:.1f} s, killed at block {reached} of {tip}")
        wait_for(lambda: late.status().is_voting, "the late member votes")
        observer.certify("by one who came late")
        net.wait_until_agreed(tip + 1)
        assert late.status().certificates == CERTIFICATES + 1
        net.assert_equal_chains()


