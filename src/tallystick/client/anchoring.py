"""Has a time stamping authority (RFC 3161) stamp the checkpoints of proofs, and keeps the tokens beside them."""

import asyncio
from hashlib import sha512
from pathlib import Path
from typing import Final

import httpx

from tallystick.api.made_proof_views import ProofStamped
from tallystick.api.proof_views import TimeStamp
from tallystick.client.doors import said_of
from tallystick.client.proof_files import TIME_STAMP, RawProof, counted_proof, document_of
from tallystick.client.proof_writing import time_stamp_place, write_time_stamp
from tallystick.client.time_stamp_token import MAX_TOKEN_BYTES, read_token
from tallystick.client.time_stamps import TimeStamps, check_available
from tallystick.host.text import shown_url
from tallystick.ledger.errors import Refused
from tallystick.problems import BadRequest, ExitCode, Problem, RefusedInput

_ASKS: Final = "application/timestamp-query"
_ANSWERS: Final = "application/timestamp-reply"
_SCHEMES: Final = ("http", "https")
_MOST_REMEMBERED: Final = 1_024
"""Tokens: proofs that were made together are near each other."""


class NoToken(Problem):
    """The time stamping authority gave no token that holds."""

    code, exit_code, http_status = "no-token", ExitCode.FAILED, 502


class AuthorityAway(NoToken):
    """The time stamping authority does not answer."""

    code = "authority-away"


class Anchorer:
    """Asks one authority, once for each distinct note."""

    def __init__(self, url: str, time_stamps: TimeStamps, timeout_s: float) -> None:
        """Raises `BadRequest` for a URL that is none, `LacksLibrary`."""
        check_available("ask for time stamps, and to verify them,")
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            raise BadRequest(f"{shown_url(url)} is no URL; name the authority's with --tsa") from None
        if parsed.scheme not in _SCHEMES or not parsed.host:
            raise BadRequest(f"{shown_url(url)} is no URL of a time stamping authority: http://… or https://…")
        self.requests = 0
        self._url, self._where = parsed, shown_url(url)
        self._time_stamps, self._timeout_s = time_stamps, timeout_s
        self._away: AuthorityAway | None = None
        self._tokens: dict[bytes, tuple[bytes, TimeStamp] | Problem] = {}
        """By the SHA-512 of the note: what stands beside a proof of it, or came, or why not."""

    def anchor(self, path: Path) -> ProofStamped:
        """Have a token beside a proof, or a PDF that carries one, unless one that holds is there. Raises `Problem`."""
        try:
            found, files = counted_proof(path)
            note = files.note
        except Refused as refused:
            raise RefusedInput(refused) from None
        if (kept := self._kept(files, note)) is not None:
            return _told(path, kept, was_there=True)
        time_stamp_place(found)  # nothing is asked for in vain: some authorities take money for each
        response, stamp = self._remembered(note)
        write_time_stamp(response, found)
        return _told(path, stamp, was_there=False)

    def _kept(self, files: RawProof, note: bytes) -> TimeStamp | None:
        """The time stamp that lies beside a proof, if it holds."""
        if files.time_stamp is None:
            return None
        try:
            stamp = self._time_stamps.judge(note, files.time_stamp)
        except Refused:
            return None
        if stamp.not_later_ms is None:
            return None
        self._remember(note, (files.time_stamp, stamp))
        return stamp

    def _remembered(self, note: bytes) -> tuple[bytes, TimeStamp]:
        """The token of a note: asked for once. Raises `Problem`, for the same note again the same."""
        found = self._tokens.get(sha512(note).digest())
        if found is None:
            try:
                found = self._token(note)
            except Problem as problem:
                found = problem
            self._remember(note, found)
        if isinstance(found, Problem):
            raise found
        return found

    def _remember(self, note: bytes, found: tuple[bytes, TimeStamp] | Problem) -> None:
        self._tokens[sha512(note).digest()] = found
        if len(self._tokens) > _MOST_REMEMBERED:
            del self._tokens[next(iter(self._tokens))]

    def _token(self, note: bytes) -> tuple[bytes, TimeStamp]:
        """A token that holds, as it was received. Raises `Problem`."""
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415  # optional

        if self._away is not None:
            raise self._away  # one that cannot be asked is not asked again
        request = TimestampRequestBuilder(data=note, hash_algorithm=HashAlgorithm.SHA512).build()
        self.requests += 1
        try:
            response = self._ask(request.as_bytes())
        except AuthorityAway as away:
            self._away = away
            raise
        try:
            stamp, nonce = self._time_stamps.judge(note, response), read_token(response).nonce
        except Refused as refused:
            raise NoToken(f"{self._where} gave no token that holds: {refused.reason}; ask another with --tsa") from None
        if stamp.state == "not_trusted":
            by = f", {stamp.authority}" if stamp.authority else ""
            advice = "get its root certificate from the authority: tallystick trust add-tsa FILE.pem"
            raise NoToken(f"{self._where} stamped under an authority that you do not trust{by}; {advice}")
        if stamp.not_later_ms is None:
            raise NoToken(f"{self._where} gave no token that holds: {stamp.reason}; ask another with --tsa")
        if nonce != request.nonce:
            raise NoToken(f"{self._where} gave the answer to another request (its nonce differs); ask again")
        return response, stamp

    def _ask(self, request: bytes) -> bytes:
        """One request over HTTP, bounded in time and size. Raises `NoToken`, `AuthorityAway`."""
        try:
            return asyncio.run(self._exchange(request))
        except (httpx.TimeoutException, TimeoutError):
            raise AuthorityAway(f"{self._where} did not answer within {self._timeout_s:g} s; try again later") from None
        except httpx.HTTPError as error:
            advice = "compare the URL with the authority's, or try again later"
            raise AuthorityAway(f"{self._where} cannot be asked: {said_of(error)}; {advice}") from None

    async def _exchange(self, request: bytes) -> bytes:
        headers = {"Content-Type": _ASKS, "Accept": _ANSWERS, "Accept-Encoding": "identity"}
        async with (
            asyncio.timeout(self._timeout_s),  # each byte may come in time, and all of them never: of the headers, too
            httpx.AsyncClient(timeout=self._timeout_s) as http,
            http.stream("POST", self._url, content=request, headers=headers) as response,
        ):
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status_code != httpx.codes.OK or kind != _ANSWERS:
                told = f"HTTP {response.status_code}, {kind or 'no content type'}"
                raise NoToken(f"{self._where} answers no time stamp ({told}); is it the authority's URL?")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise NoToken(f"{self._where} answers compressed, though it was asked not to; ask another with --tsa")
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_TOKEN_BYTES:
                    raise NoToken(f"{self._where} answers more than {MAX_TOKEN_BYTES:,} bytes; ask another")
            return bytes(body)


def _told(path: Path, stamp: TimeStamp, *, was_there: bool) -> ProofStamped:
    assert stamp.not_later_ms is not None, "it is verified"
    return ProofStamped(
        proof=str(path),
        time_stamp=str(path.with_name(document_of(path).name + TIME_STAMP)),
        not_later_ms=stamp.not_later_ms,
        authority=stamp.authority or "",
        known_as=stamp.known_as or "",
        was_there=was_there,
    )
