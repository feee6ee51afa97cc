"""The types of fields, with the bounds that every decoder holds their values to."""

import re
from typing import Annotated, Final

from msgspec import Meta

MAX_TOKENS: Final = 2**53 - 1
"""Most tokens a ledger can hold; exact in every language that reads JSON."""
MAX_TIMESTAMP_MS: Final = 2**53 - 1
MAX_INDEX: Final = 2**53 - 1
MAX_SUBJECT_CHARACTERS: Final = 256
ML_DSA_KEY_BYTES: Final = 1_312
ML_DSA_SIGNATURE_BYTES: Final = 2_420

NO_CONTROLS: Final = rf"^[ -~\xa0-{chr(0x10FFFF)}]*$(?!\n)"
"""Pattern of text without control characters, for Python and for ECMAScript (flag `u`), which has no `\\Z`.

Python finds out what is in a set in half the time that it takes for what is not in one; each certificate is asked.
"""
ZERO_DIGEST: Final = bytes(32)
UNSIGNED: Final = bytes(64)
"""Stands where a signature will be; never verifies."""

Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
MlDsaKey = Annotated[bytes, Meta(min_length=ML_DSA_KEY_BYTES, max_length=ML_DSA_KEY_BYTES)]
"""A public key of ML-DSA-44 (FIPS 204)."""
MlDsaSignature = Annotated[bytes, Meta(min_length=ML_DSA_SIGNATURE_BYTES, max_length=ML_DSA_SIGNATURE_BYTES)]
Version = Annotated[int, Meta(ge=1, le=255)]
Index = Annotated[int, Meta(ge=0, le=MAX_INDEX)]
Nonce = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Milliseconds = Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]
Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
Stake = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Amount = Annotated[int, Meta(ge=-MAX_TOKENS, le=MAX_TOKENS)]
Subject = Annotated[str, Meta(max_length=MAX_SUBJECT_CHARACTERS, pattern=NO_CONTROLS)]
OrganisationId = Annotated[str, Meta(max_length=40, pattern=r"^[a-z0-9][a-z0-9-]*$(?!\n)")]
"""Chosen once, and never changed or given to another."""
Title = Annotated[str, Meta(min_length=1, max_length=64, pattern=NO_CONTROLS)]
ShortName = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^[a-z0-9.-]+$(?!\n)")]
_DOMAIN: Final = r"^[a-z0-9-]+(\.[a-z0-9-]+)+$(?!\n)"
WebDomain = Annotated[str, Meta(max_length=253, pattern=_DOMAIN)]
Label = Annotated[str, Meta(max_length=64, pattern=NO_CONTROLS)]


def is_domain(text: str) -> bool:
    """Whether a text has the form of a web domain: names of other kinds are not looked for in its place."""
    return re.search(_DOMAIN, text) is not None
