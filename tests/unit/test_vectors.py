"""The frozen vectors: what the code makes today is what it made when they were written."""

import json
from hashlib import sha256
from importlib import resources
from unicodedata import normalize

import msgspec
import pytest
from tests.builders import refuses
from tests.curve import challenge, decided_by, decoded, equation_holds
from tests.log_proofs import root, verify_consistency
from tests.vectors import make

from tallystick.ledger.address import address_codec
from tallystick.ledger.block import block_codec
from tallystick.ledger.certificate import (
    ProposalEvidence,
    StakingOperation,
    VoteEvidence,
    certificate_codec,
    payload_codec,
)
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.genesis import decode_genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.merkle import leaf_hash, root_from_consistency, root_from_path
from tallystick.ledger.messages import Message, decode_message, encode_message
from tallystick.ledger.names import FOLDING, fold
from tallystick.ledger.trie import Trie, TrieProof, proven_value
from tallystick.ledger.vote import Tally, Vote
from tallystick.ledger.wallet import Wallet

FILES = sorted([*make.FOLDER.glob("*.json"), make.path_of("signatures")])


def read(name):
    return json.loads(make.path_of(name).read_text(encoding="ascii"))


def code_points(text):
    for one in text.split():
        first, _, last = one.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def unhex(value):
    return bytes.fromhex(value)


def test_every_file_is_made_and_every_made_file_is_there():
    assert sorted(make.make()) == FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_what_the_code_makes(path):
    assert path.read_text(encoding="ascii") == make.make()[path]


def test_wallets_follow_from_their_seeds():
    for one in read("wallets"):
        assert Wallet(unhex(one["seed"])).public_key.hex() == one["public_key"]


def test_payloads_are_decoded():
    for one, payload in zip(read("payloads"), make.PAYLOADS, strict=True):
        assert payload_codec.decode(unhex(one["encoded"])) == payload
        assert sha256(unhex(one["encoded"])).hexdigest() == one["hash"]


def test_certificates_are_decoded_and_their_parts_fit():
    vectors = read("certificates")
    for one, certificate in zip(vectors["certificates"], make.CERTIFICATES, strict=True):
        assert certificate_codec.decode(unhex(one["encoded"])) == certificate
        assert isinstance(certificate, StakingOperation) == (one["kind"] == 2)
        assert isinstance(certificate, VoteEvidence) == (one["kind"] == 3)
        assert isinstance(certificate, ProposalEvidence) == (one["kind"] == 4)
        assert msgspec.msgpack.decode(unhex(one["encoded"]))[0] == one["kind"]
        body, signature = unhex(one["body"]), unhex(one["fields"]["signature"])
        assert unhex(one["encoded"]) == body + b"\xc4\x40" + signature
        assert unhex(one["unsigned"]) == body + b"\xc4\x40" + bytes(64)
        assert sha256(body).hexdigest() == one["id"]
        assert sha256(b"\x00" + unhex(one["encoded"])).hexdigest() == one["leaf_hash"]
        assert unhex(one["signed_bytes"]) == b"tallystick.certificate.v1\x00" + unhex(vectors["ledger_id"]) + body
        assert is_signed(unhex(one["signed_bytes"]), signature, unhex(one["fields"]["issuer"]))


def test_geneses_are_decoded():
    for one, genesis in zip(read("geneses"), make.GENESES, strict=True):
        assert decode_genesis(unhex(one["encoded"])) == genesis
        assert sha256(unhex(one["encoded"])).hexdigest() == one["ledger_id"]


def test_blocks_are_decoded_and_form_a_chain():
    vectors = read("blocks")
    for one, block in zip(vectors, make.BLOCKS, strict=True):
        assert block_codec.decode(unhex(one["encoded"])) == block
        assert sha256(unhex(one["header_encoded"])).hexdigest() == one["hash"]
        leaves = b"".join(certificate.leaf_hash for certificate in block.certificates)
        assert sha256(leaves).hexdigest() == one["header"]["certificates_hash"]
        if block.index:
            assert one["header"]["parent_hash"] == vectors[block.index - 1]["hash"]
            assert is_signed(unhex(one["signed_bytes"]), unhex(one["signature"]), unhex(one["header"]["forger"]))


def test_certificates_of_every_kind_and_change_are_there():
    decoded = [msgspec.msgpack.decode(unhex(one["encoded"])) for one in read("certificates")["certificates"]]
    assert {one[0] for one in decoded} == set(range(1, 13))
    assert {one[5][0] for one in decoded if one[0] == 5} == set(range(1, 12)), "changes by motion"
    assert {one[5][0] for one in decoded if one[0] == 8} == set(range(1, 6)), "an organisation's own"


def trie_root(entries, bit=0):
    """Section 2 of docs/protocol.md, without a thought of speed."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + b"".join(entries[0])).digest()
    sides = [[one for one in entries if one[0][bit // 8] >> 7 - bit % 8 & 1 == side] for side in (0, 1)]
    if not all(sides):
        return trie_root(entries, bit + 1)
    return sha256(b"\x01" + bytes([bit]) + b"".join(trie_root(one, bit + 1) for one in sides)).digest()


def hash_of(parts):
    return sha256(msgspec.msgpack.encode(parts)).digest()


@pytest.mark.parametrize(("name", "states"), [("states", make.STATES), ("governed", make.GOVERNED)])
def test_state_roots_follow_from_the_published_parts(name, states):
    """Worked out here once more, from docs/protocol.md, but for the stakes: each part is given as it is encoded."""
    vectors = read(name)
    genesis = decode_genesis(unhex(vectors["genesis"]))
    leaves, headers, voters = [], list[bytes](), None
    for one, (state, made) in zip(vectors["states"], states, strict=True):
        block = block_codec.decode(unhex(one["block"]))
        assert block == made
        leaves += [leaf_hash(certificate.encoded) for certificate in block.certificates]
        parts = {
            name: sha256(unhex(one[name])).hexdigest()
            for name in ("next_voters", "accounts", "burned", "parameters", "evidence")
        }
        assert one["roots"] == {
            "log_size": len(leaves),
            "log_root": root(leaves).hex(),
            "headers_root": root([leaf_hash(header) for header in headers]).hex(),
            "voters": voters or parts["next_voters"],
            **parts,
            "directory": trie_root([(unhex(key), unhex(value)) for key, value in one["directory"]]).hex(),
            "status": trie_root([(unhex(key), unhex(value)) for key, value in one["status"]]).hex(),
            "motions": sha256(unhex("".join(one["motions"]))).hexdigest(),
        }
        encoded = unhex(one["roots_encoded"])
        plain = {name: one if isinstance(one, int) else unhex(one) for name, one in one["roots"].items()}
        assert msgspec.msgpack.decode(encoded) == list(plain.values())
        rest = [plain[name] for name in ("accounts", "burned", "parameters", "evidence", "motions")]
        of_members = [plain[name] for name in ("voters", "next_voters", "directory", "status")]
        of_log = [plain[name] for name in ("log_size", "log_root", "headers_root")]
        members_hash = hash_of([*of_members, hash_of(rest)])
        assert hash_of([*of_log, members_hash]).hex() == one["state_root"] == block.header.state_root.hex()
        headers.append(block.header.encoded)
        voters = parts["next_voters"]
        assert state.tip.ledger_id == genesis.ledger_id


def test_the_states_show_what_a_state_can_hold():
    states = [state for state, _ in make.STATES]
    assert [block.header.epoch for _, block in make.STATES] == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert any(len(account.unbonding) == 2 for account in states[-1].stakes.accounts.values())
    assert any(account.since for account in states[-1].stakes.accounts.values())
    assert len(states[-1].stakes.burned_keys) == 1
    assert [one.epoch for one in states[-1].epoch_ends] == [1, 2, 3]
    assert [one.epoch for one in states[-3].epoch_ends] == [0, 1, 2]


def test_the_governed_states_show_what_directory_motions_and_status_can_hold():
    states = [state for state, _ in make.GOVERNED]
    outcomes = [outcome.name for state in states for outcome in state.decided.values()]
    assert outcomes == ["PASSED", "CLOSED"]
    assert [state.epoch.number for state in states] == [0, 0, 0, 1, 1, 1, 2, 2, 2], (
        "a motion and a rotation end an epoch"
    )
    last = states[-1]
    assert {entry.effect.name for entry in map(last.status.of, status_ids(last))} == {"REVOKED", "VOID"}
    assert [entry.effect.name for entry in map(states[3].status.of, status_ids(states[3]))] == ["SUPERSEDED"]
    entries = last.directory.keys.values()
    assert {entry.role for entry in entries} == {1, 2, 3}
    assert len([entry for entry in entries if entry.until is not None]) == 2
    assert any(entry.compromised_since == 2 for entry in entries)
    assert states[5].directory.announced
    assert not last.directory.announced
    assert len(last.motions.open) == 1
    assert [len(one.key or b"") for one in states[-2].directory.ml_dsa.values()] == [1_312]
    assert [one.key for one in last.directory.ml_dsa.values()] == [None]


def status_ids(state):
    return [key for key, _ in state.status.trie.items()]


def test_address_records_are_decoded_and_signed_by_their_keys():
    vectors = read("addresses")
    for one, record in zip(vectors["addresses"], make.ADDRESSES, strict=True):
        assert address_codec.decode(unhex(one["encoded"])) == record
        body = unhex(one["encoded"])[: -2 - 64]
        assert unhex(one["signed_bytes"]) == b"tallystick.address.v1\x00" + unhex(vectors["ledger_id"]) + body
        assert is_signed(unhex(one["signed_bytes"]), unhex(one["fields"]["signature"]), unhex(one["fields"]["key"]))


def test_messages_of_every_kind_are_decoded():
    for one, message in zip(read("messages"), make.MESSAGES, strict=True):
        assert decode_message(unhex(one["encoded"])) == message
        assert encode_message(message) == unhex(one["encoded"])
    assert {type(message) for message in make.MESSAGES} == set(Message.__args__)


def test_draws_follow_from_the_published_rule():
    """Worked out here once more, from docs/protocol.md: any language can."""
    vectors = read("draws")
    tokens = [
        one["member"] for one in sorted(vectors["stakes"], key=lambda one: one["member"]) for _ in range(one["staked"])
    ]
    for one in vectors["draws"]:
        seed = b"tallystick.draw.v1\x00" + unhex(vectors["ledger_id"])
        seed += one["epoch"].to_bytes(8, "big") + one["view"].to_bytes(8, "big")
        assert tokens[int.from_bytes(sha256(seed).digest(), "big") % len(tokens)] == one["member"]


def test_an_epochs_hash_is_that_of_its_members():
    for one, epoch in zip(read("votes")["epochs"], make.EPOCHS, strict=True):
        assert sha256(unhex(one["encoded"])).hexdigest() == one["hash"] == epoch.hash.hex()
        assert [(unhex(member["member"]), member["staked"]) for member in one["members"]] == list(epoch.members)


def test_votes_are_decoded_and_signed_by_their_members():
    vectors = read("votes")
    for one, vote in zip(vectors["votes"], make.VOTES, strict=True):
        assert Codec[Vote](Vote, 1024, "vote").decode(unhex(one["encoded"])) == vote
        ballot = unhex(one["ballot_encoded"])
        assert unhex(one["encoded"])[1:].startswith(ballot)
        assert unhex(one["signed_bytes"]) == b"tallystick.vote.v1\x00" + unhex(vectors["ledger_id"]) + ballot
        fields = one["fields"]
        assert is_signed(unhex(one["signed_bytes"]), unhex(fields["signature"]), unhex(fields["member"]))


def test_conflicts_follow_from_the_published_rule():
    """Worked out here once more, from docs/protocol.md."""
    vectors = read("votes")
    for one in vectors["conflicts"]:
        first, second = (vectors["votes"][one[place]]["fields"] for place in ("first", "second"))
        mine, theirs = first["ballot"], second["ballot"]
        same_round = (first["member"], mine["epoch"], mine["view"]) == (
            second["member"],
            theirs["epoch"],
            theirs["view"],
        )
        two_blocks = mine["kind"] == theirs["kind"] and mine["block_hash"] != theirs["block_hash"]
        assert one["conflict"] == (same_round and (two_blocks or {mine["kind"], theirs["kind"]} == {2, 3}))
    assert any(one["conflict"] for one in vectors["conflicts"])


def test_tallies_are_decoded():
    for one, tally in zip(read("votes")["tallies"], make.TALLIES, strict=True):
        assert Codec[Tally](Tally, 4096, "tally").decode(unhex(one["encoded"])) == tally
        members = [member for member, _ in one["fields"]["signatures"]]
        assert members == sorted(set(members))


def test_signatures_are_decided_by_the_published_rule():
    """Worked out here once more, from docs/protocol.md, in plain integers."""
    for one in read("signatures"):
        claim = [unhex(one[name]) for name in ("message", "signature", "public_key")]
        assert decided_by(*claim) == one["decided_by"], one["name"]
        assert one["accepted"] == (one["decided_by"] in ("libsodium", "cofactored"))


def test_the_signatures_of_keys_of_mixed_order_are_what_other_libraries_take():
    """They satisfy libsodium's own equation: only K1 stands in their way."""
    mixed = [one for one in read("signatures") if "k = 0 mod 8" in one["name"]]
    assert len(mixed) == 7
    for one in mixed:
        key, signature, message = (unhex(one[name]) for name in ("public_key", "signature", "message"))
        hashed = challenge(signature[:32], key, message)
        assert hashed % 8 == 0
        scalar = int.from_bytes(signature[32:], "little")
        commitment, point = decoded(signature[:32]), decoded(key)
        assert commitment is not None
        assert point is not None
        assert equation_holds(commitment, point, scalar, hashed)


def test_merkle_proofs_verify():
    vectors = read("merkle")
    leaves = [unhex(one["leaf_hash"]) for one in vectors["leaves"]]
    roots = {one["size"]: unhex(one["root"]) for one in vectors["roots"]}
    for one in vectors["inclusion"]:
        proof = [unhex(step) for step in one["proof"]]
        assert root_from_path(leaves[one["index"]], one["index"], one["size"], proof) == roots[one["size"]]
    for one in vectors["consistency"]:
        proof = [unhex(step) for step in one["proof"]]
        assert verify_consistency(one["old_size"], roots[one["old_size"]], one["size"], roots[one["size"]], proof)
        led_to = root_from_consistency(roots[one["old_size"]], one["old_size"], one["size"], proof)
        assert led_to == roots[one["size"]]


def test_tries_have_their_roots_and_their_proofs_verify():
    codec: Codec[TrieProof] = Codec(TrieProof, 2**16, "trie proof")
    for one in read("tries"):
        trie, top = Trie(), unhex(one["root"])
        for entry in reversed(one["entries"]):
            trie = trie.set(unhex(entry["key"]), unhex(entry["value"]))
        assert trie.root() == top
        values = {entry["key"]: entry["value"] for entry in one["entries"]}
        for shown in one["proofs"]:
            value = proven_value(codec.decode(unhex(shown["encoded"])), unhex(shown["key"]), top)
            assert (value if value is None else value.hex()) == shown["value"] == values.get(shown["key"])


def test_names_fold_as_the_table_says():
    """Worked out here once more, from docs/protocol.md."""
    file = resources.files("tallystick.ledger").joinpath(FOLDING).read_bytes()
    vectors, table = read("folding"), json.loads(file)
    assert (vectors["unicode"], vectors["table_hash"]) == (table["unicode"], sha256(file).hexdigest())
    folded = {code: text for text, codes in table["folded"].items() for code in code_points(codes)}
    folded |= {code: chr(code) for code in code_points(table["itself"])}
    for one in vectors["names"]:
        letters = "".join(normalize("NFD", letter) if "가" <= letter <= "힣" else letter for letter in one["name"])
        assert "".join(folded[ord(letter)] for letter in letters) == one["folded"]
    for name in vectors["refused"]:
        with refuses(Rule.D2):
            fold(name)


def test_the_structs_encode_to_the_vectors_again():
    for name, values in (("payloads", make.PAYLOADS), ("geneses", make.GENESES), ("blocks", make.BLOCKS)):
        assert [one["encoded"] for one in read(name)] == [encode(value).hex() for value in values]
