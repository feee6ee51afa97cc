"""`Node`: a network in one process, as the assignment's own `network` folder gives it.

What is sent waits in one queue, in order, and the outermost send delivers it. So an answer to an answer to an answer
never recurses, however large the network is.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import ClassVar


class NetworkError(Exception):
    """A node was used in a way that the network has no answer to; the message says what to do."""


class _Network:
    """The nodes by their identifiers, and what is on its way between them."""

    def __init__(self) -> None:
        self.nodes: dict[Hashable, Node] = {}
        self._queue: deque[tuple[object, Hashable, Iterator[Node]]] = deque()
        """What is on its way, from whom, and who has not been given it yet."""
        self._held = 0

    def reset(self) -> None:
        self.nodes.clear()
        self._queue.clear()

    def post(self, obj: object, sender: Hashable, receivers: "Iterable[Node]") -> None:
        """Put an object on its way to these nodes, one after the other."""
        with self:
            self._queue.append((obj, sender, iter(receivers)))

    def __enter__(self) -> None:
        """Hold: nothing is delivered before the outermost `with` ends, and then all is."""
        self._held += 1

    def __exit__(self, *_raised: object) -> None:
        try:
            if self._held == 1:
                self._deliver_all()
        finally:
            self._held -= 1

    def _deliver_all(self) -> None:
        """Empty the queue. What a receiver raises is raised at the end, when everybody else has been served."""
        first: Exception | None = None
        while self._queue:
            obj, sender, receivers = self._queue[0]
            receiver = next((one for one in receivers if not one._is_old_news(obj)), None)
            if receiver is None:
                self._queue.popleft()
                continue
            try:
                receiver.receive_object_from_node(obj, sender)
            except Exception as error:  # a receiver's bug is not its peers' loss
                if first is None:
                    first = error
                    error.add_note(f"raised by node {receiver.nodeIdentifier!r}, which {sender!r} sent {obj!r}")
        if first is not None:
            raise first


class Node:
    """One node of the network. Subclass it, call `super().__init__(nodeIdentifier)`, implement the receiver."""

    _network: ClassVar[_Network] = _Network()

    def __init__(self, nodeIdentifier: Hashable) -> None:
        """Join the network. Raises `NetworkError` when the identifier is taken."""
        try:
            is_taken = nodeIdentifier in self._network.nodes
        except TypeError:
            kind = type(nodeIdentifier).__name__
            raise NetworkError(f"a node's identifier has to be hashable, such as text; not a {kind}") from None
        if is_taken:
            raise NetworkError(
                f"the network has a node {nodeIdentifier!r} already: give this one another identifier (a "
                f"BlockchainNode: another wallet), or call Node.reset_network() before you make the nodes anew"
            )
        self.nodeIdentifier = nodeIdentifier
        self._network.nodes[nodeIdentifier] = self

    @staticmethod
    def reset_network() -> None:
        """Begin with an empty network. Nodes made before are no longer on it."""
        Node._network.reset()

    def receive_object_from_node(self, obj: object, senderNodeIdentifier: Hashable) -> None:
        """Called for each object that another node sends here. Yours to implement."""
        raise NotImplementedError(
            f"{type(self).__name__} has to implement receive_object_from_node(self, obj, senderNodeIdentifier)"
        )

    def _is_old_news(self, obj: object) -> bool:
        """Whether an object would tell this node nothing: then it is dropped at the post. Of no use to a student."""
        return False

    def send_object_to_node(self, obj: object, nodeIdentifier: Hashable) -> None:
        """Send an object to one node; what a node sends to itself is dropped. Raises `NetworkError`."""
        self._require_network()
        receiver = self._network.nodes.get(nodeIdentifier)
        if receiver is None:
            raise NetworkError(
                f"no node {nodeIdentifier!r} is on the network: make it first, and send to its nodeIdentifier"
            )
        if receiver is not self:
            self._network.post(obj, self.nodeIdentifier, [receiver])

    def broadcast_object(self, obj: object) -> None:
        """Send an object to every other node, one after the other in the order in which they joined."""
        self._require_network()
        own, nodes = self.nodeIdentifier, self._network.nodes
        if getattr(self.send_object_to_node, "__func__", None) is Node.send_object_to_node:
            return self._network.post(obj, own, [one for identifier, one in nodes.items() if identifier != own])
        for nodeIdentifier in list(nodes):  # a student's own: it is told of each
            if nodeIdentifier != own:
                self.send_object_to_node(obj, nodeIdentifier)
        return None

    def _require_network(self) -> None:
        """Raise `NetworkError` unless this node is on the network."""
        nodeIdentifier = self.__dict__.get("nodeIdentifier")
        if self._network.nodes.get(nodeIdentifier) is not self:
            raise NetworkError(
                f"node {nodeIdentifier!r} is not on the network: it was made before Node.reset_network() was called, "
                f"or its __init__ did not call super().__init__(nodeIdentifier). Make it anew"
            )
