from tallystick.course import BlockchainNode
