"""What users run first."""
