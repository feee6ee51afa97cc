from tallystick.course import Wallet
