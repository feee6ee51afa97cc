"""Changes of a file, by a random source with a seed: small ones, most of which leave the rest well formed."""

from collections.abc import Sequence
from random import Random

TOKENS = (
    *(b"\n", b"\n\n", b"\r\n", b" ", b"  ", b"\t", b"\x00", b"+", b"-", b"0", b"=", b"#", b"\xff", b"\x7f"),
    *(b"extra ", b"index ", b"index 0\n", b"18446744073709551616", b"group g any ", b"quorum none\n", "— ".encode()),
    *("—\u00a0".encode(), "\u2028".encode(), "\u0085".encode(), "\u0661".encode(), b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"\xc0", b"\x90", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8),
    b"\x91" * 64,
)
"""Of texts, and of MessagePack: arrays and byte strings that claim to be long, deep ones."""


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """One to four changes."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        data = _changed(data, others, random)
    return data


def _changed(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 4, 8, 32, 64, 200)))
    match random.randrange(9):
        case 0:
            return data[:at] + bytes([b ^ 1 << random.randrange(8) for b in data[at : at + 1]]) + data[at + 1 :]
        case 1:
            return data[:at] + random.randbytes(end - at) + data[end:]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:end] + data[at:]
        case 4:
            return data[:at] + random.choice(TOKENS) + data[at:]
        case 5:
            return data[:at] + random.choice(TOKENS) + data[end:]
        case 6:
            return data[:at] + random.choice(others)[at:]
        case 7:
            return data[:at]
        case _:
            lines = data.split(b"\n")
            one, other = random.randrange(len(lines)), random.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
            return b"\n".join(lines)
