"""The folder of trusted ledgers: what stays in it, whatever happens, and that trust never goes back."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, GENESIS, START_MS, found

from tallystick.host.own_files import TrustError
from tallystick.host.trust import (
    MAX_ANCHORS,
    MAX_CONFLICTS,
    KeptProof,
    TrustedLedger,
    TrustStore,
    is_safe_name,
    named_ledger,
    usual_trust_folder,
)
from tallystick.ledger.genesis import Genesis, make_genesis
from tallystick.problems import Ambiguous, DamagedStore, NotThere
from tallystick.proof.members import Anchor

LEDGER = GENESIS.ledger_id
OTHER = found(ADA, BEN)


def trusted(name: str = "ours", genesis: Genesis = GENESIS, **more: Any) -> TrustedLedger:
    return TrustedLedger(name, genesis.ledger_id, START_MS, "its id", **more)


def anchor(index: int, ledger_id: bytes = LEDGER, fill: bytes = b"h") -> Anchor:
    return Anchor(ledger_id, index // 10, ((ADA.public_key, 100),), index, fill * 32, START_MS + index)


def proof(number: int, members: bytes | None = None) -> KeptProof:
    return KeptProof(b"proof %d" % number, members)


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "config" / "trust")


def kept(store: TrustStore) -> TrustedLedger:
    one = store.get(LEDGER)
    assert one is not None
    return one


def test_what_is_added_is_there_and_its_owners_alone(store: TrustStore) -> None:
    assert store.read_all() == ((), ())
    assert store.get(LEDGER) is None
    assert not store.path.exists(), "nothing is made before something is to be kept"
    store.add(trusted(genesis=GENESIS))
    store.add(trusted("another", OTHER))
    store.keep(LEDGER, anchor(7), proof(7, b"members"), ())
    assert [one.name for one in store.read_all().ledgers] == ["another", "ours"]
    for path in store.path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700


def test_a_ledger_is_found_by_its_name_its_id_and_how_that_begins(store: TrustStore) -> None:
    store.add(trusted())
    for who in ("ours", LEDGER.hex(), LEDGER.hex()[:16].upper()):
        assert store.id_of(who) == LEDGER
    for who in ("our", LEDGER.hex()[:15], "0" * 64):
        with pytest.raises(NotThere, match="no ledger that you trust"):
            store.id_of(who)
    twin = replace(trusted("twin"), ledger_id=LEDGER[:-1] + bytes([LEDGER[-1] ^ 1]))
    store.add(twin)
    with pytest.raises(Ambiguous, match="give more digits"):
        store.id_of(LEDGER.hex()[:16])
    assert store.id_of(LEDGER.hex()) == LEDGER


def test_a_name_is_one_ledgers_and_an_id_has_one_name(store: TrustStore) -> None:
    store.add(trusted())
    with pytest.raises(TrustError, match=f"{LEDGER.hex()[:16]}… is called ours; choose another local name"):
        store.add(trusted("ours", OTHER))
    assert store.get(OTHER.ledger_id) is None
    again = store.add(trusted("renamed", genesis=GENESIS))
    assert again.name == "ours", "who adds it twice changes nothing"
    assert store.add(replace(trusted("renamed"), genesis=GENESIS.encoded)).genesis == GENESIS.encoded


@pytest.mark.parametrize(
    "name", ["", "A", "ö", "a b", "a/b", "../a", ".a", "-a", "a" * 41, "a\n", "a\u202eb", "0123456789abcdef", "ab" * 32]
)
def test_a_name_is_plain_and_no_id(name: str) -> None:
    assert not is_safe_name(name)
    with pytest.raises(TrustError, match="is no local name: 1 to 40 characters"):
        named_ledger(LEDGER, None, name)


def test_a_ledger_is_called_as_it_calls_itself_unless_its_user_says_otherwise() -> None:
    genesis = make_genesis("Famous University", START_MS, GENESIS.allotments)
    assert named_ledger(LEDGER, genesis, None) == "famous-university"
    assert named_ledger(LEDGER, genesis, "ours") == "ours"
    assert named_ledger(LEDGER, None, None) == f"ledger-{LEDGER.hex()[:8]}"
    hidden = make_genesis("n", START_MS, GENESIS.allotments, short_name="..x")
    assert named_ledger(LEDGER, hidden, None) == "x"
    idlike = make_genesis("n", START_MS, GENESIS.allotments, short_name="0123456789abcdef")
    assert named_ledger(LEDGER, idlike, None) == f"ledger-{LEDGER.hex()[:8]}"


# ---- trust never goes back ----------------------------------------------------------------------------------------


def test_only_a_newer_header_is_kept_and_its_proof_with_it(store: TrustStore) -> None:
    store.add(trusted())
    assert store.keep(LEDGER, anchor(7), proof(7, b"members"), ())
    known = kept(store).anchors
    for older in (anchor(7, fill=b"x"), anchor(3)):
        assert store.keep(LEDGER, older, proof(3), known)
        assert kept(store).anchors == known
    assert store.keep(LEDGER, anchor(9), proof(9), known)
    assert kept(store).anchors == (anchor(7), anchor(9))
    assert kept(store).newest == anchor(9)
    files = {one.name: one.read_bytes() for one in store.path.iterdir() if one.suffix in (".tlog-proof", ".members")}
    assert files == {f"{LEDGER.hex()}.tlog-proof": b"proof 9"}, "the proof of before is not needed any more"


def test_what_was_verified_under_less_than_is_kept_now_is_verified_again(store: TrustStore) -> None:
    store.add(trusted())
    store.keep(LEDGER, anchor(7), proof(7), ())
    assert not store.keep(LEDGER, anchor(9, fill=b"x"), proof(9), ()), "another command has kept block 7 meanwhile"
    assert kept(store).anchors == (anchor(7),)


def test_another_history_of_one_index_that_was_kept_meanwhile_is_verified_again(store: TrustStore) -> None:
    """Two commands that knew nothing: the second one finds the conflict only if it verifies once more."""
    store.add(trusted())
    store.keep(LEDGER, anchor(7), proof(7), ())
    for other in (anchor(7, fill=b"x"), anchor(3, fill=b"x")):
        assert not store.keep(LEDGER, other, proof(3), ())
    assert kept(store).anchors == (anchor(7),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"index": 10**12, "epoch": 0},
        {"index": 10**12, "timestamp_ms": START_MS + 17},
        {"index": 10**12, "timestamp_ms": 0},
        {"index": 9, "epoch": 2},
        {"index": 9, "timestamp_ms": START_MS + 18},
        {"index": 9, "timestamp_ms": START_MS + 17},
    ],
)
def test_a_header_that_cannot_be_of_the_same_chain_is_not_kept(store: TrustStore, wrong: dict[str, int]) -> None:
    """As the keys of an epoch that is over can sign one of any index."""
    store.add(trusted())
    store.keep(LEDGER, anchor(17), proof(17), ())
    known = kept(store).anchors
    with pytest.raises(TrustError, match="has another place in time, or among epochs"):
        store.keep(LEDGER, replace(anchor(17), **{"timestamp_ms": START_MS + wrong["index"], **wrong}), proof(1), known)
    assert kept(store).anchors == known
    assert (store.path / f"{LEDGER.hex()}.tlog-proof").read_bytes() == b"proof 17"


def test_so_many_headers_are_kept_the_oldest_goes(store: TrustStore) -> None:
    store.add(trusted())
    for index in range(MAX_ANCHORS + 2):
        assert store.keep(LEDGER, anchor(index), proof(index), kept(store).anchors)
    assert [one.index for one in kept(store).anchors] == list(range(2, MAX_ANCHORS + 2))


def test_a_header_of_a_ledger_that_is_not_kept_makes_it_not_trusted(store: TrustStore) -> None:
    assert store.keep(LEDGER, anchor(7), proof(7), ())
    store.learn_genesis(GENESIS)
    assert store.get(LEDGER) is None


def test_the_genesis_is_learnt_once(store: TrustStore) -> None:
    store.add(trusted())
    store.learn_genesis(GENESIS)
    assert kept(store).genesis == GENESIS.encoded


def test_both_conflicting_proofs_are_kept_for_good(store: TrustStore) -> None:
    store.add(trusted())
    store.keep(LEDGER, anchor(7), proof(7, b"members"), ())
    place = store.keep_conflict(LEDGER, proof(8), "another block 7", START_MS)
    assert place is not None
    store.keep(LEDGER, anchor(9), proof(9), kept(store).anchors)
    store.remove(LEDGER)
    assert store.get(LEDGER) is None
    files = {one.name: one.read_bytes() for one in place.iterdir() if one.name != "about.json"}
    assert files == {
        "verified-before.tlog-proof": b"proof 7",
        "verified-before.members": b"members",
        "refused.tlog-proof": b"proof 8",
    }
    store.add(trusted("again"))
    ((where, conflict),) = store.conflicts(LEDGER)
    assert (where, conflict.reason, conflict.seen_ms) == (place, "another block 7", START_MS)
    assert store.keep_conflict(LEDGER, proof(8), "again", START_MS + 1) == place, "it is kept once"
    assert len(store.conflicts(LEDGER)) == 1


def test_of_conflicts_so_many_are_kept(store: TrustStore) -> None:
    store.add(trusted())
    places = [store.keep_conflict(LEDGER, proof(one), "other", START_MS) for one in range(MAX_CONFLICTS + 1)]
    assert places[-1] is None
    assert len(store.conflicts(LEDGER)) == MAX_CONFLICTS == len(set(places[:-1]))


# ---- what goes wrong ---------------------------------------------------------------------------------------------


KEEPS_EIGHT = """
import sys
from pathlib import Path
from tallystick.host.trust import KeptProof, TrustStore
from tallystick.proof.members import Anchor

store, ledger_id, own = TrustStore(Path(sys.argv[1])), bytes.fromhex(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
for number in range(8):
    mine = None
    while mine is None or mine not in store.get(ledger_id).anchors:
        known = store.get(ledger_id).anchors
        mine = Anchor(ledger_id, 0, ((bytes(32), 1),), len(known), bytes([own, number]) * 16, len(known))
        store.keep(ledger_id, mine, KeptProof(b"proof"), known)
"""


def test_commands_at_the_same_time_lose_nothing(store: TrustStore) -> None:
    """Three add to one ledger what they verified, each as often as it takes until it stands there."""
    store.add(trusted())
    run = [sys.executable, "-c", KEEPS_EIGHT, str(store.path), LEDGER.hex()]
    processes = [subprocess.Popen([*run, str(own)], stdin=subprocess.PIPE) for own in (1, 2, 3)]
    for one in processes:
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.close()
    assert [one.wait(60) for one in processes] == [0, 0, 0]
    hashes = [one.block_hash for one in kept(store).anchors]
    assert sorted(hashes) == sorted(bytes([own, number]) * 16 for own in (1, 2, 3) for number in range(8))


@pytest.mark.parametrize("cut", ["empty", "half", "bit", "other", "garbage"])
def test_a_damaged_file_is_said_and_the_others_stand(store: TrustStore, cut: str) -> None:
    store.add(trusted())
    store.add(trusted("another", OTHER))
    store.keep(LEDGER, anchor(7), proof(7), ())
    path = store.path / f"{LEDGER.hex()}.json"
    data = path.read_bytes()
    flipped = data.replace(b'"ours"', b'"evil"')
    assert flipped != data
    other = (store.path / f"{OTHER.ledger_id.hex()}.json").read_bytes()
    damaged = {"empty": b"", "half": data[: len(data) // 2], "bit": flipped, "other": other, "garbage": b"\xff[1]"}
    path.write_bytes(damaged[cut])
    with pytest.raises(DamagedStore, match="is damaged: restore it from a copy"):
        store.get(LEDGER)
    with pytest.raises(DamagedStore):
        store.add(trusted())
    assert path.read_bytes() == damaged[cut], "nothing is written over it"
    found = store.read_all()
    assert ([one.name for one in found.ledgers], found.damaged) == (["another"], (path,))
    store.remove(store.id_of(LEDGER.hex()))
    assert store.read_all().damaged == ()


def test_a_file_that_others_may_change_says_nothing(store: TrustStore) -> None:
    store.add(trusted())
    path = store.path / f"{LEDGER.hex()}.json"
    path.chmod(0o660)
    with pytest.raises(TrustError, match="may be changed by others"):
        store.get(LEDGER)


def test_a_folder_that_others_may_change_says_nothing(store: TrustStore) -> None:
    store.add(trusted())
    for mode in (0o777, 0o770, 0o1777):
        store.path.chmod(mode)
        for use in (
            lambda: store.get(LEDGER),
            lambda: store.id_of("ours"),
            lambda: store.add(trusted("another", OTHER)),
            lambda: store.keep_conflict(LEDGER, proof(8), "other", START_MS),
        ):
            with pytest.raises(TrustError, match=r"may be changed by others.*chmod 700"):
                use()
    store.path.chmod(0o755)
    assert kept(store).name == "ours"


def test_links_are_not_followed(store: TrustStore, tmp_path: Path) -> None:
    """Neither to what is read as trusted, nor to what would be written over."""
    store.add(trusted())
    path = store.path / f"{LEDGER.hex()}.json"
    evil, mine = tmp_path / "evil.json", tmp_path / "mine"
    mine.write_bytes(b"mine")
    (store.path / f"{LEDGER.hex()}.tlog-proof.new").symlink_to(mine)
    with pytest.raises(TrustError, match="cannot be written"):
        store.keep(LEDGER, anchor(7), proof(7), ())
    assert mine.read_bytes() == b"mine"
    path.rename(evil)
    path.symlink_to(evil)
    with pytest.raises(TrustError, match="cannot be read"):
        store.get(LEDGER)


def test_what_a_write_that_was_cut_off_leaves_does_not_matter(store: TrustStore) -> None:
    store.add(trusted())
    (store.path / f"{OTHER.ledger_id.hex()}.json.new").write_bytes(b"half")
    assert [one.name for one in store.read_all().ledgers] == ["ours"]
    store.add(trusted("another", OTHER))
    assert len(store.read_all().ledgers) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_read(store: TrustStore) -> None:
    store.add(trusted())
    store.path.chmod(0o500)
    try:
        assert store.id_of("ours") == LEDGER
        with pytest.raises(TrustError, match="name a folder of yours with --trust"):
            store.keep(LEDGER, anchor(7), proof(7), ())
    finally:
        store.path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrustError, match="cannot be written"):
        TrustStore(tmp_path / "file" / "trust").add(trusted())


def test_it_stands_in_the_users_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert usual_trust_folder() == tmp_path / ".config" / "tallystick" / "trust"
    assert tmp_path in usual_trust_folder().parents
