"""Operating points: statistics, choice, measurement, results."""
