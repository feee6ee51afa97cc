from tallystick.course import ProofOfStake
