"""The running of commands: processes, threads, precision, progress, options, output files."""
