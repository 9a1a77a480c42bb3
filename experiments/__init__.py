"""What a user runs: the command line, the demonstration, studies and reports."""
