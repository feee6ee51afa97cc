"""How certificates are put into words."""

from tests.builders import BEN, evidence, proposal_evidence, staking, statement

from tallystick.cli.words import kind_of, names_of, short, what_it_says


def test_each_kind_of_certificate_has_its_words():
    assert [kind_of(one) for one in (statement(), staking(5), evidence())] == [
        "statement",
        "staking operation",
        "evidence",
    ]
    said = [
        what_it_says(one, {})
        for one in (statement("mine"), statement(""), staking(5), staking(-5), evidence(BEN), proposal_evidence(BEN))
    ]
    assert said == [
        "mine",
        "(no subject)",
        "stakes 5",
        "withdraws 5 from stake",
        f"shows that {short(BEN.public_key)} signed votes that conflict",
        f"shows that {short(BEN.public_key)} forged blocks that conflict",
    ]


def test_evidence_names_its_offender_if_the_address_book_does():
    assert what_it_says(evidence(BEN), {BEN.public_key: "Ben"}) == "shows that Ben signed votes that conflict"


def test_a_long_list_of_names_ends_with_how_many_more_there_are():
    names = ["Ada", "Ben", "Cy", "Dot"]
    assert names_of(names, most=4) == "Ada, Ben, Cy, Dot"
    assert names_of(names, most=2) == "Ada, Ben and 2 more"
    assert names_of([]) == ""
