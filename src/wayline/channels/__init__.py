"""How a message leaves: one protocol, one promise stated per channel."""
