"""The assignment done in the straightforward way, as its text leads to it: all is recomputed from the block list.

The baseline of the course benchmark. It signs with the same library as the engine, so the difference is not the
cryptography. Not used by anything else.
"""

import hashlib
import json
import time

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey


class Wallet:
    def __init__(self):
        self.__key = SigningKey.generate()
        self.public_key = self.__key.verify_key.encode().hex()

    def sign(self, certificate):
        certificate.signature = self.__key.sign(certificate.content().encode()).signature.hex()


class Certificate:
    def __init__(self, issuer):
        self.issuer = issuer
        self.timestamp = time.time_ns()
        self.signature = ""

    def fields(self):
        return {"type": type(self).__name__, "issuer": self.issuer, "timestamp": self.timestamp}

    def content(self):
        return json.dumps(self.fields(), sort_keys=True)

    def hash(self):
        return hashlib.sha256(self.content().encode()).hexdigest()

    def __hash__(self):
        return int(self.hash(), 16)

    def __eq__(self, other):
        return isinstance(other, Certificate) and self.hash() == other.hash()

    def is_legit(self):
        try:
            VerifyKey(bytes.fromhex(self.issuer)).verify(self.content().encode(), bytes.fromhex(self.signature))
        except (BadSignatureError, ValueError):
            return False
        return True


class StakingOperation(Certificate):
    def __init__(self, issuer, amount):
        super().__init__(issuer)
        self.amount = amount

    def fields(self):
        return super().fields() | {"amount": self.amount}


class Block(Certificate):
    def __init__(self, issuer, index, parent_hash, certificates):
        super().__init__(issuer)
        self.index, self.parent_hash, self.certificates = index, parent_hash, list(certificates)

    def fields(self):
        hashes = [certificate.hash() for certificate in self.certificates]
        return super().fields() | {"index": self.index, "parent": self.parent_hash, "certificates": hashes}


class Blockchain:
    def __init__(self):
        genesis = Block("00", 0, "0" * 64, [])
        genesis.timestamp = 0
        self.blocks = [genesis]

    def contains_certificate(self, certificate):
        return any(certificate in block.certificates for block in self.blocks)


class ProofOfStake:
    def __init__(self, default_forger):
        self.default_forger = default_forger

    def forger(self, blocks):
        stakes: dict[str, int] = {}
        for block in blocks:
            for certificate in block.certificates:
                if isinstance(certificate, StakingOperation):
                    key = certificate.issuer
                    stakes[key] = stakes.get(key, 0) + certificate.amount
        numbers = [key for key, amount in sorted(stakes.items()) for _ in range(amount)]
        if not numbers:
            return self.default_forger
        seed = hashlib.sha256(str(len(blocks)).encode()).digest()
        return numbers[int.from_bytes(seed, "big") % len(numbers)]

    def is_next_block_forger_legit(self, blocks, block):
        return self.forger(blocks) == block.issuer


class Node:
    """A node of the assignment; `others` are the nodes that it calls directly."""

    def __init__(self, wallet, consensus):
        self.wallet, self.consensus, self.blockchain = wallet, consensus, Blockchain()
        self.box, self.others = set(), []

    def new_certificate(self, certificate):
        if not certificate.is_legit() or certificate in self.box or self.blockchain.contains_certificate(certificate):
            return
        self.box.add(certificate)
        if not (len(self.box) >= 5 and self.forge()):
            for node in self.others:
                node.new_certificate(certificate)

    def forge(self):
        blocks = self.blockchain.blocks
        block = Block(self.wallet.public_key, len(blocks), blocks[-1].hash(), self.box)
        if not self.consensus.is_next_block_forger_legit(blocks, block):
            return False
        self.wallet.sign(block)
        blocks.append(block)
        self.box = set()
        for node in self.others:
            node.new_block(block)
        return True

    def new_block(self, block):
        blocks, seen = self.blockchain.blocks, self.blockchain.contains_certificate
        if (
            block.index != len(blocks)
            or block.parent_hash != blocks[-1].hash()
            or not block.is_legit()
            or not self.consensus.is_next_block_forger_legit(blocks, block)
            or not all(certificate.is_legit() for certificate in block.certificates)
            or any(seen(certificate) for certificate in block.certificates)
        ):
            return
        blocks.append(block)
        self.box -= set(block.certificates)
        for node in self.others:
            node.new_block(block)
        if len(self.box) >= 5:
            self.forge()
