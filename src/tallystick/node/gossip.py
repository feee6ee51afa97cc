"""Sharing what is new: certificates pushed in batches along a tree of peers, and announced to whom they did not reach.

Leitao, Pereira and Rodrigues, "Epidemic Broadcast Trees" (SRDS 2007). A link is eager (new certificates are pushed
over it at once) or lazy (its peer hears of them by announcement, and asks). Asking makes a link eager, being told what
is known already makes it lazy, on both sides. So the eager links come to form a tree, and when it breaks they mend it.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec.structs import replace

from tallystick.ledger.messages import (
    MAX_IDS,
    CertificateRequest,
    Entry,
    Prune,
    Status,
    certificates_in_parts,
)
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import Multicast, Peer, Send
from tallystick.node.limits import Limits

_GRAFT: Final = CertificateRequest(())
"""Asks for nothing but to be pushed to."""

_LOWEST: Final = 256
"""Certificates remembered for their low ids: of n heard there are some ln n, unless an issuer seeks out rising ids."""

_MENDED_AGAIN_MS: Final = 5_000
"""Some times as long as it takes to prune what one loss made eager."""


class _Heard(NamedTuple):
    """A certificate that was lately heard for the first time."""

    id: bytes
    at_ms: int
    source: Peer | None


class Gossip:
    """Which links are eager, certificates on their way out, the ones asked for, and when to announce next."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._eager: dict[Peer, bool] = {}
        self._lowest = deque[_Heard](maxlen=_LOWEST)
        """Ids ascend, and so do times."""
        self._repeaters: dict[Peer, None] = {}
        self._mended_ms: int | None = None
        """When a loss was last taken for one that may part the tree."""
        self._sources = set[Peer]()
        """Over these links certificates came first, at some time."""
        self._fresh: list[tuple[Entry, Peer | None]] = []
        self._flushed_ms: int | None = None
        self._asked: dict[bytes, int] = {}
        self._level: set[Peer] = set()
        self._has_told_all = False
        self._listed_until_ms = self._listed_all_ms = 0
        self._interval_ms = limits.announce_first_ms
        self.announce_ms: int | None = None
        """When the next announcement is due; `None`: everybody knows, or silence has come."""

    # ---- the tree ---------------------------------------------------------------------------------------------

    def connected(self, peer: Peer) -> list[Send]:
        """A peer is there. The first few are pushed to, and asked to push; later ones wait until they are needed."""
        self._level.discard(peer)
        self._eager[peer] = is_eager = sum(one != peer for one in self._eager) < self._limits.eager_peers
        return [Send(peer, _GRAFT)] if is_eager else []

    def disconnected(self, peer: Peer, now_ms: int) -> list[Send]:
        """A peer is gone. If the tree went through it, the lazy link that is there longest takes its place at once.

        What the substitute has heard in the meantime it announces; waiting for that would cost a second or so. Nothing
        heard until now prunes then: the links over which it came again may be all that is left, here or elsewhere.
        Who comes and goes would so keep a tree from forming. Soon after such a loss only what came first over the lost
        link prunes no other, and a link has a substitute if anything did, or if it was the last one pushed over.
        """
        self._level.discard(peer)
        self._repeaters.pop(peer, None)
        is_source = peer in self._sources
        self._sources.discard(peer)
        if not self._eager.pop(peer, False):
            return []
        is_rare = self._mended_ms is None or now_ms >= self._mended_ms + _MENDED_AGAIN_MS
        if is_rare:
            self._mended_ms = now_ms
        if self._lowest and (is_rare or self._lowest[0].source == peer):
            self._repeaters = {}
        self._lowest = deque((one for one in self._lowest if not is_rare and one.source != peer), _LOWEST)
        if is_rare or is_source or not any(self._eager.values()):
            substitute = next((one for one, is_eager in self._eager.items() if not is_eager), None)
            if substitute is not None:
                self._eager[substitute] = True
                return [Send(substitute, _GRAFT)]
        return []

    def grafted(self, peer: Peer | None) -> None:
        """The peer asked for something: from now on it is pushed to."""
        if peer in self._eager:
            self._eager[peer] = True

    def pruned(self, peer: Peer) -> None:
        """The peer hears from another side sooner: from now on it is announced to."""
        if peer in self._eager:
            self._eager[peer] = False

    def heard_again(self, peer: Peer, ids: tuple[bytes, ...], now_ms: int) -> list[Send]:
        """A peer pushed certificates that were known already: its link may be redundant. Prunes, if it is time to."""
        if self._lowest and peer in self._eager:
            lowest = self._lowest[0]
            if lowest.id in ids and lowest.source != peer:
                self._repeaters[peer] = None
        return self._prune(now_ms)

    def _prune(self, now_ms: int) -> list[Send]:
        """Prune, when it is time to, the links over which the lowest certificate came again.

        Where one certificate came first links stay eager, so it reaches everybody over those. But if every certificate
        pruned, two that travel at once from two sides could cut all links of a circle. So only that with the lowest id
        of those heard lately does, which is the same one everywhere, and only when it had time to get everywhere.
        """
        if not self._repeaters or self._lowest[0].at_ms > now_ms - self._limits.prune_after_ms:
            return []
        redundant, self._repeaters = self._repeaters, {}
        self._eager.update(dict.fromkeys(redundant, False))
        return [Send(peer, Prune()) for peer in redundant]

    def _note(self, certificate_id: bytes, source: Peer | None, now_ms: int) -> None:
        """Keep the ids of lately heard certificates, ascending: one goes when a lower one is heard after it."""
        lowest = self._lowest
        while lowest and lowest[0].at_ms <= now_ms - self._limits.prune_every_ms:
            lowest.popleft()
            self._repeaters = {}
        while lowest and lowest[-1].id > certificate_id:
            lowest.pop()
        if not lowest:
            self._repeaters = {}
            self.grafted(source)
        lowest.append(_Heard(certificate_id, now_ms, source))

    def eager(self, but: Peer | None = None) -> tuple[Peer, ...]:
        """The peers that new things are pushed to, but for the one that they came from."""
        return tuple(peer for peer, is_eager in self._eager.items() if is_eager and peer != but)

    # ---- pushing ----------------------------------------------------------------------------------------------

    def offer(self, entry: Entry, source: Peer | None, now_ms: int) -> None:
        """Put a certificate that was just accepted on its way; it does not go back to where it came from."""
        if source in self._eager:
            self._sources.add(source)
        if len(self._eager) > 1:  # with fewer links it is on no circle
            self._note(entry.certificate.id, source, now_ms)
        self._fresh.append((entry, source))

    def erase_payload(self, payload_hash: bytes) -> None:
        """Forget a payload; the certificates that cover it still go out."""
        self._fresh = [
            (Entry(one.certificate), source) if one.certificate.payload_hash == payload_hash else (one, source)
            for one, source in self._fresh
        ]

    def due_ms(self, now_ms: int) -> int | None:
        """When the waiting batch leaves: now after a quiet while, else when that has passed; `None`: no batch."""
        if not self._fresh:
            return None
        if self._flushed_ms is None:
            return now_ms
        return max(now_ms, self._flushed_ms + self._limits.gossip_batch_ms)

    def flush(self, now_ms: int) -> list[Multicast]:
        """The batches to push now: one for all eager peers, but for those that some of it came from one each."""
        fresh, self._fresh = self._fresh, []
        self._flushed_ms = now_ms
        eager = [peer for peer, is_eager in self._eager.items() if is_eager]
        sources = {source for _, source in fresh}
        groups = [(tuple(peer for peer in eager if peer not in sources), [entry for entry, _ in fresh])]
        groups += [((peer,), [entry for entry, source in fresh if source != peer]) for peer in eager if peer in sources]
        return [
            Multicast(peers, batch)
            for peers, entries in groups
            if peers
            for batch in certificates_in_parts(entries, self._limits.gossip_batch_bytes)
        ]

    # ---- asking -----------------------------------------------------------------------------------------------

    def ask(self, peer: Peer, ids: tuple[bytes, ...], now_ms: int) -> list[Send]:
        """Ask a peer for certificates that this node lacks, but for those asked for lately; its link becomes eager."""
        fresh_ms, most = now_ms - self._limits.request_timeout_ms, self._limits.box_certificates
        if len(self._asked) + len(ids) > most:
            self._asked = {one: asked_ms for one, asked_ms in self._asked.items() if asked_ms > fresh_ms}
        asking = tuple(one for one in ids if self._asked.get(one, fresh_ms) <= fresh_ms)
        asking = asking[: max(0, most - len(self._asked))]
        if not asking:
            return []
        self._asked.update(dict.fromkeys(asking, now_ms))
        self.grafted(peer)
        return [Send(peer, CertificateRequest(asking))]

    def received(self, ids: Iterable[bytes]) -> None:
        """Certificates came, so they may be asked for again if they are ever lost."""
        for one in ids if self._asked else ():
            self._asked.pop(one, None)

    # ---- announcing -------------------------------------------------------------------------------------------

    def news(self, now_ms: int) -> int:
        """Something changed, for all peers: announce soon, then at doubling intervals. Returns when."""
        self._level.clear()
        self._has_told_all = False
        self._interval_ms = self._limits.announce_first_ms
        soon_ms = now_ms + self._interval_ms
        self.announce_ms = soon_ms if self.announce_ms is None else min(self.announce_ms, soon_ms)
        return self.announce_ms

    def in_sync(self, peer: Peer) -> None:
        """The peer told that it stands where this node does and has all that waits here: it need not be told."""
        if peer in self._eager:
            self._level.add(peer)

    def announce(self, now_ms: int, tip: Status, box: CertificateBox) -> list[Send | Multicast]:
        """Announce to everybody, and what was announced to everybody to those that did not tell that they have it, too.

        A certificate is named when it had time to come by itself, and after that only while there is no further news,
        or a box that is always full would be listed all the time. Prunes as well.
        """
        first_ms, last_ms = self._limits.announce_first_ms, self._limits.announce_last_ms
        until_ms = now_ms - first_ms
        is_full = self._interval_ms > first_ms or now_ms >= self._listed_all_ms + last_ms
        ids = box.ids(MAX_IDS, -1 if is_full else self._listed_until_ms, until_ms)
        behind = tuple(peer for peer in self._eager if peer not in self._level)
        told = behind if self._has_told_all else tuple(self._eager)
        newest_ms = box.newest_ms()
        is_full, has_newer = is_full or newest_ms is None, newest_ms is not None and newest_ms > until_ms
        self._has_told_all = is_full and not has_newer
        self._listed_until_ms, self._listed_all_ms = until_ms, now_ms if is_full else self._listed_all_ms
        self._interval_ms = first_ms if has_newer else 2 * self._interval_ms
        self.announce_ms = None
        if has_newer or (behind and (newest_ms is not None or self._interval_ms <= last_ms)):
            self._interval_ms = min(self._interval_ms, last_ms)
            self.announce_ms = now_ms + self._interval_ms
        said = [Multicast(told, replace(tip, waiting=ids))] if told else []
        return [*self._prune(now_ms), *said]
