from tallystick.course import now
