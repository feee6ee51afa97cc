"""HTTP: typed views, the questions that a ledger answers, routes and doors."""
