import pytest
from tests.course.people import Diploma, block_after, box, feed, network_of, signed, staked

from tallystick.course import Block, Blockchain, Certificate, ProofOfStake, Refused, Wallet
from tallystick.ledger.errors import Rule

ALICE, BOB = Wallet(), Wallet()


@pytest.fixture
def chain():
    """Three blocks after genesis, the second one with certificates."""
    chain = Blockchain()
    for certificates in ([], [signed(ALICE), staked(BOB, 5), signed(ALICE, Diploma(ALICE.publicKey, "Bob", [5]))], []):
        chain.add_block(block_after(chain.get_latest_block(), ALICE, certificates))
    return chain


def test_a_chain_begins_with_the_same_genesis_block_everywhere():
    one, other = Blockchain(), Blockchain()
    genesis = one.blockList[0]
    assert (genesis.index, genesis.timestamp, genesis.signature, genesis.nonce) == (0, 0, "", 0)
    assert genesis.parentBlockHash == "0" * 64
    assert genesis.certificateList == []
    assert genesis.hash() == other.blockList[0].hash()
    assert one.is_legit()


def test_display_prints_what_the_assignment_prints(chain, capsys):
    chain.display()
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == ["Block 0:", "Block 1:", "Block 2:", "Block 3:"]
    genesis, _, full, _ = (eval(line, {}) for line in lines[1::2])
    names = ["type", "issuerPublicKey", "timestamp", "hash", "signature", "index", "parent", "certificates", "nonce"]
    assert list(genesis) == list(full) == names
    assert genesis["type"] == "Block"
    assert genesis["issuerPublicKey"] == "0000000000"
    assert genesis["parent"] == "0" * 64
    assert full["hash"] == chain.blockList[2].hash()
    assert full["signature"] == chain.blockList[2].signature
    assert [one["type"] for one in full["certificates"]] == ["Certificate", "StakingOperation", "Diploma"]
    assert full["certificates"][1]["amount"] == 5
    assert full["certificates"][2]["grades"] == [5]


def test_a_chain_knows_its_certificates(chain):
    for certificate in chain.blockList[2].certificateList:
        assert chain.contains_certificate(certificate)
    assert not chain.contains_certificate(signed(ALICE))
    assert not chain.contains_certificate(Certificate("nonsense"))
    assert not chain.contains_certificate("stranger")
    assert not chain.contains_certificate(chain.blockList[2])


def test_certificates_on_the_chain_keep_their_class_and_fields(chain):
    plain, staking, diploma = chain.blockList[2].certificateList
    assert [type(one) for one in (plain, staking, diploma)][1:] == [type(staked(BOB, 1)), Diploma]
    assert (staking.amount, diploma.student, diploma.grades) == (5, "Bob", [5])
    assert all(one.is_signed() for one in (plain, staking, diploma))


def test_stakes_are_those_after_the_last_block(chain):
    assert chain.stakes == {BOB.publicKey: 5}
    chain.blockList = chain.blockList[:2]
    assert chain.stakes == {}


# ---- the list -------------------------------------------------------------------------------------------------------


def test_the_list_reads_like_a_list_and_grows_with_the_chain(chain):
    blocks, whole = chain.blockList, list(chain.blockList)
    assert len(blocks) == 4
    assert [block.index for block in blocks] == [0, 1, 2, 3]
    assert blocks[-1] is blocks[3] is chain.get_latest_block()
    assert type(blocks[1:3]) is type(blocks.copy()) is type(blocks + whole) is type(whole + blocks) is list
    assert [block.index for block in blocks[::-1]] == [3, 2, 1, 0] == [block.index for block in reversed(blocks)]
    assert blocks[2] in blocks
    assert blocks.index(blocks[2]) == 2
    assert blocks == list(blocks)
    assert blocks != list(blocks)[:2]
    assert repr(blocks).startswith("[<Block 0 at 0x")
    chain.add_block(block_after(blocks[-1], ALICE))
    assert len(blocks) == 5
    with pytest.raises(IndexError, match="no block 5: the chain has 5"):
        blocks[5]


def test_a_shorter_list_winds_the_chain_back_and_the_blocks_can_be_put_back(chain):
    whole = list(chain.blockList)
    chain.blockList = chain.blockList[:2]
    assert len(chain.blockList) == 2
    assert chain.is_legit()
    assert not chain.contains_certificate(whole[2].certificateList[0])
    chain.blockList = whole
    assert chain.blockList == whole
    assert chain.contains_certificate(whole[2].certificateList[0])


def test_the_list_takes_blocks_in_every_way_a_list_does(chain):
    whole = list(chain.blockList)
    del chain.blockList[1:]
    chain.blockList.append(whole[1])
    chain.blockList += whole[2:3]
    chain.blockList.extend(whole[3:])
    assert chain.blockList == whole
    assert chain.blockList.pop() == whole[3]
    chain.blockList[3:] = [whole[3]]
    chain.blockList[3] = block_after(whole[2], BOB)
    assert chain.get_latest_block().issuerPublicKey == BOB.publicKey
    chain.blockList.insert(4, block_after(chain.get_latest_block(), BOB))
    chain.blockList = chain.blockList
    assert len(chain.blockList) == 5
    assert chain.is_legit()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda chain: chain.blockList.clear(), Rule.B10),
        (lambda chain: chain.blockList.reverse(), Rule.B10),
        (lambda chain: chain.blockList.__delitem__(0), Rule.B10),
        (lambda chain: chain.blockList.__delitem__(1), Rule.B1),
        (lambda chain: chain.blockList.insert(1, chain.blockList[1]), Rule.B1),
        (lambda chain: chain.blockList.append(chain.blockList[3]), Rule.B1),
        (lambda chain: chain.blockList.append("text"), Rule.E2),
        (lambda chain: chain.blockList.extend([block_after(chain.blockList[3], ALICE), "text"]), Rule.E2),
        (lambda chain: chain.blockList.append(Block(ALICE.publicKey, 4, chain.blockList[3].hash(), [])), Rule.B3),
        (lambda chain: setattr(chain, "blockList", []), Rule.B10),
        (lambda chain: setattr(chain, "blockList", ["text"]), Rule.E2),
        (lambda chain: setattr(chain, "blockList", chain.blockList[1:]), Rule.B10),
        (lambda chain: chain.add_block(block_after(chain.blockList[1], ALICE)), Rule.B1),
        (lambda chain: chain.add_block(Block(ALICE.publicKey, 9, chain.blockList[3].hash(), [])), Rule.B3),
        (lambda chain: chain.add_block(block_after(chain.blockList[3], ALICE, [signed(BOB), staked(BOB, 0)])), Rule.B5),
        (
            lambda chain: chain.add_block(
                block_after(chain.blockList[3], ALICE, chain.blockList[2].certificateList[:1])
            ),
            Rule.B6,
        ),
    ],
)
def test_an_illegal_change_is_refused_and_changes_nothing(chain, change, rule):
    before, stakes = list(chain.blockList), chain.stakes
    with pytest.raises(Refused) as refused:
        change(chain)
    assert refused.value.rule is rule
    assert chain.blockList == before
    assert chain.stakes == stakes
    assert chain.is_legit()
    chain.add_block(block_after(chain.get_latest_block(), BOB))


def test_winding_a_node_back_keeps_what_waits_in_its_box():
    (node,) = network_of(1)
    forged = feed(node, ALICE, 5)
    feed(node, ALICE, 2)
    node.blockchain.blockList = node.blockchain.blockList[:1]
    assert len(box(node)) == 2
    assert not node.blockchain.contains_certificate(forged[0])
    assert node.new_certificate(forged[0])
    assert len(box(node)) == 3
    feed(node, BOB, 2)
    assert len(node.blockchain.blockList) == 2
    assert forged[0] in node.blockchain.get_latest_block().certificateList


def test_what_waits_in_the_box_keeps_its_class_when_the_chain_is_wound_back():
    (node,) = network_of(1)
    diploma = signed(ALICE, Diploma(ALICE.publicKey, "Bob", [5]))
    node.new_certificate(diploma)
    node.blockchain.blockList = node.blockchain.blockList[:1]
    (waiting,) = box(node)
    assert type(waiting) is Diploma
    assert waiting == diploma


def test_a_withdrawal_leaves_the_box_with_the_stake_it_withdraws():
    (node,) = network_of(1)
    node.new_certificate(staked(node.wallet, 3))
    feed(node, ALICE, 4)
    assert node.new_certificate(staked(node.wallet, -3))
    node.blockchain.blockList = node.blockchain.blockList[:1]
    assert len(box(node)) == 0
    assert node.refusals[-1].rule is Rule.S3


# ---- tampering ------------------------------------------------------------------------------------------------------


def _tamper_deep(block):
    block.certificateList[2].grades.append(6)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda block: setattr(block, "nonce", 7),
        lambda block: setattr(block, "timestamp", block.timestamp - 1),
        lambda block: setattr(block, "index", "two"),
        lambda block: setattr(block, "certificateList", None),
        lambda block: block.certificateList.pop(),
        lambda block: block.certificateList.reverse(),
        lambda block: setattr(block.certificateList[0], "timestamp", 1),
        lambda block: setattr(block.certificateList[1], "amount", 500),
        lambda block: setattr(block.certificateList[0], "signature", ""),
        _tamper_deep,
    ],
)
def test_tampering_shows_in_ones_own_chain_and_the_truth_stays(chain, tamper):
    before = chain.blockList[2].hash()
    tamper(chain.blockList[2])
    assert not chain.is_legit()
    assert chain.stakes == {BOB.publicKey: 5}
    assert chain.engine.records.engine_block(2).hash.hex() == before
    chain.add_block(block_after(chain.blockList[3], ALICE))


def test_a_tampered_genesis_block_shows():
    chain = Blockchain()
    chain.blockList[0].timestamp = 1
    assert not chain.is_legit()


def test_tampering_with_one_nodes_blocks_is_not_seen_by_the_others_nor_passed_on():
    nodes = network_of(3)
    feed(nodes[1], ALICE, 5)
    for node in nodes:
        node.blockchain.display()
    nodes[0].blockchain.blockList[1].certificateList[0].timestamp = 1
    assert [node.blockchain.is_legit() for node in nodes] == [False, True, True]
    late = network_of(1, nodes[0].consensusAlgorithm)[0]
    feed(nodes[2], BOB, 5)
    assert len(late.blockchain.blockList) == 3
    assert late.blockchain.is_legit()


def test_a_persons_objects_are_theirs_and_changing_them_later_changes_nothing():
    nodes = network_of(2)
    diploma = signed(ALICE, Diploma(ALICE.publicKey, "Bob", [5]))
    nodes[0].new_certificate(diploma)
    diploma.grades.append(6)
    assert diploma not in box(nodes[0])
    for node in nodes:
        (waiting,) = box(node)
        assert waiting.grades == [5]
    block = block_after(nodes[0].blockchain.blockList[0], nodes[0].wallet, [signed(BOB)])
    assert nodes[1].new_block(block)
    block.certificateList.clear()
    assert all(node.blockchain.is_legit() and len(node.blockchain.blockList[1].certificateList) == 1 for node in nodes)


def test_a_chain_of_its_own_can_have_a_consensus_algorithm():
    chain = Blockchain(ProofOfStake(BOB.publicKey))
    with pytest.raises(Refused, match="B4"):
        chain.add_block(block_after(chain.blockList[0], ALICE))
    chain.add_block(block_after(chain.blockList[0], BOB))
    assert chain.is_legit()
