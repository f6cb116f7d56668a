"""May we: legal guards, and decisions explained in plain words. Pure."""
