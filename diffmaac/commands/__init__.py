"""The command line, a file a command: its help, its words, how its result is printed. The work is the library's."""
