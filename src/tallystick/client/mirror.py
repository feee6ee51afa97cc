"""Reads a mirror of a ledger, from a folder or over HTTP. Nothing of it is believed: proofs made of it are verified.

A hostile one can deny, and no more: what is read is bounded in size and time, and names no other place.
"""

import asyncio
import random
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

import httpx

from tallystick.client.doors import is_url, parsed_url, said_of
from tallystick.host.text import shown_url
from tallystick.ledger.checkpoint import Checkpoint, parse_checkpoint
from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import Refused
from tallystick.ledger.merkle import HASH_BYTES, audit_path, consistency_path, risen, tree_root
from tallystick.ledger.note import MAX_NOTE_BYTES, Note, parse_note
from tallystick.problems import DamagedStore, ExitCode, NotInTime, NotRunning, Problem
from tallystick.storage.described_files import read_bounded
from tallystick.storage.log_tiles import TILE_HEIGHT, Tree
from tallystick.storage.mirror import (
    CHECKPOINT_PATH,
    MAX_STATE_BYTES,
    MirroredState,
    Part,
    Series,
    items_in,
    max_bytes,
    part_with,
    state_codec,
    state_path,
    tiles,
)

_ATTEMPTS: Final = 3
_FIRST_PAUSE_S: Final = 0.2
_PATIENCE_S: Final = 10.0
"""For a connection, and for each piece of a file."""
_SLOWEST_BYTES_A_S: Final = 32 * 1024
"""A file that comes slower than this, after the patience, is given up."""
_AT_ONCE: Final = 8
_MOST_KEPT_BYTES: Final = 32 * 1024 * 1024
_GONE: Final = (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.GONE)
"""Object stores answer with 403 for what they do not have, if whoever asks may not list them."""

T = TypeVar("T")


class Missing(Problem):
    """A mirror lacks a file that its checkpoint needs: maybe a newer one was published meanwhile."""

    code = "not-kept"


class NoMirror(Problem):
    """What was named is no mirror."""

    def __init__(self, where: str, why: str) -> None:
        advice = "name the folder or URL with the file checkpoint of a mirror"
        super().__init__(f"{where} is no mirror: {why}; {advice}")
        self.why = f"no mirror: {why}"


class WrongAnswer(Problem):
    """A web server answers, and not with the files of a mirror."""

    code, exit_code = "not-running", ExitCode.NOT_RUNNING


class _Unfit(Exception):
    """An answer that may be another one soon."""


Wanted = tuple[str, int]
"""A path, and the most bytes that the file may have."""


class Files(Protocol):
    """The files of a mirror by their paths."""

    @property
    def where(self) -> str:
        """As the user named it."""

    def read(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """Of each file at most one byte more than may be. `None`: it is not there. Raises `Problem`."""

    def close(self) -> None:
        """Let go of it."""


class FolderFiles:
    """Of a folder on this machine."""

    def __init__(self, folder: Path) -> None:
        """Raises `Problem` if there is no such folder."""
        self.where, self._folder = str(folder), folder
        if not folder.is_dir():
            raise Problem(f"there is no folder {shown_url(str(folder))}; name a mirror by its folder, or by its URL")
        self._real = folder.resolve()

    def read(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """One after the other."""
        return [self._read(path, most) for path, most in wanted]

    def _read(self, path: str, most: int) -> bytes | None:
        """Links are followed within the folder only: whoever made it does not choose what else is read."""
        file = self._folder / path
        try:
            is_inside = file.resolve().is_relative_to(self._real)
        except (OSError, RuntimeError):  # links in a circle
            is_inside = False
        if not is_inside:
            raise DamagedStore(f"{self.where} is no mirror to be read: {path} leads out of it; copy it anew")
        return read_bounded(file, most)

    def close(self) -> None:
        """Nothing is held."""


class _Plain:
    """A body as it is."""

    is_whole = True

    def opened(self, piece: bytes, most: int) -> bytes:
        """At most so many bytes."""
        return piece[:most]


class _Gzip:
    """A body that is compressed by gzip; no more of it is opened than is asked for."""

    def __init__(self) -> None:
        self._opener = zlib.decompressobj(wbits=31)

    @property
    def is_whole(self) -> bool:
        """Whether it came to its end."""
        return self._opener.eof

    def opened(self, piece: bytes, most: int) -> bytes:
        """At most so many bytes; what follows the end is left. Raises `_Unfit`."""
        try:
            return self._opener.decompress(piece, most)
        except zlib.error:
            raise _Unfit("what it sends as gzip is none") from None


class WebFiles:
    """Of a web server, an object store or a node's door."""

    def __init__(self, where: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport`: the way there, if it is not the network. Raises `Problem` for what is no URL of a folder."""
        self.where = shown_url(where)
        self._base = parsed_url(where if where.endswith("/") else where + "/", "a folder", "https://log.example/mirror")
        limits = httpx.Limits(max_connections=_AT_ONCE)
        headers = {"Accept-Encoding": "identity"}
        self._runner = asyncio.Runner()
        self._http = httpx.AsyncClient(
            timeout=_PATIENCE_S, limits=limits, headers=headers, follow_redirects=False, transport=transport
        )

    def read(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """Several at a time. What fails on the way is asked for again, a few times."""
        return self._runner.run(self._read_all(wanted))

    async def _read_all(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def read(path: str, most: int) -> bytes | None:
            async with at_once:
                return await self._read(path, most)

        return list(await asyncio.gather(*(read(path, most) for path, most in wanted)))

    async def _read(self, path: str, most: int) -> bytes | None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._read_once(path, most)
            except (httpx.TimeoutException, TimeoutError):
                late = f"{self.where} did not send what it was asked for in time"
                raise NotInTime(f"{late}; try again, or name another mirror") from None
            except (httpx.HTTPError, _Unfit) as error:
                if attempt == _ATTEMPTS:
                    said = said_of(error) if isinstance(error, httpx.HTTPError) else str(error)
                    raise NotRunning(f"{self.where} cannot be read: {said}; name another mirror") from None
            await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311  no secret
        raise AssertionError("the last attempt returns or raises")

    async def _read_once(self, path: str, most: int) -> bytes | None:
        data, until_s = bytearray(), asyncio.get_running_loop().time() + 2 * _PATIENCE_S
        async with (
            asyncio.timeout_at(until_s) as limit,  # each byte may come in time, and all of them never
            self._http.stream("GET", self._base.join(path)) as response,
        ):
            if response.status_code in _GONE:
                return None
            if response.is_redirect:
                advice = "name the address where the mirror is itself"
                raise WrongAnswer(f"{self.where} sends elsewhere for {path}; {advice}")
            if response.status_code != httpx.codes.OK:
                raise _Unfit(f"it answers {response.status_code}")
            body = self._body(response, path)
            async for piece in response.aiter_raw():
                data += body.opened(piece, most + 1 - len(data))
                if len(data) > most:
                    return bytes(data)
                limit.reschedule(until_s + len(data) / _SLOWEST_BYTES_A_S)
        if not body.is_whole:
            raise _Unfit("what it sends compressed is cut off")
        return bytes(data)

    def _body(self, response: httpx.Response, path: str) -> "_Plain | _Gzip":
        """What opens a body: C2SP tlog-tiles lets servers compress entries by gzip, whatever they were asked for."""
        match response.headers.get("content-encoding", "identity").strip().lower():
            case "identity" | "":
                return _Plain()
            case "gzip" | "x-gzip":
                return _Gzip()
        raise WrongAnswer(f"{self.where} sends {path} compressed, and not by gzip; name another mirror")

    def close(self) -> None:
        """Close connections."""
        with self._runner:
            self._runner.run(self._http.aclose())


def files_at(where: str | Path) -> Files:
    """The files of the mirror at a URL or in a folder. Raises `Problem`."""
    if is_url(where):
        return WebFiles(str(where))
    if "://" in str(where):
        shown = shown_url(str(where))
        raise Problem(f"{shown} is no mirror that can be read here; name a folder, or a URL with https:// or http://")
    return FolderFiles(Path(where).expanduser())


class Mirror:
    """A mirror, file by file, each of the form that it should have; what never changes is read once."""

    def __init__(self, files: Files) -> None:
        """What is given is closed with this."""
        self.where = files.where
        self._files = files
        self._kept: OrderedDict[Part, tuple[Part, bytes]] = OrderedDict()
        self._kept_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def checkpoint(self) -> tuple[Note, Checkpoint]:
        """The newest checkpoint, as its note says it. Raises `Problem` where there is none."""
        data = self._files.read([(CHECKPOINT_PATH, MAX_NOTE_BYTES)])[0]
        if data is None:
            raise NoMirror(self.where, "it has no file checkpoint")
        try:
            note = parse_note(data.decode())
            return note, parse_checkpoint(note.text)
        except UnicodeDecodeError:
            raise NoMirror(self.where, "its checkpoint is no text in UTF-8") from None
        except Refused as refused:
            raise NoMirror(self.where, refused.reason) from None

    def state(self, log_size: int) -> MirroredState:
        """What all proofs at the checkpoint of so large a log have in common, as it tells it."""
        path = state_path(log_size)
        data = self._files.read([(path, MAX_STATE_BYTES)])[0]
        if data is None:
            raise self._missing(path)
        return self.decoded(state_codec, data, path)

    def item(self, series: Series, index: int, count: int) -> bytes:
        """One of so many items. Raises `Missing`, `DamagedStore`."""
        part = part_with(series, index, count)
        return self.items(part)[index - part.first]

    def items(self, part: Part) -> list[bytes]:
        """The items of a file. Raises `Missing`, `DamagedStore`."""
        return self._items(part, self.file(part))

    def items_of_all(self, parts: Sequence[Part]) -> Iterator[list[bytes]]:
        """The items of each file. They are read together, each once, however large they are. Raises as `items`."""
        self._fetch(parts)
        found = [self._kept[part] for part in parts]
        self._evict()
        for part, one in zip(parts, found, strict=True):
            yield self._items(part, one)

    def _items(self, part: Part, found: tuple[Part, bytes]) -> list[bytes]:
        return self.checked(lambda: items_in(*found))[: part.width]

    def file(self, part: Part) -> tuple[Part, bytes]:
        """What is in a file; where it was not full and is gone, in the full one that took its place. Raises `Missing`.

        Of a full one that is told, too, which may have more than the log at the checkpoint.
        """
        self.fetch([part])
        self._kept.move_to_end(part)
        return self._kept[part]

    def fetch(self, parts: Iterable[Part]) -> None:
        """Have these files at hand; those that are not yet come together. Raises as `file` does."""
        self._fetch(parts)
        self._evict()

    def _fetch(self, parts: Iterable[Part]) -> None:
        missing = [one for one in dict.fromkeys(parts) if one not in self._kept]
        gone = list[Part]()
        for part, data in zip(missing, self._read(missing), strict=True):
            if data is None:
                gone.append(part)
            else:
                self._keep(part, (part, data))
        full = [one._replace(width=one.series.span) for one in gone]
        for part, read, data in zip(gone, full, self._read(full), strict=True):
            if data is None:
                raise self._missing(part.path)
            self._keep(part, (read, data))

    def _read(self, parts: Sequence[Part]) -> list[bytes | None]:
        return self._files.read([(one.path, max_bytes(one)) for one in parts]) if parts else []

    def decoded(self, codec: Codec[T], data: bytes, path: str) -> T:
        """What the bytes are. Raises `DamagedStore`."""
        return self.checked(lambda: codec.decode(data), f"{path}: ")

    def checked(self, made: Callable[[], T], what: str = "") -> T:
        """What is made of a mirror's files. Raises `DamagedStore` for what a rule refuses."""
        try:
            return made()
        except Refused as refused:
            raise self.damaged(f"{what}{refused.reason}") from None

    def damaged(self, what: str) -> DamagedStore:
        """What to say where a mirror's files do not belong together."""
        return DamagedStore(f"what the mirror {self.where} holds is not sound: {what}; name another mirror, or a node")

    def _missing(self, path: str) -> Missing:
        return Missing(f"the mirror {self.where} lacks {path}; name another mirror, or a node")

    def _keep(self, part: Part, found: tuple[Part, bytes]) -> None:
        self._kept[part] = found
        self._kept_bytes += len(found[1])

    def _evict(self) -> None:
        while self._kept_bytes > _MOST_KEPT_BYTES and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


class TiledTree:
    """One of a mirror's trees, as its tiles tell it: whoever asks knows a root to which what is told has to lead."""

    def __init__(self, mirror: Mirror, tree: Tree, size: int) -> None:
        """With so many leaves."""
        self._mirror, self._tree, self._size = mirror, tree, size

    def root(self, size: int) -> bytes:
        """The tree head over the first `size` leaves. Raises `Missing`, `DamagedStore`."""
        return self._with_tiles(lambda subtree: tree_root(size, subtree))

    def path(self, index: int, size: int) -> tuple[bytes, ...]:
        """The audit path of a leaf in the tree of the first `size` leaves. Raises `Missing`, `DamagedStore`."""
        return self._with_tiles(lambda subtree: tuple(audit_path(index, size, subtree)))

    def consistency(self, old_size: int, size: int) -> tuple[bytes, ...]:
        """The proof that the first `size` leaves go on from the first `old_size`. Raises `Missing`, `DamagedStore`."""
        return self._with_tiles(lambda subtree: tuple(consistency_path(old_size, size, subtree)))

    def _with_tiles(self, made: Callable[[Callable[[int, int], bytes]], T]) -> T:
        """Made twice: first to see which tiles it takes, which then come together."""
        needed: list[Part] = []

        def noted(height: int, number: int) -> bytes:
            needed.append(self._place(height, number)[0])
            return bytes(HASH_BYTES)

        made(noted)
        self._mirror.fetch(needed)
        return made(self._subtree)

    def _subtree(self, height: int, number: int) -> bytes:
        part, first, rising = self._place(height, number)
        row = self._mirror.items(part)[first : first + (1 << rising)]
        return risen(b"".join(row), rising)

    def _place(self, height: int, number: int) -> tuple[Part, int, int]:
        """The tile that has a full subtree of this height, where in it that begins, and how many levels it rises."""
        level, rising = divmod(height, TILE_HEIGHT)
        index = number << rising
        part = part_with(tiles(level, self._tree), index, self._size >> (level * TILE_HEIGHT))
        return part, index - part.first, rising
