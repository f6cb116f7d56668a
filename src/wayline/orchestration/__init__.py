"""What we do: journeys propose, one policy disposes. Pure."""
