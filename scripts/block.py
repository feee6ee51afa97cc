from tallystick.course import Block
