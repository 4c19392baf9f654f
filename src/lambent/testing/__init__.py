"""For Lambent's tests and its users': a fake clock, a server process, recording parts."""
