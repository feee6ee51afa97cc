"""Somebody who comes late: much to fetch, killed on the way, and equal in the end."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace
from tests.integration.network import (
    QUICK,
    Network,
    NodeProcess,
    free_ports,
    set_up_member,
    short_folder,
    tallystick,
    wait_for,
)

from tallystick.host.control import Certify, Invitation, Invite, MadeFinal, NewStatement
from tallystick.host.store import Store
from tallystick.ledger.wallet import Wallet

CERTIFICATES = 100_000
AT_A_TIME = 2_000
PER_BLOCK = CERTIFICATES // 200

PARAMS = replace(
    QUICK, forge_at_certificates=PER_BLOCK, max_block_certificates=PER_BLOCK, epoch_blocks=16, unbonding_blocks=32
)


@contextmanager
def long_ledger() -> Iterator[tuple[Network, NodeProcess, NodeProcess]]:
    """One member with most of the stake, running, that has made many certificates final; another that never ran."""
    with short_folder() as path, Network(path) as net:
        wallets = [Wallet(os.urandom(32)), Wallet(os.urandom(32))]
        first = free_ports(2)
        addresses = {one.public_key: f"127.0.0.1:{first + number}" for number, one in enumerate(wallets)}
        stakes = {wallets[0].public_key: 390, wallets[1].public_key: 10}
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


def encoded_blocks(node: NodeProcess) -> list[bytes]:
    with Store.open(node.folder.ledger_path, read_only=True) as store:
        return [block.encoded for block in store.blocks()]


def last_index_in(log: str) -> int:
    """The last block that a node told of, in its log."""
    said = re.findall(r" (?:block final|running) .* ?index=(\d+)", log)
    return int(said[-1]) if said else 0


def starts_in(log: str) -> list[int]:
    """Where its two processes began; nothing while there was one."""
    began = [int(one) for one in re.findall(r" running .*index=(\d+)", log)]
    return began if len(began) == 2 else []


def kill_on_the_way(node: NodeProcess, tip: int) -> int:
    """Kill the node while it fetches; the block that it had told of at the time."""
    node.launch()
    wait_for(lambda: last_index_in(node.log) >= tip // 4, "it fetches")
    node.kill()
    return last_index_in(node.log)


def test_late_joiners_fetch_a_hundred_thousand_certificates_and_resume_where_they_were_killed() -> None:
    with long_ledger() as (net, early, late):
        ticket = early.one(Invite(), Invitation).ticket
        observer = net.add(NodeProcess(net.path / "observer"))
        own = f"127.0.0.1:{free_ports(1)}"
        tallystick("join", ticket, "--data", observer.folder.path, "--address", own, "--no-passphrase")
        tip = early.status().index
        for joiner in (late, observer):
            begun_s = time.monotonic()
            killed_at = kill_on_the_way(joiner, tip)
            assert 0 < killed_at < tip, "too quick to be killed on the way"
            joiner.start()
            _, resumed_at = wait_for(lambda joiner=joiner: starts_in(joiner.log), f"{joiner.name} has started twice")
            assert killed_at <= resumed_at < tip
            wait_for(lambda joiner=joiner: joiner.status().index == tip, f"{joiner.name} has caught up", 600)
            took_s = time.monotonic() - begun_s
            print(f"{joiner.name}: {took_s:.1f} s, killed at block {killed_at}, went on at {resumed_at} of {tip}")
        wait_for(lambda: late.status().is_voting, "the late member votes")
        observer.certify("by one who came late")
        net.wait_until_agreed(tip + 1)
        assert late.status().certificates == CERTIFICATES + 1
        net.stop()
        assert encoded_blocks(late) == encoded_blocks(observer) == encoded_blocks(early)
        with observer.chain() as chain:
            assert chain.state.log.size == CERTIFICATES + 1
