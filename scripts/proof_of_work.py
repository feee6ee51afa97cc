from tallystick.course import ProofOfWork
