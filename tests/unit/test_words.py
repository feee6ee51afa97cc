"""How certificates are put into words."""

from tests.builders import BEN, evidence, staking, statement

from tallystick.cli.words import kind_of, short, what_it_says


def test_each_kind_of_certificate_has_its_words():
    assert [kind_of(one) for one in (statement(), staking(5), evidence())] == [
        "statement",
        "staking operation",
        "evidence",
    ]
    said = [what_it_says(one, {}) for one in (statement("mine"), statement(""), staking(5), staking(-5), evidence(BEN))]
    assert said == [
        "mine",
        "(no subject)",
        "stakes 5",
        "withdraws 5 from stake",
        f"shows that {short(BEN.public_key)} signed votes that conflict",
    ]
