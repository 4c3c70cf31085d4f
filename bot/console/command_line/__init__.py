"""The commands of the command line by subject, each a few lines: arguments, help, exit status.

The work of a command is in the other modules of bot/console; bot/__main__.py puts the commands into their order.
"""
