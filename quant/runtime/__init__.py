"""How commands run: processes, threads, precision, progress, options."""
