"""Bytes have one meaning and a value has one encoding; everything else is refused by E1, E2 or E3."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import strategies as some
from tests.builders import ADA, GENESIS, Scribe, payload, refuses, staking, statement, with_payload

from tallystick.ledger.block import block_codec
from tallystick.ledger.certificate import certificate_codec, payload_codec
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_INDEX, MAX_TIMESTAMP_MS, MAX_TOKENS
from tallystick.ledger.genesis import decode_genesis
from tallystick.ledger.messages import (
    MAX_IDS,
    MAX_RANGE_BLOCKS,
    BlockRequest,
    Blocks,
    CertificateRequest,
    Certificates,
    Entry,
    NewBlock,
    PayloadRequest,
    Payloads,
    Status,
    decode_message,
    encode_message,
)
from tallystick.ledger.params import (
    MAX_BLOCK_BYTES,
    MAX_BLOCK_CERTIFICATES,
    MAX_CERTIFICATE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
)

BLOCK = Scribe().forge(statement(), staking(7))
ENTRY = with_payload("covered")
DECODERS = {
    "certificate": certificate_codec.decode,
    "payload": payload_codec.decode,
    "block": block_codec.decode,
    "genesis": decode_genesis,
    "message": decode_message,
}
EXAMPLES = {
    "statement": (certificate_codec.decode, statement("Zoë")),
    "staking operation": (certificate_codec.decode, staking(-3)),
    "payload": (payload_codec.decode, payload()),
    "block": (block_codec.decode, BLOCK),
    "genesis": (decode_genesis, GENESIS),
    "Status": (decode_message, Status(GENESIS.ledger_id, 0, 7, BLOCK.hash, (statement().id,))),
    "Certificates": (decode_message, Certificates((ENTRY, Entry(staking(5))))),
    "CertificateRequest": (decode_message, CertificateRequest((statement().id,))),
    "NewBlock": (decode_message, NewBlock(BLOCK)),
    "BlockRequest": (decode_message, BlockRequest(1, MAX_RANGE_BLOCKS)),
    "Blocks": (decode_message, Blocks(1, (BLOCK,))),
    "PayloadRequest": (decode_message, PayloadRequest((payload().hash(),))),
    "Payloads": (decode_message, Payloads((payload(),))),
}
each_example = pytest.mark.parametrize(("decode", "value"), EXAMPLES.values(), ids=EXAMPLES)
each_decoder = pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
E_RULES = {Rule.E1, Rule.E2, Rule.E3}


def assert_refused(decode, data, among=E_RULES):
    with pytest.raises(Refused) as caught:
        decode(data)
    assert caught.value.rule in among, data[:100].hex()


def as_lists(value):
    """The same value in plain lists, numbers and bytes, to be spoilt and encoded again."""
    return msgspec.msgpack.decode(encode(value))


def spoilt(value, path, replacement):
    """The encoding of the value with another item at the path."""
    plain = as_lists(value)
    *parents, last = path
    place = plain
    for step in parents:
        place = place[step]
    place[last] = replacement
    return msgspec.msgpack.encode(plain)


# ---- what every decoder owes ------------------------------------------------------------------------------------


@each_example
def test_decoding_gives_back_what_was_encoded(decode, value):
    assert decode(encode(value)) == value


@each_example
def test_every_truncation_is_refused(decode, value):
    data = encode(value)
    for length in range(len(data)):
        assert_refused(decode, data[:length], {Rule.E2})


@each_example
def test_trailing_bytes_are_refused(decode, value):
    for trailer in (b"\x00", b"\xc0", encode(value)):
        assert_refused(decode, encode(value) + trailer, {Rule.E2})


@each_example
def test_an_additional_field_is_refused(decode, value):
    assert_refused(decode, msgspec.msgpack.encode([*as_lists(value), None]), {Rule.E2})


@each_example
def test_a_map_in_place_of_the_array_is_refused(decode, value):
    fields = {str(place): item for place, item in enumerate(as_lists(value))}
    assert_refused(decode, msgspec.msgpack.encode(fields), {Rule.E2})


@each_example
def test_changing_any_one_byte_never_gives_the_same_value(decode, value):
    data = encode(value)
    for place in range(0, len(data), max(1, len(data) // 150)):
        for flip in (0x01, 0x80, 0xFF):
            changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
            try:
                assert decode(changed) != value
            except Refused as refused:
                assert refused.rule in E_RULES | {Rule.E4, Rule.G1, Rule.G2, Rule.G3, Rule.G4, Rule.K1}  # noqa: PT017


@each_decoder
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_are_decoded_or_refused(decode, data):
    try:
        value = decode(data)
    except Refused:
        return
    assert encode(value) == data


@each_decoder
@given(data=some.messagepack)
def test_arbitrary_messagepack_is_decoded_or_refused(decode, data):
    try:
        value = decode(data)
    except Refused:
        return
    assert encode(value) == data


@given(some.messages)
def test_messages_survive_the_wire(message):
    assert decode_message(encode_message(message)) == message


@given(some.certificates)
def test_certificates_survive_the_wire(certificate):
    again = certificate_codec.decode(certificate.encoded)
    assert again == certificate
    assert (again.id, again.leaf_hash) == (certificate.id, certificate.leaf_hash)


@given(some.blocks)
def test_blocks_survive_the_wire(block):
    assert block_codec.decode(block.encoded) == block
    assert block_codec.decode(block.encoded).hash == block.hash


# ---- E3: one value, one encoding --------------------------------------------------------------------------------

NON_CANONICAL = {
    "int in 2 bytes": (b"\x05", b"\xcc\x05"),
    "int in 3 bytes": (b"\x05", b"\xcd\x00\x05"),
    "int in 5 bytes": (b"\x05", b"\xce\x00\x00\x00\x05"),
    "int in 9 bytes": (b"\x05", b"\xcf" + bytes(7) + b"\x05"),
    "signed int": (b"\x05", b"\xd0\x05"),
    "signed int in 9 bytes": (b"\x05", b"\xd3" + bytes(7) + b"\x05"),
    "float": (b"\x05", b"\xcb\x40\x14" + bytes(6)),
    "short float": (b"\x05", b"\xca\x40\xa0\x00\x00"),
}


@pytest.mark.parametrize(("short", "long"), NON_CANONICAL.values(), ids=NON_CANONICAL)
def test_a_number_has_one_encoding(short, long):
    data = encode_message(BlockRequest(5, 5))
    assert data == b"\x93\x05" + short + short
    for changed in (b"\x93\x05" + long + short, b"\x93\x05" + short + long):
        assert_refused(decode_message, changed, {Rule.E2, Rule.E3})


def test_longer_headers_are_refused():
    certificate = statement("abc")
    data = certificate.encoded
    text, key = b"\xa3abc", b"\xc4\x20" + ADA.public_key
    assert data[0] == 0x96
    assert text in data
    assert key in data
    for changed in (
        data.replace(text, b"\xd9\x03abc"),
        data.replace(text, b"\xda\x00\x03abc"),
        data.replace(text, b"\xdb\x00\x00\x00\x03abc"),
        data.replace(key, b"\xc5\x00\x20" + ADA.public_key),
        data.replace(key, b"\xc6\x00\x00\x00\x20" + ADA.public_key),
        b"\xdc\x00\x06" + data[1:],
        b"\xdd\x00\x00\x00\x06" + data[1:],
    ):
        with refuses(Rule.E3):
            certificate_codec.decode(changed)


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (block_codec.decode, BLOCK.header),
        (decode_message, Certificates((Entry(statement()),))),
        (decode_genesis, GENESIS),
    ],
    ids=["a nonce of 0", "no payload", "params"],
)
def test_leaving_out_what_has_a_default_is_refused(decode, value):
    plain = as_lists(value)
    match value:
        case Certificates():
            plain[1][0].pop()
        case _ if value is GENESIS:
            plain[4].pop()
        case _:
            plain = [plain[:-1], *as_lists(BLOCK)[1:]]
    with refuses(Rule.E3):
        decode(msgspec.msgpack.encode(plain))


# ---- E2: the declared form --------------------------------------------------------------------------------------

WRONG_FIELDS = {
    "unknown kind": (statement(), [0], 3),
    "kind 0": (statement(), [0], 0),
    "kind as text": (statement(), [0], "1"),
    "short issuer": (statement(), [1], bytes(31)),
    "long issuer": (statement(), [1], bytes(33)),
    "issuer as text": (statement(), [1], "a" * 32),
    "negative time": (statement(), [2], -1),
    "time beyond the bound": (statement(), [2], MAX_TIMESTAMP_MS + 1),
    "time as float": (statement(), [2], 1.5),
    "time as bool": (statement(), [2], True),
    "time as nothing": (statement(), [2], None),
    "long subject": (statement(), [3], "x" * 257),
    "control character": (statement(), [3], "a\x00b"),
    "line end": (statement(), [3], "a\n"),
    "C1 control": (statement(), [3], "\x85"),
    "subject as bytes": (statement(), [3], b"abc"),
    "short payload hash": (statement(), [4], bytes(31)),
    "short signature": (statement(), [5], bytes(63)),
    "no signature": (statement(), [5], None),
    "amount as float": (staking(1), [5], 1.5),
    "amount as bool": (staking(1), [5], True),
    "amount as text": (staking(1), [5], "1"),
    "huge amount": (staking(1), [5], MAX_TOKENS + 1),
    "hugely negative amount": (staking(1), [5], -MAX_TOKENS - 1),
    "amount of 64 bits": (staking(1), [5], 2**64 - 1),
    "amount not a number": (staking(1), [5], float("nan")),
    "infinite amount": (staking(1), [5], float("inf")),
}


@pytest.mark.parametrize(("value", "path", "replacement"), WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_a_field_out_of_its_declaration_is_refused(value, path, replacement):
    data = spoilt(value, path, replacement)
    with refuses(Rule.E2):
        certificate_codec.decode(data)
    message = spoilt(Certificates((Entry(value),)), [1, 0, 0, *path], replacement)
    with refuses(Rule.E2):
        decode_message(message)


WRONG_MESSAGES = {
    "unknown kind": msgspec.msgpack.encode([9, 1]),
    "no kind": b"\x90",
    "not an array": b"\xc0",
    "no certificates": msgspec.msgpack.encode([2, []]),
    "too many ids": msgspec.msgpack.encode([3, [bytes(32)] * (MAX_IDS + 1)]),
    "no blocks wanted": msgspec.msgpack.encode([5, 1, 0]),
    "too many blocks wanted": msgspec.msgpack.encode([5, 1, MAX_RANGE_BLOCKS + 1]),
    "negative start": msgspec.msgpack.encode([5, -1, 1]),
    "start beyond the bound": msgspec.msgpack.encode([5, MAX_INDEX + 1, 1]),
    "extension type": msgspec.msgpack.encode([5, msgspec.msgpack.Ext(1, b"\x01"), 1]),
    "timestamp extension": b"\x93\x05\xd6\xff\x00\x00\x00\x01\x01",
    "array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "ids of 4 billion": b"\x92\x03\xdd\xff\xff\xff\xff",
    "bytes of 4 billion": b"\x92\x03\x91\xc6\xff\xff\xff\xff",
    "reserved byte": b"\xc1",
}


@pytest.mark.parametrize("data", WRONG_MESSAGES.values(), ids=WRONG_MESSAGES)
def test_a_message_out_of_its_declaration_is_refused(data):
    with refuses(Rule.E2):
        decode_message(data)


def test_a_block_of_too_many_certificates_is_refused():
    header, signature, _ = as_lists(BLOCK)
    one = as_lists(statement())
    with refuses(Rule.E2):
        block_codec.decode(
            msgspec.msgpack.encode([header, signature, [one] * (MAX_BLOCK_CERTIFICATES + 1)])[:MAX_BLOCK_BYTES]
        )


@each_decoder
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x00", b"\x92\x01", b"\x93\x06\x01\x91"], ids=bytes.hex)
def test_deep_nesting_is_refused(decode, opening):
    assert_refused(decode, opening * 100_000 + b"\xc0", {Rule.E1, Rule.E2})


def test_invalid_utf8_is_refused():
    data = statement("abcd").encoded
    for wrong in (b"\xff\xfe\xfd\xfc", b"abc\xc3", b"\xed\xa0\x80a", b"\xc0\x80ab", b"\xf5\x80\x80\x80"):
        with refuses(Rule.E2):
            certificate_codec.decode(data.replace(b"\xa4abcd", b"\xa4" + wrong))


# ---- E1: bounded before decoding --------------------------------------------------------------------------------

BOUNDS = {
    "certificate": (certificate_codec.decode, MAX_CERTIFICATE_BYTES),
    "block": (block_codec.decode, MAX_BLOCK_BYTES),
    "message": (decode_message, MAX_MESSAGE_BYTES),
}


@pytest.mark.parametrize(("decode", "most"), BOUNDS.values(), ids=BOUNDS)
def test_bytes_beyond_the_bound_are_refused_undecoded(decode, most):
    with refuses(Rule.E2):
        decode(b"\xc0" * most)
    with refuses(Rule.E1):
        decode(b"\xc0" * (most + 1))


@pytest.mark.parametrize(
    "media_type", ["text/plain", "é" * 128, "\U0001f600" * 128], ids=["ascii", "2 bytes", "4 bytes"]
)
def test_the_largest_payload_is_within_the_bound_of_its_codec(media_type):
    largest = msgspec.structs.replace(payload(), media_type=media_type, content=bytes(MAX_PAYLOAD_BYTES))
    assert payload_codec.decode(payload_codec.encode_checked(largest)) == largest
    assert decode_message(encode_message(Payloads((largest,)))) == Payloads((largest,))


def test_a_payload_beyond_the_bound_is_refused():
    with refuses(Rule.E2):
        payload_codec.encode_checked(msgspec.structs.replace(payload(), content=bytes(MAX_PAYLOAD_BYTES + 1)))
    with refuses(Rule.E1):
        payload_codec.encode_checked(msgspec.structs.replace(payload(), content=bytes(2 * MAX_PAYLOAD_BYTES)))


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 2**70, "\ud800", statement], ids=["object", "set", "too large", "surrogate", "function"]
)
def test_what_has_no_encoding_is_refused_before_it_is_signed(value):
    with refuses(Rule.E2):
        Codec(str, 100, "text").encode_checked(value)
