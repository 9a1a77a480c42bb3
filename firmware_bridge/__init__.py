"""Silicon to trustworthy timing events: headers, the Stratum bridge, emulators, traces and their statistics."""
