from tallystick.course import StakingOperation
