"""How counts and names are put into words."""

from tallystick.cli.words import names_of


def test_a_long_list_of_names_ends_with_how_many_more_there_are():
    names = ["Ada", "Ben", "Cy", "Dot"]
    assert names_of(names, most=4) == "Ada, Ben, Cy, Dot"
    assert names_of(names, most=2) == "Ada, Ben and 2 more"
    assert names_of([]) == ""
