"""The few lines around a turn: embedded loop, simulator, dry run."""
