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
    set_up_member,
    short_folder,
    wait_for,
)
from tests.ports import drawn_port

from tallystick.ledger.wallet import Wallet
from tallystick.storage.store import Store

CERTIFICATES = 10_000
AT_A_TIME = 1_000
PER_BLOCK = CERTIFICATES // 200

PARAMS = replace(
    QUICK, forge_at_certificates=PER_BLOCK, max_block_certificates=PER_BLOCK, epoch_blocks=16, unbonding_blocks=32
)


@contextmanager
def long_ledger() -> Iterator[tuple[Network, NodeProcess, NodeProcess]]:
    """One member with most of the stake, running, that has made many certificates final; another that never ran."""
    with short_folder() as path, Network(path) as net:
        wallets = [Wallet(os.urandom(32)), Wallet(os.urandom(32))]
        first = drawn_port(2)
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
                entries = client.sign([(f"{start + number}", None) for number in range(AT_A_TIME)])
                assert {one.state for one in client.submit(entries)} == {"final"}
        print(f"{CERTIFICATES} certificates in {early.status().tip_index} blocks in {time.monotonic() - begun_s:.1f} s")
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
    wait_for(lambda: last_index_in(node.log) >= tip // 8, "it has fetched a part")
    node.kill()
    return last_index_in(node.log)


def test_a_late_joiner_fetches_many_certificates_and_resumes_where_it_was_killed() -> None:
    with long_ledger() as (net, early, late):
        tip = early.status().tip_index
        begun_s = time.monotonic()
        killed_at = kill_on_the_way(late, tip)
        assert 0 < killed_at < tip, "too quick to be killed on the way"
        late.start()
        _, resumed_at = wait_for(lambda: starts_in(late.log), "it has started twice")
        assert killed_at <= resumed_at < tip
        wait_for(lambda: late.status().tip_index == tip, "it has caught up", 600)
        print(f"{time.monotonic() - begun_s:.1f} s, killed at block {killed_at}, went on at {resumed_at} of {tip}")
        wait_for(lambda: late.status().is_voting, "it votes")
        late.certify("by one who came late")
        net.wait_until_agreed(tip + 1)
        assert late.status().log_size == CERTIFICATES + 1
        net.stop_in_order()
        assert encoded_blocks(late) == encoded_blocks(early)
        with late.chain() as chain:
            assert chain.state.log.size == CERTIFICATES + 1
