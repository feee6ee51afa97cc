"""A shared record of signed certificates that no single member can rewrite."""
