import pytest

from tallystick.course import NetworkError, Node


class Listener(Node):
    def __init__(self, nodeIdentifier):
        super().__init__(nodeIdentifier)
        self.heard = []

    def receive_object_from_node(self, obj, senderNodeIdentifier):
        self.heard.append((obj, senderNodeIdentifier))


class Talker(Node):
    """Prints as the assignment's example does."""

    def receive_object_from_node(self, obj, senderNodeIdentifier):
        print(f"[{self.nodeIdentifier}] {senderNodeIdentifier} sent me {obj}")

    def send_object_to_node(self, obj, nodeIdentifier):
        print(f"[{self.nodeIdentifier}] sending {obj} to {nodeIdentifier}")
        super().send_object_to_node(obj, nodeIdentifier)

    def broadcast_object(self, obj):
        print(f"[{self.nodeIdentifier}] sending {obj} to everybody")
        super().broadcast_object(obj)


def test_overridden_sends_print_in_the_order_of_the_assignment(capsys):
    Talker("1"), Talker("2")
    Talker("3").broadcast_object(3.14)
    assert capsys.readouterr().out.splitlines() == [
        "[3] sending 3.14 to everybody",
        "[3] sending 3.14 to 1",
        "[1] 3 sent me 3.14",
        "[3] sending 3.14 to 2",
        "[2] 3 sent me 3.14",
    ]


@pytest.mark.parametrize("identifier", ["text", 5, (1, 2), None, frozenset({1})])
def test_anything_hashable_names_a_node(identifier):
    node, other = Listener(identifier), Listener("other")
    other.send_object_to_node("hello", identifier)
    assert node.nodeIdentifier == identifier
    assert node.heard == [("hello", "other")]


def test_a_node_hears_nothing_from_itself():
    node, other = Listener("node"), Listener("other")
    node.broadcast_object(1)
    node.send_object_to_node(2, "node")
    assert node.heard == []
    assert other.heard == [(1, "node")]


def test_what_is_sent_while_delivering_waits_its_turn():
    order = []

    class Echo(Listener):
        def receive_object_from_node(self, obj, senderNodeIdentifier):
            order.append((self.nodeIdentifier, obj))
            if obj < 3:
                self.broadcast_object(obj + 1)

    nodes = [Echo(name) for name in "abc"]
    nodes[0].broadcast_object(2)
    assert order == [("b", 2), ("c", 2), ("a", 3), ("c", 3), ("a", 3), ("b", 3)]


def test_an_endless_game_of_ping_pong_does_not_recurse():
    class Player(Listener):
        def receive_object_from_node(self, obj, senderNodeIdentifier):
            if obj:
                self.send_object_to_node(obj - 1, senderNodeIdentifier)
            else:
                self.heard.append(obj)

    one, other = Player("one"), Player("other")
    one.send_object_to_node(20_000, "other")
    assert one.heard + other.heard == [0]


def test_an_error_in_one_receiver_does_not_keep_the_others_from_hearing():
    class Broken(Listener):
        def receive_object_from_node(self, obj, senderNodeIdentifier):
            raise ZeroDivisionError(f"bug of {self.nodeIdentifier}")

    class Relay(Listener):
        def receive_object_from_node(self, obj, senderNodeIdentifier):
            self.broadcast_object("passed on")

    first, last = Broken("first"), Listener("last")
    Broken("second")
    Relay("relay")
    with pytest.raises(ZeroDivisionError, match="bug of first") as raised:
        last.send_object_to_node("hello", "relay")
    assert raised.value.__notes__ == ["raised by node 'first', which 'relay' sent 'passed on'"]
    assert last.heard == [("passed on", "relay")]
    first.send_object_to_node("still works", "last")
    assert last.heard[-1] == ("still works", "first")


def test_two_nodes_of_one_name_are_refused_with_what_to_do():
    Listener("node")
    with pytest.raises(NetworkError, match=r"has a node 'node' already.*reset_network"):
        Listener("node")
    Node.reset_network()
    Listener("node")


def test_a_name_that_cannot_be_hashed_is_refused():
    with pytest.raises(NetworkError, match="has to be hashable, such as text; not a list"):
        Listener([1])


def test_sending_to_nobody_says_what_to_do():
    node = Listener("node")
    with pytest.raises(NetworkError, match="no node 'ghost' is on the network: make it first"):
        node.send_object_to_node(1, "ghost")


def test_a_node_from_before_the_reset_is_told_to_be_made_anew():
    old = Listener("node")
    Node.reset_network()
    new, other = Listener("node"), Listener("other")
    for use in (lambda: old.broadcast_object(1), lambda: old.send_object_to_node(1, "other")):
        with pytest.raises(NetworkError, match=r"made before Node.reset_network.*Make it anew"):
            use()
    other.broadcast_object("hello")
    assert (old.heard, new.heard) == ([], [("hello", "other")])


def test_a_node_that_forgets_its_parents_init_is_told():
    class Forgetful(Node):
        def __init__(self):
            pass

    for use in (lambda: Forgetful().broadcast_object(1), lambda: Forgetful().send_object_to_node(1, "other")):
        with pytest.raises(NetworkError, match=r"did not call super\(\).__init__"):
            use()


def test_a_node_without_a_receiver_is_told():
    Node("deaf")
    with pytest.raises(NotImplementedError, match="Node has to implement receive_object_from_node"):
        Listener("node").broadcast_object(1)


def test_resetting_while_objects_are_on_their_way_loses_them():
    class Reset(Listener):
        def receive_object_from_node(self, obj, senderNodeIdentifier):
            self.broadcast_object("never arrives")
            Node.reset_network()

    Reset("reset")
    last = Listener("last")
    last.send_object_to_node(1, "reset")
    assert last.heard == []


def test_a_broadcast_goes_to_each_receiver_by_a_students_own_send():
    sent = []

    class Choosy(Listener):
        def send_object_to_node(self, obj, nodeIdentifier):
            sent.append(nodeIdentifier)
            if nodeIdentifier != "left out":
                super().send_object_to_node(obj, nodeIdentifier)

    choosy, left_out, other = Choosy("choosy"), Listener("left out"), Listener("other")
    choosy.broadcast_object("hello")
    assert sent == ["left out", "other"]
    assert (left_out.heard, other.heard) == ([], [("hello", "choosy")])
