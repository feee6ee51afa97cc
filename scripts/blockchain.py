from tallystick.course import Blockchain
