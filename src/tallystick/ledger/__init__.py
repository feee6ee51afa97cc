"""What the record is: its encoding, its certificates and blocks, and the one chain they form."""
