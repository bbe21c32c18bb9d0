"""`thermogate run`: any program, held and released by signals."""
