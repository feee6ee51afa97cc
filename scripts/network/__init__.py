from tallystick.course import NetworkError, Node
