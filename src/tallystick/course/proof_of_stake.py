"""`ProofOfStake`: the next forger is drawn in proportion to stake."""

from tallystick.course.certificate import KEY_EXPECTED
from tallystick.course.fields import from_hex
from tallystick.course.forger_rule import ConsensusAlgorithm
from tallystick.course.stake_rule import StakeRule


class ProofOfStake(ConsensusAlgorithm):
    """Lets the member drawn for an index forge it; `defaultForgerPublicKey`, as long as nobody has stake."""

    def __init__(self, defaultForgerPublicKey: str) -> None:
        self.rule: StakeRule = StakeRule()
        self.defaultForgerPublicKey = defaultForgerPublicKey

    @property
    def defaultForgerPublicKey(self) -> str:
        """Who forges while nobody has stake. Raises `Refused` (E2) for what is no public key."""
        return self._defaultForgerPublicKey

    @defaultForgerPublicKey.setter
    def defaultForgerPublicKey(self, publicKey: str) -> None:
        self.rule.default_forger = from_hex("defaultForgerPublicKey", publicKey, 32, KEY_EXPECTED)
        self._defaultForgerPublicKey = publicKey
