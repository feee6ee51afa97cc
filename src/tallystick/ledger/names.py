"""Stand-in until the frozen table is merged."""


def fold(name: str) -> str:
    return name.casefold().replace(" ", "")
