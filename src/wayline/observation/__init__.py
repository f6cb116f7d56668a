"""What happened, and who it was: strict events, resolved identities, the catalogue. Pure."""
