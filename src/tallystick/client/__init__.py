"""Client and AsyncClient: what the command line and other programs ask a ledger with."""
