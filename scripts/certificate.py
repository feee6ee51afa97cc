from tallystick.course import Certificate
