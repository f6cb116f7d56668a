"""How other systems' data come in."""
