"""A script's command line, made from its configuration: arguments, help, completion."""
