"""Did it work: arms, tallies that add, effects with intervals. Pure."""
